"""WSGI behind gunicorn, over a bare socket, alone and in the mesh."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("bare_wsgi.py")
LAST = b"Host: shop\r\nConnection: close\r\n"
BODY = b"line one\nline two\n\nand a last"
ENDLESS = 65536
BUFFERS = 24 * 2**20
MEANT = {"wsgi.url_scheme", "mesh.priority", "mesh.edge", "keys"}


@contextlib.contextmanager
def running(kind, home):
    """The application in a process; its port."""
    environment = {**os.environ, "MESHLIB_HOME": home}
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), kind],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield ("127.0.0.1", int(process.stdout.readline()))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def kind():
    """The one there is."""
    return "gthread"


@pytest.fixture(scope="module")
def pair(front, place, client_context):
    """gunicorn alone, and in the mesh."""
    with (
        running("alone", front.settings.home) as one,
        running("meshed", front.settings.home) as two,
    ):
        yield place(False, None, one), place(True, None, two, client_context)


@pytest.fixture
def same(pair):
    """Send the same to both; what comes back, once it is found to be the same."""

    def ask(*parts):
        plain, mesh = (place.exchange(*parts) for place in pair)
        assert plain == mesh
        return mesh

    return ask


def heard(place):
    """The next thing that happened."""
    return place.exchange(b"GET /heard HTTP/1.1\r\n" + LAST + b"\r\n").rpartition(b"\r\n\r\n")[2]


@pytest.fixture
def next_heard(pair):
    """What happens next in both, once it is found to be the same."""

    def ask():
        plain, mesh = (heard(place) for place in pair)
        assert plain == mesh
        return mesh

    return ask


def body_of(said):
    """Without the head, and out of the chunks if there is one."""
    head, _, body = said.partition(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" in head:
        body = body.split(b"\r\n")[1]
    return json.loads(body)


@pytest.mark.parametrize(
    "path",
    [b"/a%2Fb", b"//x", b"/;p=1;q", b"/%E2%82%AC", b"/%ff", b"/../up", b"/x?%zz&a=1;b", b"/a|b"],
)
def test_environ(pair, path):
    """Paths, queries, headers and all the rest are as without, but for the scheme."""
    lines = [b"X-Twice: one", b"x-twice: two", b"X-Empty:", b"x-latin: caf\xe9", b"X_Under: 1"]
    head = b"POST " + path + b" HTTP/1.1\r\n" + LAST + b"\r\n".join(lines)
    plain, mesh = (
        body_of(place.exchange(head + b"\r\nContent-Length: 4\r\n\r\nbody")) for place in pair
    )
    ours = {name for name in mesh["keys"] if name.startswith("mesh.")}
    assert set(plain["keys"]) == set(mesh["keys"]) - ours
    assert {k: v for k, v in plain.items() if k not in MEANT} == {
        k: v for k, v in mesh.items() if k not in MEANT
    }


@pytest.mark.parametrize(
    "how", [b"all", b"pieces", b"line", b"lines", b"hint", b"iteration", b"mixed", b"too-much"]
)
def test_input(same, how):
    """Every way to read a body; with a length and in chunks; nothing comes after its end."""
    head = b"POST /input/" + how + b" HTTP/1.1\r\n" + LAST
    chunks = b"9\r\n" + BODY[:9] + b"\r\n%x\r\n" % len(BODY[9:]) + BODY[9:] + b"\r\n0\r\n\r\n"
    known = same(head + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
    assert known == same(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert known == same(head + b"Transfer-Encoding: chunked\r\n\r\n", chunks[:7], chunks[7:])


def test_each_part_is_answered_before_the_next_is_sent(pair, read_until):
    """A dialogue in one request."""
    for place in pair:
        with place.connect() as sock:
            sock.sendall(b"POST /part HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n")
            for word in (b"1" * 1024, b"2" * 1024):
                sock.sendall(b"400\r\n" + word + b"\r\n")
                assert word in read_until(sock, word)
            sock.sendall(b"0\r\n\r\n")
            read_until(sock, b"0\r\n\r\n")


def test_files(same, next_heard):
    """Sent whole, and closed."""
    said = same(b"GET /file HTTP/1.1\r\n" + LAST + b"\r\n")
    assert 300_000 == len(said.partition(b"\r\n\r\n")[2])
    assert b"file closed" == next_heard()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    "path",
    [
        b"/parts",
        b"/write",
        b"/again/before",
        b"/again/after",
        b"/odd",
        b"/hints",
        b"/none",
        b"/none/unknown",
        b"/fails/before",
        b"/fails/after",
        b"/fails/within",
    ],
)
def test_answers(same, next_heard, path, version):
    """Lazy, written, begun twice, odd, empty, failing: to the byte."""
    for method in (b"GET", b"HEAD"):
        said = same(method + b" " + path + b" HTTP/" + version + b"\r\n" + LAST + b"\r\n")
        assert said.startswith(b"HTTP/1.")
        if path == b"/parts":
            assert b"closed" == next_heard()


@pytest.mark.parametrize("code", [200, 204, 205, 206, 304, 404, 599])
@pytest.mark.parametrize("length", [b"", b"0", b"7"])
def test_statuses_and_lengths(same, code, length):
    """With a length, without, and with one that is not kept."""
    path = b"/status/%d/%s" % (code, length)
    assert b"As Said" in same(b"GET " + path + b" HTTP/1.1\r\n" + LAST + b"\r\n")
    assert b"As Said" in same(b"HEAD " + path + b" HTTP/1.1\r\n" + LAST + b"\r\n")


def test_expectations(pair, same, read_until):
    """100 before the body is there; or an answer in its place."""
    head = b" HTTP/1.1\r\n" + LAST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    assert b"HTTP/1.1 417 No" in same(b"POST /early" + head)
    for place in pair:
        with place.connect() as sock:
            sock.sendall(b"POST /input/all" + head)
            assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
            sock.sendall(b"body")
            assert b'"body"' in read_until(sock, b"body")


def test_an_endless_answer_waits_for_its_reader(pair):
    """Who stops reading stops the application; who goes away closes its generator."""
    for place in pair:
        with place.connect() as sock:
            sock.sendall(b"GET /endless HTTP/1.1\r\nHost: shop\r\n\r\n")
            assert b"H" == sock.recv(1)
            made = 0
            while heard(place) == b"%d" % ENDLESS and made < BUFFERS:
                made += ENDLESS
                if made > 2**20:
                    break
            assert made < BUFFERS
        while heard(place) == b"%d" % ENDLESS:
            made += ENDLESS
        assert made < BUFFERS
