"""What goes wrong on the wire is the library's own exception in the mesh as well."""

from __future__ import annotations

import gc

import pytest

OK = b"HTTP/1.1 200 OK\r\n"
LONG = OK + b"Content-Length: 200000\r\n\r\n"
BROKEN = {
    "nothing": [None],
    "half-a-line": [b"HTTP/1.1 2", None],
    "half-a-head": [OK + b"X-A: 1\r\nX-", None],
    "short-body": [OK + b"Content-Length: 9\r\n\r\nshort", None],
    "short-long-body": [LONG, b"l" * 100_000, None],
    "half-a-chunk": [OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nshort", None],
    "no-last-chunk": [OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", None],
    "bad-chunk": [OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nshort\r\n", None],
    "no-http": [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", None],
    "bad-status": [b"HTTP/1.1 abc OK\r\n\r\n", None],
    "other-lengths": [OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", None],
    "bad-gzip": [OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nbad"],
    "long-line": [OK + b"X-Long: " + b"v" * 200_000 + b"\r\n\r\n", None],
}


MEANT = {
    ("half-a-head", "requests"),
    ("half-a-head", "urllib3"),
    ("half-a-head", "urllib.request"),
    ("other-lengths", "urllib.request"),
}
"""http.client takes the end of the connection for that of a head, and believes the first length."""


def caught(error):
    """What an `except` clause of the library's users may name, and none of Python's own."""
    return [each for each in type(error).__mro__ if each.__module__ != "builtins"]


@pytest.mark.parametrize("case", BROKEN)
def test_broken_answers(told, outcomes, name, case):
    """A POST, which nobody repeats: whoever catches the one catches the other."""
    path = f"/{case}"
    told(path, *BROKEN[case])
    plain, mesh = outcomes("POST", path, data=b"x")
    if (case, name) in MEANT:
        assert isinstance(mesh, Exception)
    elif isinstance(plain, Exception):
        assert any(isinstance(mesh, each) for each in caught(plain)), (plain, mesh)
    else:
        assert plain == mesh


def test_a_timeout(told, outcomes):
    """A server that says nothing for longer than the library is to wait."""
    told("/silent", b"HTTP/1.1 ")
    plain, mesh = outcomes("POST", "/silent", data=b"x", timeout=0.3)
    assert isinstance(mesh, type(plain)), (plain, mesh)


def test_interim_answers_without_end(worlds, library, told):
    """Are an error: they might go on for ever."""
    told("/interim", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100, None)
    with pytest.raises(Exception, match=r"(?s)broke off"):
        library.ask(worlds[1], "POST", "/interim", data=b"x")


@pytest.mark.parametrize("case", ["nothing", "half-a-head", "no-http", "bad-chunk", "short-body"])
def test_nothing_is_left_of_a_broken_connection(worlds, library, told, case):
    """Its socket is closed with the error, and not when memory is cleaned up."""
    told(f"/left-{case}", *BROKEN[case])
    with pytest.raises(Exception, match="broke off"):
        library.ask(worlds[1], "POST", f"/left-{case}", data=b"x")
    gc.collect()  # what it finds open it says, and warnings are errors here
