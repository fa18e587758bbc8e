"""
A small request and its reply over a connection that is open already, past urllib3.

What is not small, or not plain, is urllib3's as ever: `quick_request` and `quick_reply` say what.
Connecting is as well, and with it everything that can go wrong before a byte was sent.
"""

from __future__ import annotations

import errno
import socket
import ssl
from http.client import HTTPException
from typing import Any

import urllib3
from multidict import CIMultiDict

from meshlib.adapters.quick_head import PlainHead, QuickResponse
from meshlib.adapters.quick_reply import first_of, response_after, rest_of
from meshlib.adapters.quick_request import quick_request
from meshlib.adapters.wire import READ_AHEAD, interrupted
from meshlib.model import Attempt, Reply

_BROKEN = (OSError, HTTPException, urllib3.exceptions.HTTPError)
_READ_ON = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE})
"""A server may have answered before it closed; what it said can still be read."""


class QuickPool(urllib3.HTTPSConnectionPool):
    """A pool that sends small requests by itself."""

    def quickly(
        self, attempt: Attempt, silence: float | None
    ) -> Reply | urllib3.HTTPResponse | None:
        """What came back, with its body if that is small.

        None if it is for urllib3 to send.  Raises Interrupted, ClosedPoolError.
        """
        request = quick_request(attempt)
        connection = None if request is None else self._open()
        if request is None or connection is None:
            return None
        try:
            connection.sock.settimeout(silence)
            return self._exchange(connection, request, attempt)
        except BaseException:
            connection.close()
            self._put_conn(connection)
            raise

    def _open(self) -> Any:
        """A connection that is open, or None."""
        connection: Any = self._get_conn()
        if connection.sock is not None:
            return connection
        self._put_conn(connection)
        return None

    def _exchange(
        self, connection: Any, request: bytes, attempt: Attempt
    ) -> Reply | urllib3.HTTPResponse:
        sock, method = connection.sock, attempt.call.method
        try:
            _write(sock, request)
            seen, head = first_of(sock)
            if head is None or head.length > READ_AHEAD:
                return self._adopted(connection, response_after(seen, sock, method), attempt)
        except _BROKEN as exc:
            raise interrupted(attempt, _aborted(exc)) from exc
        return self._whole(connection, head, seen[head.size :], attempt)

    def _whole(self, connection: Any, head: PlainHead, first: bytes, attempt: Attempt) -> Reply:
        """The reply with all its body, of which some is there."""
        length = head.body_of(attempt.call.method)
        try:
            content = rest_of(connection.sock, first, length)
        except _BROKEN as exc:
            raise interrupted(attempt, exc) from exc
        if len(content) > length:
            connection.close()  # whatever that is, it is the answer to no other request
        self._put_conn(connection)
        reply = Reply(head.status, CIMultiDict(head.fields), head.raw, content[:length])
        reply.reason = head.reason
        return reply

    def _adopted(
        self, connection: Any, response: QuickResponse, attempt: Attempt
    ) -> urllib3.HTTPResponse:
        """http.client's response as urllib3's own, which returns the connection by itself."""
        if response.will_close:
            connection.close()
        return urllib3.HTTPResponse(
            body=response,
            headers=urllib3.HTTPHeaderDict(response.msg.items()),
            status=response.status,
            version=response.version,
            reason=response.reason,
            preload_content=False,
            decode_content=False,
            original_response=response,
            pool=self,
            connection=connection,
            request_method=attempt.call.method,
        )


def _write(sock: socket.socket, request: bytes) -> None:
    try:
        sock.sendall(request)
    except OSError as exc:
        if exc.errno not in _READ_ON:
            raise


def _aborted(exc: BaseException) -> BaseException:
    """As urllib3 puts it."""
    if isinstance(exc, TimeoutError | urllib3.exceptions.HTTPError):
        return exc
    if isinstance(exc, ssl.SSLError):
        return urllib3.exceptions.SSLError(exc)
    return urllib3.exceptions.ProtocolError("Connection aborted.", exc)
