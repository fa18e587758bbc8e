"""A proven peer that may not ask for /admin, nor delete, tries to all the same, on every server."""

from __future__ import annotations

import pytest

from meshlib.testing.evil import UPGRADE
from meshlib.testing.kept import Kept

PATHS = [
    "/admin",
    "/admin/",
    "/admin?x",
    "/admin%3Fx",
    "/admin;x/y",
    "//admin",
    "/./admin",
    "/.//admin",
    "/x/../admin",
    "/x//../admin",
    "/%61dmin",
    "/%2561dmin",
    "/%252561dmin",
    "/%2e/admin",
    "/x/%2e%2E/admin",
    "/x/%252e%252e/admin",
    "/x/..%2Fadmin",
    "/%2Fadmin",
    "/%252fadmin",
    "/%5Cadmin",
    "/\\admin",
    "/x\\..\\admin",
    "/admin%00",
    "/admin%0A",
    "/admin%09x",
    "/%C0%AFadmin",
    "/x/%c0%ae%c0%ae/admin",
    "/%E0%80%AFadmin",
    "/admin\xff",
    "/admin%",
    "/admin#x",
    "http://me/admin",
    "https://other/admin",
    "?/../admin",
]
METHODS = ["DELETE", "delete", "Delete", "DELETE ", "\tDELETE", "DELETE\0"]


@pytest.fixture(scope="session")
def say(good_client):
    """Send bytes as a good peer, on the connection it keeps to each server, and hear the answer."""
    kept = {}

    def exchange(site, request):
        if site not in kept:
            kept[site] = Kept(site.address, good_client)
        return kept[site].say(request)

    yield exchange
    for each in kept.values():
        each.close()


@pytest.mark.parametrize("kind", ["a request", "a websocket"])
@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_gets_in(site, say, path, kind):
    """However a forbidden path is spelled, no application hears of it."""
    start = f"GET {path} ".encode("latin-1")
    plain = start + b"HTTP/1.1\r\nHost: me\r\n\r\n"
    upgrade = UPGRADE.replace(b"GET / ", start)
    before = site.calls()
    answer = say(site, plain if kind == "a request" else upgrade)
    assert before == site.calls()
    assert answer[:11] in {b"", b"HTTP/1.1 40"}, answer


@pytest.mark.parametrize("method", METHODS)
def test_no_spelling_of_a_method_gets_in(site, say, method):
    """Applications that read a method in capitals are given it in capitals, as the rules are."""
    request = f"{method} /asked HTTP/1.1\r\nHost: me\r\n\r\n"
    before = site.calls()
    answer = say(site, request.encode())
    assert before == site.calls()
    assert answer[:11] in {b"", b"HTTP/1.1 40"}, answer


def test_what_is_allowed_gets_in(site, say):
    """The control: the rules are about nothing else."""
    for path in "/adm", "/x/admin", "/100%25":
        request = f"GET {path} HTTP/1.1\r\nHost: me\r\n\r\n"
        assert b"HTTP/1.1 200" == say(site, request.encode())[:12]
