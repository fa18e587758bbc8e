"""A length that is said more than once."""

from __future__ import annotations

import pytest

from meshlib.adapters.one_length import once, with_one_length

FIRST = b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("lines", "one"),
    [
        ([b"Content-Length: 2", b"content-length:2"], [b"Content-Length: 2"]),
        ([b"X: 1", b"Content-Length: 2, 2", b"Y: 2"], [b"X: 1", b"Content-Length: 2", b"Y: 2"]),
        (
            [b"Content-Length: 2", b"X: 1", b"CONTENT-LENGTH:\t2 ", b"Y: 2"],
            [b"Content-Length: 2", b"X: 1", b"Y: 2"],
        ),
    ],
)
def test_equal_lengths(lines, one):
    """Are one, where the first stood; the body is left alone."""
    body = b"\r\n\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n"
    assert b"\r\n".join([FIRST, *one]) + body == with_one_length(
        b"\r\n".join([FIRST, *lines]) + body
    )


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"Content-Length: 2"],
        [b"Content-Length: 2", b"Content-Length: 3"],
        [b"Content-Length: 2, 3"],
        [b"Content-Length: 2, +2"],
        [b"Content-Length: +2", b"Content-Length: +2"],
        [b"Content-Length: ", b"Content-Length: "],
        [b"X-Content-Length: 2", b"Content-Length: 2"],
    ],
)
def test_others(lines):
    """Are left to whoever parses them."""
    said = b"\r\n".join([FIRST, *lines]) + b"\r\n\r\nbody"
    assert said == with_one_length(said)


def test_half_a_head():
    """Is left alone: what follows it may say something else."""
    said = FIRST + b"\r\nContent-Length: 2\r\nContent-Length: 2\r\n"
    assert said == with_one_length(said)


def test_fields():
    """The same for a head that has been read already."""
    length, other = (b"Content-Length", b"2"), (b"X-A", b"1")
    assert [length, other] == once([length, other, (b"content-length", b"2, 2")])
    differing = [other, length, (b"Content-Length", b"3")]
    assert differing == once(differing)
