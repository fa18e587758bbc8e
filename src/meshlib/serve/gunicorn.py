"""
WSGI applications, served by gunicorn's threads.

The arbiter, which serves nothing itself, holds the registration and says when to leave; workers
shake hands, and take orders from the arbiter alone: a signal to the whole process group must not
stop them before the registry knows.  How the server leaves: see `serve.uvicorn`; gthread's own way
of stopping (every answer ends its connection, idle ones are closed within 2 s, requests in flight
finish) is the second half of it.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any, Protocol

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger

from meshlib.errors import MeshError
from meshlib.serve.edge import edge_context
from meshlib.serve.gthread import Gthread, Worker, answered
from meshlib.serve.guest import EdgeTlsSocket
from meshlib.serve.leave import tell
from meshlib.serve.options import Lease, Listening, ServeOptions
from meshlib.serve.plaintext import Plaintext
from meshlib.serve.sockets import BACKLOG, address_of, listen
from meshlib.serve.stages import Stage
from meshlib.serve.wsgi import MeshWSGI, WSGIApp
from meshlib.trust.tls import MeshContext

_SERVER_SIDE_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def serve_wsgi(app: WSGIApp | MeshWSGI, options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.  In the main thread only.

    A worker process leaves by SystemExit, as gunicorn's do.  Raises ConfigError (an address in
    use), IdentityUnavailable, RegistryUnavailable, MeshError when the workers do not start.
    """
    if threading.current_thread() is not threading.main_thread():
        raise MeshError("gunicorn serves in the main thread only", why="it handles signals")
    mesh = app if isinstance(app, MeshWSGI) else MeshWSGI(app, options)
    mesh.transport = Gthread()
    if mesh.gate is not None:
        mesh.gate.divide(options.workers)
    main = listen(options.host, options.port, field="port")
    edge = options.edge
    try:
        side = listen(edge.host, edge.port, field="edge") if edge else None
        site = _Site(mesh, options, main, side)
    except MeshError:
        main.close()
        raise
    arbiter = MeshArbiter(site)
    with _signals_restored():
        arbiter.serve()


class _Site(BaseApplication):  # type: ignore[misc]
    """gunicorn's settings, and what the arbiter and its workers share."""

    def __init__(
        self,
        app: MeshWSGI,
        options: ServeOptions,
        main: socket.socket,
        side: socket.socket | None,
    ) -> None:
        self.mesh, self.options = app, options
        self.listening = Listening(*address_of(main), address_of(side) if side else None)
        # gunicorn takes the file descriptors over, and closes them
        self._binds = [f"fd://{each.detach()}" for each in (main, side) if each is not None]
        self._context: ssl.SSLContext = self.new_context()
        self._up = mmap.mmap(-1, 1)
        self.edge_config: Config | None = None
        self.lenient: Lenient | None = None
        super().__init__()

    @property
    def worker_up(self) -> bool:
        """Whether any worker has got as far as serving."""
        return self._up[0] == 1

    def new_context(self) -> MeshContext:
        """The mesh's TLS; every process makes its own."""
        options = self.options
        return MeshContext(
            options.credentials,
            server_side=True,
            authorize=options.authorize,
            clock=options.unix,
            min_version=options.oldest_tls,
        )

    def load_config(self) -> None:
        """Called by gunicorn."""
        self.cfg.set("post_fork", self._forked)
        self.cfg.set("post_worker_init", self._worker_started)
        # the file is never read: its name is what makes gunicorn ask for a context
        self._set(self.cfg, certfile="/dev/null", context=lambda: self._context)
        if self.options.edge is not None:
            context = edge_context(self.options.edge, EdgeTlsSocket)
            self.edge_config = Config()
            certfile = "/dev/null" if context else None
            self._set(self.edge_config, certfile=certfile, context=lambda: context)

        if self.options.plaintext is not None:
            self.lenient = Lenient(self.options.plaintext, Config())
            self._set(self.lenient.config, certfile=None, context=lambda: None)

    def load(self) -> MeshWSGI:
        """Called by gunicorn."""
        return self.mesh

    def _set(
        self, config: Config, *, certfile: str | None, context: Callable[[], ssl.SSLContext | None]
    ) -> None:
        options = self.options
        settings = {
            "accesslog": None,
            "backlog": BACKLOG,
            "bind": self._binds,
            "certfile": certfile,
            "control_socket_disable": True,
            "forwarded_allow_ips": "",
            "graceful_timeout": math.ceil(options.drain.grace),
            "keepalive": options.keep_alive,
            "logger_class": _Logger,
            "post_request": answered,
            "sendfile": False,  # it would bypass the limit on silence, and TLS cannot use it
            "ssl_context": lambda _config, _default: context(),
            "threads": options.threads,
            "worker_class": Worker,
            "workers": options.workers,
        }
        for name, value in settings.items():
            config.set(name, value)

    def _forked(self, _arbiter: Arbiter, _worker: Worker) -> None:
        self._context = self.new_context()

    def _worker_started(self, worker: Worker) -> None:
        self._up[0] = 1
        with contextlib.suppress(ProcessLookupError):  # then nobody needs to know
            os.kill(worker.ppid, signal.SIGCHLD)  # the signal that does nothing but wake it up


