"""The SPIFFE parser against a second, independent statement of the same rules."""

import string

from hypothesis import given
from hypothesis import strategies as st

from meshlib.errors import ConfigError
from meshlib.trust.spiffe import SpiffeId, parse, service_id, service_of

DOMAIN_LETTERS = string.ascii_lowercase + string.digits + "._-"
PATH_LETTERS = string.ascii_letters + string.digits + "._-"

domains = st.text(DOMAIN_LETTERS, min_size=1, max_size=60)
segments = st.text(PATH_LETTERS, min_size=1, max_size=20).filter(lambda s: s not in {".", ".."})
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
almost = st.text(st.sampled_from("spifeSPIFE:/.%-_aZ0?#@ \0\n\u00e9"), max_size=12)


def allowed(text):
    """The standard, said letter by letter."""
    if not text.startswith("spiffe://") or len(text.encode()) > 2048:
        return False
    domain, *path = text[len("spiffe://") :].split("/")
    return (
        0 < len(domain) <= 255
        and set(domain) <= set(DOMAIN_LETTERS)
        and all(s and set(s) <= set(PATH_LETTERS) and s not in {".", ".."} for s in path)
    )


def accepted(text):
    try:
        return str(parse(text)) == text
    except ConfigError:
        return False


@given(domains, st.lists(segments, max_size=5))
def test_every_good_id_comes_back(domain, path):
    """Reading a good id gives its parts, and writing it gives the text again."""
    suffix = "".join(f"/{segment}" for segment in path)
    assert SpiffeId(domain, suffix) == parse(f"spiffe://{domain}{suffix}")
    assert accepted(f"spiffe://{domain}{suffix}")


@given(
    st.one_of(st.text(), almost, almost.map("spiffe://td".__add__), almost.map("spiffe://".__add__))
)
def test_accepts_exactly_what_the_rules_allow(text):
    """No text is judged differently from the plain statement of the rules."""
    assert allowed(text) == accepted(text)


@given(domains, st.lists(segments, min_size=1, max_size=4), st.data())
def test_one_wrong_letter_is_enough(domain, path, data):
    """A good id with one forbidden character put anywhere behind the scheme is refused."""
    text = f"spiffe://{domain}/{'/'.join(path)}"
    at = data.draw(st.integers(len("spiffe://"), len(text)))
    wrong = data.draw(st.sampled_from("%?#@:+ \0\n\\[]~!$&'()*,;=\u00e9\u212a"))
    assert not accepted(text[:at] + wrong + text[at:])


@given(domains, names, names)
def test_services_survive_the_id(domain, service, dc):
    """The service is read back from every id made for one."""
    assert service == service_of(service_id(domain, service, dc=dc))
