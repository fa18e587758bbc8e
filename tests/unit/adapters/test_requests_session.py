"""A session of the mesh makes of a request what requests makes of it."""

from __future__ import annotations

import itertools

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from meshlib.adapters.requests_session import MeshSession


def hook(response, **_):
    return response


def sign(prepared):
    prepared.headers["X-Signed"] = prepared.url
    return prepared


OF_SESSION = {
    "new": {},
    "headers": {"headers": CaseInsensitiveDict({"A": "1", "b": "2", "c": None})},
    "plain headers": {"headers": {"A": "1"}},
    "no headers": {"headers": None},
    "params": {"params": {"a": "1"}},
    "auth": {"auth": ("me", "secret")},
    "no auth": {"auth": ()},
    "cookies": {"cookies": requests.cookies.cookiejar_from_dict({"a": "1"})},
    "hooks": {"hooks": {"response": [hook]}},
    "no hooks": {"hooks": {}},
    "proxies": {"proxies": {"http": "http://proxy"}},
    "settings": {"stream": True, "verify": False, "cert": "c.pem"},
    "environment": {"trust_env": True},
}
OF_REQUEST = {
    "plain": {},
    "headers": {"headers": {"a": "9", "User-Agent": None, "X": b"1"}},
    "other headers": {"headers": CaseInsensitiveDict({"a": "9"})},
    "params": {"params": {"q": ["1", "2"]}},
    "text params": {"params": "q=1"},
    "auth": {"auth": sign},
    "auth in the URL": {"url": "http://me:secret@shop/"},
    "cookies": {"cookies": {"b": "2"}},
    "hooks": {"hooks": {"response": hook}},
    "json": {"method": "POST", "json": {"n": 1}},
    "form": {"method": "put", "data": {"n": "1"}},
    "nothing": {"method": "POST"},
    "files": {"method": "POST", "files": {"f": ("n", b"x")}, "headers": {"Content-Type": "x"}},
    "odd URL": {"url": " HTTP://Shop/a b/../ä?x=ö#f"},
    "bytes": {"method": b"GET", "url": b"http://shop/"},
}


def ours():
    return MeshSession(lambda _: None)


def prepared(make, settings, options):
    session = make()
    session.trust_env = False
    for name, value in settings.items():
        setattr(session, name, value)
    request = requests.Request(**{"method": "GET", "url": "http://shop/", **options})
    return session, session.prepare_request(request)


def told(make, settings, options):
    """All there is to say of a request, less the boundary of files, which is drawn by lot."""
    try:
        session, made = prepared(make, settings, options)
    except requests.RequestException as exc:
        return str(exc)
    cookies = [(each.name, each.value) for each in made._cookies]
    body = None if "files" in options else (made.body, list(made.headers.items()))
    of_session = None if session.headers is None else list(session.headers.items())
    return made.method, made.url, body, made.hooks, cookies, type(made), of_session


@pytest.mark.parametrize(
    ("session", "request_"), list(itertools.product(OF_SESSION, OF_REQUEST)), ids=str
)
def test_the_same_request(session, request_):
    """Nothing of a session's settings, and nothing of a request's own, is lost."""
    settings, options = OF_SESSION[session], OF_REQUEST[request_]
    assert told(requests.Session, settings, options) == told(ours, settings, options)


@pytest.mark.parametrize("settings", OF_SESSION.values(), ids=OF_SESSION)
@pytest.mark.parametrize(
    "own",
    [
        ({}, None, None, None),
        ({"http": "http://p"}, True, "ca.pem", ("a", "b")),
        (None, *[None] * 3),
    ],
)
def test_the_same_settings(settings, own):
    """What is sent with a request is what it says, or else what the session says."""
    theirs, _ = prepared(requests.Session, settings, {})
    mesh, _ = prepared(ours, settings, {})
    expected = theirs.merge_environment_settings("http://shop/", *own)
    assert expected == mesh.merge_environment_settings("http://shop/", *own)


@pytest.mark.parametrize(
    "options",
    [{"method": None}, {"url": None}, {"headers": {"a": "b\n"}}, {"headers": [("a", "b")]}],
)
def test_the_same_errors(options):
    """What requests refuses is refused, in its words."""
    with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever it is
        prepared(requests.Session, {}, options)
    with pytest.raises(expected.type) as found:
        prepared(ours, {}, options)
    assert str(expected.value) == str(found.value)


def test_the_environment_is_asked_if_it_is_trusted(monkeypatch, tmp_path):
    """The password of a .netrc is sent, as by any session."""
    (tmp_path / "netrc").write_text("machine shop login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    _, trusting = prepared(ours, {"trust_env": True}, {})
    _, other = prepared(ours, {}, {})
    assert ("Basic bWU6c2VjcmV0", None) == (
        trusting.headers["Authorization"],
        other.headers.get("Authorization"),
    )
