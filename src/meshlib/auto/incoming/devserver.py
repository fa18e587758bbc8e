"""
WSGI servers made of `socketserver`, as instances of the mesh: Flask's, Django's, Python's own.

All of them come to `BaseServer.serve_forever`, and read a request in `finish_request`.  In between,
each connection gets a thread, in which it shakes hands and waits for its first request; so nobody
holds up anybody else by saying nothing.  A server without threads still serves one request at a
time, and one that forks shakes hands in the child.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from meshlib.auto.incoming import hosted
from meshlib.auto.incoming.arrival import Arrival, Busy, await_request
from meshlib.auto.incoming.found import wrapped_already
from meshlib.errors import MeshError
from meshlib.serve import departures
from meshlib.serve.admission import Connection
from meshlib.serve.leave import tell
from meshlib.serve.newcomers import Newcomers
from meshlib.serve.plaintext import is_handshake
from meshlib.serve.sockets import address_of
from meshlib.serve.stages import Stage
from meshlib.serve.wsgi import Environ, MeshWSGI
from meshlib.trust.tls import MeshContext, peer_of

if TYPE_CHECKING:
    from meshlib.serve.options import Lease

log = logging.getLogger("meshlib.serve")

_EDGE = Connection(None, edge=True)
_PLAINTEXT = Connection(None, plaintext=True)
_current = threading.local()


class ThisThread:
    """A `wsgi.Transport` for servers that finish a request in the thread that began it."""

    def connection_of(self, environ: Environ) -> Connection | None:
        """The connection whose request this thread serves."""
        return getattr(_current, "connection", None)

    def close_after(self, environ: Environ) -> None:
        """The server is told by the answer: see `DevServer.leave`, nobody new is let in."""


class DevServer:
    """One server of the program's; `app` is the name it has its application by.

    Raises ConfigError (a unix socket), IdentityUnavailable.
    """

    def __init__(self, server: Any, app: str) -> None:
        self.server = server
        hosted.listening(server.socket)
        host, port = address_of(server.socket)
        options = self.options = hosted.options_of(host, port)
        self._context = MeshContext(
            options.credentials,
            server_side=True,
            authorize=options.authorize,
            clock=options.unix,
            min_version=options.oldest_tls,
        )
        given = getattr(server, app)
        found = wrapped_already(given)
        self.mesh = found or MeshWSGI(given, options)
        self.mesh.transport = ThisThread()
        setattr(server, app, given if found else self.mesh)
        self._newcomers: Newcomers[Arrival] = Newcomers(options.limits.newcomers, Arrival.hang_up)
        self._lock = threading.Lock()
        self._turn = _turns(server)
        self._busy = Busy()
        self._lease: Lease | None = None
        self._told: list[int] = []
        self._asked, self._gone = False, threading.Event()
        self._finish: Callable[..., None] = server.finish_request
        self._side: socket.socket | None = None
        self._pid = os.getpid()

    def serve(self, forever: Callable[[], None]) -> None:
        """Register, serve until told to stop, and leave.  Raises MeshError."""
        forks = isinstance(self.server, socketserver.ForkingMixIn)
        ours = {"finish_request": self._finish_child} if forks else {"process_request": self._admit}
        vars(self.server).update(ours)
        self._side = hosted.edge_listening(self.options)
        if self._side is not None:
            threading.Thread(target=self._accept_edge, name="meshlib-edge", daemon=True).start()
        self._lease = self.options.register(*address_of(self.server.socket))
        atexit.register(self._at_exit)
        departures.join(self)
        try:
            with self._signals():
                forever()
        finally:
            self.leave()
            self._gone.set()
        self._end_as_told()

    def depart(self) -> Callable[[], object]:
        """Begin to leave, in a thread; what is returned waits for the end."""
        if not self._asked:
            self._asked = True
            threading.Thread(target=self._stop, name="meshlib-leave", daemon=True).start()
        return self._gone.wait

    def leave(self) -> None:
        """Deregister, finish what is in flight, end the lease; once."""
        if self._lease is None:
            return
        lease, drain = self._lease, self.options.drain
        self._step_down(lease)
        self.mesh.stages.advance(Stage.CLOSING)
        if self._side is not None:
            self._side.close()
        self._busy.wait(drain.grace)
        self._lease = None
        atexit.unregister(self._at_exit)
        tell(lease.close, drain.deregister)

    # ---- connections

    def _admit(self, request: socket.socket, client: Any, *, edge: bool = False) -> None:
        """In place of the server's `process_request`: never blocks."""
        arrival = Arrival(request, client, edge=edge)
        with self._lock:
            self._newcomers.admit(arrival)
        threading.Thread(target=self._attend, args=(arrival,), daemon=True).start()

    def _attend(self, arrival: Arrival) -> None:
        try:
            connection = self._greet(arrival)
            await_request(arrival.sock, hosted.KEEP_ALIVE if connection.peer else self._head)
            self._proven(arrival)
            self._answer(arrival.sock, arrival.client, connection)
        except OSError as exc:  # ssl.SSLError and TimeoutError are some
            log.debug("connection with %s failed: %s", arrival.client, exc)
        finally:
            self._proven(arrival)
            self.server.shutdown_request(arrival.sock)

    def _proven(self, arrival: Arrival) -> None:
        with self._lock:
            self._newcomers.leave(arrival)

    def _answer(self, ready: Any, client: Any, connection: Connection) -> None:
        ready.settimeout(hosted.KEEP_ALIVE)
        _current.connection = connection
        with self._busy, self._turn:
            try:
                self._finish(ready, client)
            except OSError:
                raise
            except Exception:  # noqa: BLE001 - the server tells of whatever escapes its handler
                self.server.handle_error(ready, client)

    def _greet(self, arrival: Arrival) -> Connection:
        """Shake hands; who is at the other end.  Raises OSError."""
        sock = arrival.sock
        if arrival.edge:
            return _EDGE
        sock.settimeout(self.options.limits.handshake)
        lenient = self.options.plaintext
        if lenient is not None and lenient.accepted:
            first = sock.recv(1, socket.MSG_PEEK)
            if first and not is_handshake(first):
                return _PLAINTEXT
        # the old object has no connection any more: whoever hangs up must have the new one
        tls = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        arrival.sock = tls
        tls.do_handshake()
        return Connection(peer_of(tls))

    def _finish_child(self, request: socket.socket, client: Any) -> None:
        """In the child of a server that forks."""
        arrival = Arrival(request, client, edge=False)
        try:
            _current.connection = self._greet(arrival)
            arrival.sock.settimeout(hosted.KEEP_ALIVE)
            self._finish(arrival.sock, client)
        except OSError as exc:
            log.debug("connection with %s failed: %s", client, exc)

    def _accept_edge(self) -> None:
        assert self._side is not None  # noqa: S101 - it is what the thread is for
        while True:
            try:
                accepted, client = self._side.accept()
            except OSError:
                return  # it was closed
            self._admit(accepted, client, edge=True)

    @property
    def _head(self) -> float:
        return self.options.limits.head

    # ---- the end

    @contextlib.contextmanager
    def _signals(self) -> Generator[None, None, None]:
        """Those the program has left as they are ask to leave; a second one finds nobody."""
        if threading.current_thread() is not threading.main_thread():
            yield  # a reloader has the main thread (`meshlib.auto.incoming.reloading`)
            return
        usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
        ours = {each: now for each, now in usual.items() if signal.getsignal(each) is now}
        for each in ours:
            signal.signal(each, self._hear)
        try:
            yield
        finally:
            for each, handler in ours.items():
                signal.signal(each, handler)

    def _hear(self, number: int, _frame: object) -> None:
        self._told.append(number)
        if len(self._told) > 1:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        departures.ask()

    def _stop(self) -> None:
        if self._lease is not None:
            self._step_down(self._lease)
            threading.Event().wait(self.options.drain.lame_duck)
        self.server.shutdown()

    def _step_down(self, lease: Lease) -> None:
        if not self.mesh.stages.draining:
            self.mesh.stages.advance(Stage.LAME_DUCK)
            tell(lease.drain, self.options.drain.deregister)

    def _end_as_told(self) -> None:
        """End as the program would have without us."""
        if self._told:
            departures.wait()
            signal.raise_signal(self._told[0])

    def _at_exit(self) -> None:
        """At the exit of the interpreter, where no thread can be started."""
        if self._asked:  # in a thread that would end here
            self._gone.wait(self.options.drain.grace)
        lease, self._lease = self._lease, None
        if lease is not None and os.getpid() == self._pid:  # children end as well
            with contextlib.suppress(MeshError, OSError):
                lease.close()


def _turns(server: Any) -> contextlib.AbstractContextManager[Any]:
    """Held while a request is served; a server without threads serves one at a time."""
    threaded = isinstance(server, socketserver.ThreadingMixIn)
    return contextlib.nullcontext() if threaded else threading.Lock()


def serve_forever(server: Any, app: str, forever: Callable[[], None]) -> None:
    """Run a server's loop in the mesh; what hinders it is said, and ends the process."""
    try:
        DevServer(server, app).serve(forever)
    except MeshError as exc:
        hosted.give_up(exc)