class Lenient:
    """Plaintext besides TLS: whether at this moment, and gunicorn's settings for it."""

    def __init__(self, mode: Plaintext, config: Config) -> None:
        self._mode, self.config = mode, config

    @property
    def accepted(self) -> bool:
        """At this moment."""
        return self._mode.accepted


class Site(Protocol):
    """What an arbiter must know of what it serves, besides what gunicorn wants of it."""

    mesh: MeshWSGI
    options: ServeOptions
    listening: Listening

    @property
    def worker_up(self) -> bool:
        """Whether any worker has got as far as serving."""


class MeshArbiter(Arbiter):  # type: ignore[misc]
    """Registers, and leaves in the right order."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._lease: Lease | None = None
        self._leaving = False
        self._failure: MeshError | None = None
        self.code: Any = 0
        """gunicorn's exit code, once it has ended."""
        super().__init__(site)

    def serve(self) -> None:
        """Run until the end; returns in this process only."""
        arbiter = os.getpid()
        try:
            self.run()
        except SystemExit as exc:
            if os.getpid() != arbiter:
                raise
            self.code = exc.code
            if self._lease is not None:
                tell(self._lease.close, self.site.options.drain.deregister)
            if self._failure is None and exc.code:
                self._failure = self.meaning_of(exc.code)
        if self._failure is not None:
            raise self._failure

    def meaning_of(self, code: Any) -> MeshError | None:
        """What is to be raised when gunicorn ends with that exit code; none: nothing."""
        return MeshError(
            "the workers did not start", hint='the reason is in the log "gunicorn.error"'
        )

    def manage_workers(self) -> None:
        """Called in every turn of the main loop; registers when the first worker is up."""
        super().manage_workers()
        if self._lease is None and self.site.worker_up and not self._leaving:
            self._register()

    def signal(self, sig: int, frame: FrameType | None) -> None:
        """Queue a signal; while leaving, SIGTERM too means at once."""
        hurry = self._leaving and sig == signal.SIGTERM
        super().signal(signal.SIGINT if hurry else sig, frame)

    def handle_term(self) -> None:
        """Leave; a second signal stops at once."""
        drain, stages = self.site.options.drain, self.site.mesh.stages
        self._leaving = True
        stages.advance(Stage.LAME_DUCK)
        if self._lease is not None:
            tell(self._lease.drain, drain.deregister)
        hurry = self._hurried_within(drain.lame_duck)
        stages.advance(Stage.CLOSING)
        if hurry:
            self.stop(graceful=False)
        raise StopIteration

    handle_int = handle_quit = handle_term

    def handle_usr2(self) -> None:
        """Refuse to start a second arbiter: it would be a second instance under one lease."""
        self.log.warning("SIGUSR2 ignored: start another instance instead")

    def kill_worker(self, pid: int, sig: int) -> None:
        """Signal a worker; see `Worker.init_signals`."""
        super().kill_worker(pid, signal.SIGUSR2 if sig == signal.SIGTERM else sig)

    def move(self) -> None:
        """Be registered where it listens now, if it has been registered at all."""
        lease, self._lease = self._lease, None
        if lease is not None:
            tell(lease.close, self.site.options.drain.deregister)
            self._register()

    def _register(self) -> None:
        where = self.site.listening
        try:
            self._lease = self.site.options.register(where.host, where.port)
        except MeshError as exc:
            self._failure = exc
            raise StopIteration from exc
        self.site.options.started(where)

    def _hurried_within(self, seconds: float) -> bool:
        """Go on looking after the workers; whether somebody asked to stop at once."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            signals = self.wait_for_signals(timeout=min(left, 1.0))
            if any(each in _SERVER_SIDE_STOP for each in signals):
                return True
            self.reap_workers()
            self.murder_workers()
            self.manage_workers()
        return False


class _Logger(Logger):  # type: ignore[misc]
    """gunicorn's messages, left to whatever the program does with its logs; no access log."""

    def setup(self, cfg: Config) -> None:
        """Attach nothing; called by gunicorn."""
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.propagate = True


@contextlib.contextmanager
def _signals_restored() -> Generator[None, None, None]:
    signals = (*Arbiter.SIGNALS, signal.SIGCHLD)
    before = {each: signal.getsignal(each) for each in signals}
    arbiter = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == arbiter:
            for each, handler in before.items():
                signal.signal(each, handler)
