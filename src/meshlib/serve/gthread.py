"""
gunicorn's threads, lent only to requests that are there.

gthread lends a thread to whoever connects: eight connections that say nothing stop a server of
eight threads.  Here a connection waits in the worker's poller, without a thread, until the next
step of its handshake or the end of a request's headers has arrived; see `serve.newcomers` for those
who keep it waiting.  A thread that waits for the rest of a body gives up after a while.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from types import FrameType
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from meshlib.serve.admission import Connection
from meshlib.serve.guest import (
    EdgeSocket,
    EdgeTlsSocket,
    Guest,
    HeadTooLargeError,
    PlainSocket,
)
from meshlib.serve.newcomers import EXHAUSTED, Newcomers
from meshlib.serve.options import PeerLimits
from meshlib.serve.wsgi import Environ, StartResponse, WSGIApp
from meshlib.trust.tls import peer_of

_BODILESS = frozenset({204, 304})
_WAIT = object()
"""What `Worker.handle` returns for a connection that has not sent enough yet."""
_FAILED = object()
"""The same for one that has ended without a word."""
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Worker(ThreadWorker):  # type: ignore[misc]
    """gthread that lends no thread ahead of time, knows the edge listener, and whom to obey."""

    wsgi: WSGIApp

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: dict[Guest, None] = {}
        self._limits: PeerLimits = PeerLimits()
        self._newcomers: Newcomers[Guest] = Newcomers(1, self._show_out)

    def init_process(self) -> None:
        """Called by gunicorn in the new process."""
        self._limits = self.app.options.limits
        self._newcomers = Newcomers(self._limits.newcomers, self._show_out)
        super().init_process()

    def init_signals(self) -> None:
        """Take the order to stop from the arbiter only.

        Service managers and terminals signal the whole group; a worker that stopped by itself would
        refuse requests while the registry still sends them.  A handler that does nothing, not
        SIG_IGN, for that would be inherited by programs the application starts.
        """
        super().init_signals()
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: None)
        signal.signal(signal.SIGUSR2, self.handle_exit)

    def load_wsgi(self) -> None:
        """Called by gunicorn, which takes an application's OSError for a broken connection."""
        super().load_wsgi()
        self.wsgi = partial(_call, self.wsgi)

    def run(self) -> None:
        """Serve, unless the order to stop came before there was anybody to hear it."""
        if self.app.mesh.stages.closing:
            self.alive = False
        super().run()

    def is_parent_alive(self) -> bool:
        """Whether the arbiter lives; without it the worker stops as if it had been told to."""
        if not super().is_parent_alive():
            self.alive = False
        return bool(self.alive)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at once; an orderly exit would wait for the threads of the pool."""
        del sig, frame
        os._exit(0)

    # ---- connections

    def accept(self, listener: Any) -> None:
        """Accept a connection, remembering which listener it came in by."""
        try:
            accepted, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker was faster, or the client has gone
        except OSError as exc:
            self._cannot_accept(exc)
            return
        self.nr_conns += 1
        config, lenient = self.cfg, self.app.lenient
        if self.app.edge_config is not None and listener is self.sockets[-1]:
            config, lenient = self.app.edge_config, None
            accepted = EdgeSocket(fileno=accepted.detach())
        guest = Guest(config, accepted, client, listener.getsockname(), self._limits)
        guest.lenient = lenient
        self._newcomers.admit(guest)
        self._wait_for(guest)

    def handle(self, conn: Guest) -> Any:
        """Do in a thread what the bytes that have arrived allow."""
        try:
            if not conn.advance():
                return _WAIT
        except OSError as exc:  # ssl.SSLError is one: not a byte to who failed the handshake
            self.log.debug("connection with %s failed: %s", conn.client, exc)
            return _FAILED
        except HeadTooLargeError:
            conn.sock.settimeout(self._limits.silence)
            conn.sock.sendall(_TOO_LARGE)
            return False
        result = super().handle(conn)
        if result:
            conn.take_ahead()
        return result

    def finish_request(self, conn: Guest, fs: Future[Any]) -> None:
        """Called in the main thread when `handle` has ended."""
        result = _FAILED if fs.cancelled() or fs.exception() else fs.result()
        if result is not _WAIT or peer_of(conn.sock) is not None:
            self._newcomers.leave(conn)
        if result is _FAILED or (result is _WAIT and not self.alive):
            self._close(conn)
        elif result is _WAIT:
            self._wait_for(conn)
        elif result:
            super().finish_request(conn, fs)
        elif conn.leave():  # gunicorn would wait for the peer here, and nobody else be served
            self._wait_for(conn)
        else:
            self._close(conn)

    def murder_pending(self) -> None:
        """Close those who took too long; called once a second."""
        now = time.monotonic()
        for guest in [each for each in self._waiting if each.deadline <= now]:
            self._show_out(guest)

    def handle_request(self, req: Any, conn: Guest) -> bool:
        """Serve one request in a thread of the pool."""
        _current.request, _current.cut_short = req, False
        conn.sock.settimeout(self._limits.silence)
        return bool(super().handle_request(req, conn)) and not _current.cut_short

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be served."""
        client.settimeout(self._limits.silence)
        super().handle_error(req, client, addr, exc)

    def _wait_for(self, guest: Guest) -> None:
        guest.sock.settimeout(0)
        self._waiting[guest] = None
        self.poller.register(guest.sock, guest.wants, partial(self._continue, guest))

    def _continue(self, guest: Guest, _sock: Any) -> None:
        if guest not in self._waiting:
            return  # it was shown out in this very turn
        if not guest.leaving:
            self._stop_waiting(guest)
            self.enqueue_req(guest)
        elif not guest.drain():
            self._show_out(guest)

    def _stop_waiting(self, guest: Guest) -> None:
        del self._waiting[guest]
        self.poller.unregister(guest.sock)

    def _show_out(self, guest: Guest) -> None:
        if guest in self._waiting:  # else a thread is at it, and it is not silent
            self._stop_waiting(guest)
            self._close(guest)

    def _close(self, guest: Guest) -> None:
        self._newcomers.leave(guest)
        self.nr_conns -= 1
        guest.close()

    def _cannot_accept(self, exc: OSError) -> None:
        if exc.errno not in EXHAUSTED:
            raise exc
        if not self._newcomers.evict_one():
            self.log.warning("no connection can be accepted: %s", exc)
            self.set_accept_enabled(False)  # until the next turn of the main loop, within a second

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        # gthread would wait the whole grace for connections that never sent anything
        for guest in self._waiting:
            guest.deadline = min(guest.deadline, deadline)


