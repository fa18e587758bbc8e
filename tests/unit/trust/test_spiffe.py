import pytest

from meshlib.errors import ConfigError
from meshlib.trust.spiffe import (
    SpiffeId,
    neighbour,
    parse,
    server_name,
    service_id,
    service_of,
    surroundings,
)

GOOD = [
    "spiffe://example.org",
    "spiffe://example.org/billing",
    "spiffe://example.org/ns/default/dc/local/svc/web",
    "spiffe://1.2.3.4/x",
    "spiffe://a_b-c.d/A_B-C.d",
    "spiffe://td/...",
    "spiffe://td/.a/a./..a",
    "spiffe://" + "a" * 255 + "/x",
    "spiffe://td/" + "x" * (2048 - len("spiffe://td/")),
]

BAD = [
    "",
    "spiffe",
    "spiffe:",
    "spiffe:/",
    "spiffe://",
    "spiffe:///path",
    "SPIFFE://td/x",
    "Spiffe://td/x",
    "https://td/x",
    " spiffe://td/x",
    "spiffe://td/x ",
    "spiffe://td/x\n",
    "spiffe://td\n",
    "spiffe://TD/x",
    "spiffe://td:443/x",
    "spiffe://user@td/x",
    "spiffe://t%64/x",
    "spiffe://td/%78",
    "spiffe://td/",
    "spiffe://td/x/",
    "spiffe://td//x",
    "spiffe://td/x//y",
    "spiffe://td/.",
    "spiffe://td/..",
    "spiffe://td/x/./y",
    "spiffe://td/x/../y",
    "spiffe://td?q",
    "spiffe://td/x?q=1",
    "spiffe://td/x#f",
    "spiffe://td/x\0y",
    "spiffe://td/x\0.evil",
    "spiffe://td/a:b",
    "spiffe://td/a@b",
    "spiffe://td/a b",
    "spiffe://td/a\\b",
    "spiffe://td/\u00e9",
    "spiffe://t\u00e9/x",
    "spiffe://td/\u0661",
    "spiffe://[::1]/x",
    "spiffe://td\\/x",
    "spiffe://" + "a" * 256 + "/x",
    "spiffe://td/" + "x" * (2049 - len("spiffe://td/")),
]


@pytest.mark.parametrize("text", GOOD)
def test_accepts(text):
    """What the standard allows is read, and written back unchanged."""
    assert text == str(parse(text))


@pytest.mark.parametrize("text", BAD)
def test_refuses(text):
    """What the standard forbids is a ConfigError that shows the value."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert ("spiffe id", text) == (caught.value.path, caught.value.value)
    assert caught.value.why.startswith("expected ")


@pytest.mark.parametrize("path", ["x", "/", "//", "/x/", "/../x", "x/y"])
def test_cannot_be_built_wrong(path):
    """A SpiffeId made by hand is checked like one that was read."""
    with pytest.raises(ConfigError):
        SpiffeId("td", path)


def test_parts():
    """Trust domain and path are told apart at the first slash."""
    assert SpiffeId("example.org", "/a/b") == parse("spiffe://example.org/a/b")


def test_service_id_has_consuls_form():
    """A service's id is the one Consul would give it."""
    expected = "spiffe://example.org/ns/default/dc/local/svc/web"
    assert expected == str(service_id("example.org", "web"))
    assert "/ns/default/dc/paris/svc/web" == service_id("example.org", "web", dc="paris").path


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a_b", "a.b", "a/b", "a" * 64, "../x", "a\n", "é", "a b"]
)
def test_service_names_are_dns_labels(name):
    """A name that is not a DNS label is refused before it becomes part of an id."""
    with pytest.raises(ConfigError) as caught:
        service_id("example.org", name)
    assert ("service", name) == (caught.value.path, caught.value.value)


