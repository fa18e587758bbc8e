"""What was said before a connection broke."""

from __future__ import annotations

import socket

from meshlib.adapters.quick_call import _write
from meshlib.adapters.quick_reply import first_of


def test_an_answer_that_came_before_the_request_is_read():
    """A server may answer and close while the request is still on its way."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        _write(ours, b"POST / HTTP/1.1\r\n\r\n")
        _, head = first_of(ours)
    assert head is not None
    assert 413 == head.status