def _call(app: WSGIApp, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    try:
        return app(environ, start_response)
    except (OSError, SystemExit) as exc:
        message = f"the application raised {type(exc).__name__}"
        raise RuntimeError(message) from exc


def answered(_worker: Worker, request: Any, _environ: Environ, response: Any) -> None:
    """gunicorn's `post_request` hook: see whether the answer is as long as it said.

    The peer waits for the rest, so the connection has to end.
    """
    length = None if response is None else response.response_length
    bodiless = request.method == "HEAD" or (response and response.status_code in _BODILESS)
    _current.cut_short = length is not None and response.sent < length and not bodiless


_current = threading.local()
_EDGE = Connection(None, edge=True)
_PLAINTEXT = Connection(None, plaintext=True)


class Gthread:
    """A `wsgi.Transport`."""

    def connection_of(self, environ: Environ) -> Connection | None:
        """Which listener the connection came in by, and its verified peer."""
        sock = environ.get("gunicorn.socket")
        if isinstance(sock, (EdgeSocket, EdgeTlsSocket)):
            return _EDGE
        if isinstance(sock, PlainSocket):
            return _PLAINTEXT
        return Connection(peer_of(sock))

    def close_after(self, environ: Environ) -> None:
        """Have the answer to this request end its connection."""
        del environ
        _current.request.force_close()