def test_dc_is_checked_too():
    """The datacenter is part of the id and held to the same rule."""
    with pytest.raises(ConfigError, match="dc: 'a/b'"):
        service_id("example.org", "web", dc="a/b")


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a--b", "a" * 63])
def test_service_of_reverses_service_id(name):
    """The service is read back from the id, whatever the datacenter."""
    assert name == service_of(service_id("td", name))
    assert name == service_of(service_id("td", name, dc="paris"))


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://td",
        "spiffe://td/web",
        "spiffe://td/svc/web",
        "spiffe://td/ns/default/dc/local/svc/web/more",
        "spiffe://td/x/ns/default/dc/local/svc/web",
        "spiffe://td/ns/default/dc/a/b/svc/web",
        "spiffe://td/ns/default/sa/web",
    ],
)
def test_other_forms_name_no_service(text):
    """An id of any other form names no service, not even one that looks alike."""
    assert "" == service_of(parse(text))


CONSUL = [
    (
        "spiffe://td/ns/default/dc/dc1/svc/web",
        "spiffe://td/ns/default/dc/",
        "web.default.dc1.internal.td",
    ),
    ("spiffe://td/ns/team/dc/dc1/svc/web", "spiffe://td/ns/team/dc/", "web.team.dc1.internal.td"),
    (
        "spiffe://td/ap/blue/ns/team/dc/dc1/svc/web",
        "spiffe://td/ap/blue/ns/team/dc/",
        "web.team.blue.dc1.internal-v1.td",
    ),
]


@pytest.mark.parametrize(("text", "around", "name"), CONSUL)
def test_the_forms_of_consul(text, around, name):
    """Namespace and partition are read; neighbours share all but datacentre and name."""
    own = parse(text)
    assert "web" == service_of(own)
    assert around == surroundings(text)
    assert (name, f"v1.{name}") == (server_name(own), server_name(own, "v1"))
    assert f"{around}dc1/svc/My_Db.x" == str(neighbour(own, "My_Db.x"))
    assert f"{around}dc2/svc/db" == str(neighbour(own, "db", "dc2"))
    assert own == neighbour(own, "web")


@pytest.mark.parametrize("text", ["spiffe://td/web", "spiffe://td/gateway/mesh/dc/dc1"])
def test_what_is_no_service_has_no_neighbours(text):
    """Nothing can be derived from an id of another form; its surroundings are its domain."""
    with pytest.raises(ConfigError, match="the id of a service"):
        neighbour(parse(text), "db")
    assert ("", "spiffe://td/") == (server_name(parse(text)), surroundings(text))


@pytest.mark.parametrize(("service", "datacenter"), [("a/b", ""), ("", ""), ("web", "a/b")])
def test_neighbours_have_names(service, datacenter):
    """A name cannot smuggle in another path."""
    with pytest.raises(ConfigError, match="letters, digits"):
        neighbour(service_id("td", "x"), service, datacenter)


def test_surroundings_end_where_names_begin():
    """An id of a domain or namespace that merely begins alike is not next to this one."""
    ours = surroundings("spiffe://td/ns/default/dc/dc1/svc/web")
    for other in (
        "spiffe://td.evil/ns/default/dc/dc1/svc/web",
        "spiffe://td/ns/default2/dc/dc1/svc/web",
        "spiffe://td/ap/x/ns/default/dc/dc1/svc/web",
    ):
        assert not other.startswith(ours)


@pytest.mark.parametrize(
    ("service", "subset"), [("a" * 64, ""), ("a..b", ""), (".a", ""), ("a", "v" * 64)]
)
def test_what_cannot_be_asked_for(service, subset):
    """Consul takes names that no TLS library sends as a host name: then nothing is asked for."""
    assert "" == server_name(SpiffeId("td", f"/ns/default/dc/dc1/svc/{service}"), subset)


def test_the_longest_that_can_be_asked_for():
    """Up to 253 bytes in all."""
    service = ".".join("abc"[each] * 63 for each in range(3))
    td = "t" * (253 - len(f"{service}.default.dc1.internal."))
    assert 253 == len(server_name(SpiffeId(td, f"/ns/default/dc/dc1/svc/{service}")))
    assert "" == server_name(SpiffeId(f"{td}t", f"/ns/default/dc/dc1/svc/{service}"))
