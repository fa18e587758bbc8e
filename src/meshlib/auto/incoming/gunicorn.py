"""
gunicorn: `gunicorn app:app`, and whatever else runs a `BaseApplication` of its.

Workers of the kinds sync and gthread become the mesh's own threads (`serve.gthread`), as many as
the program says; bind, workers, preload, timeouts, logs and hooks stay the program's.  Workers made
of uvicorn's are wrapped as uvicorn is.  Others are refused: they cannot show who is at the other
end of a connection.
"""

from __future__ import annotations

import contextlib
import copy
import mmap
import os
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from meshlib.auto.incoming import hosted
from meshlib.auto.outgoing.wraps import Wraps
from meshlib.errors import ConfigError, MeshError

if TYPE_CHECKING:
    from meshlib.serve.options import Listening
    from meshlib.serve.wsgi import Environ, StartResponse, WSGIApp

SUPPORTED = ">=27,<28"
_KEEP_ALIVE = 2
"""gunicorn's default, in seconds."""
_GREENLETS = ("gevent", "eventlet", "tornado")

_wraps = Wraps("gunicorn", SUPPORTED)


def wrap() -> None:
    """Serve in the mesh from now on: applications that are not run yet."""
    import gunicorn.app.base

    if hosted.fits("gunicorn", SUPPORTED):
        _wraps.put(gunicorn.app.base.BaseApplication, "run", _run)


def unwrap() -> None:
    """Leave gunicorn as it was; arbiters that run go on as they did."""
    _wraps.remove()


def _run(wrapped: Any, app: Any, args: Any, kwargs: Any) -> None:
    try:
        if _is_uvicorns(app.cfg):
            wrapped(*args, **kwargs)
            return
        arbiter = _arbiter(app)
        arbiter.serve()
    except MeshError as exc:
        hosted.give_up(exc)
    sys.exit(arbiter.code)


def _arbiter(app: Any) -> Any:
    from meshlib.serve.gunicorn import MeshArbiter

    class TheirArbiter(MeshArbiter):
        """It learns where it listens from gunicorn."""

        def start(self) -> None:
            super().start()
            self._look()

        def manage_workers(self) -> None:
            if self.LISTENERS is not self._known:  # after SIGHUP it may listen elsewhere
                self._look()
                self.move()
            super().manage_workers()

        def meaning_of(self, code: Any) -> None:
            """Nothing: gunicorn has said why, and its exit code is the program's."""

        def _look(self) -> None:
            self._known = self.LISTENERS
            site.listening = _listening(self.LISTENERS, edge=site.edge_config is not None)

    site = TheirSite(app)
    return TheirArbiter(site)


def _is_uvicorns(config: Any) -> bool:
    """Whether its workers run uvicorn.  Raises ConfigError for those that cannot be in the mesh."""
    from gunicorn.workers.gthread import ThreadWorker
    from gunicorn.workers.sync import SyncWorker

    said = config.settings["worker_class"].get()
    name = said if isinstance(said, str) else said.__name__
    if not any(each in name.lower() for each in _GREENLETS):  # to load one of those patches Python
        kind = config.worker_class
        if any(base.__module__.split(".")[0].startswith("uvicorn") for base in kind.__mro__):
            return True
        if kind in {SyncWorker, ThreadWorker}:
            return False
    hint = "for an ASGI application: -k uvicorn.workers.UvicornWorker"
    raise ConfigError("worker_class", name, "sync, gthread or one of uvicorn's", hint=hint)


class TheirSite:
    """The program's application as an arbiter of the mesh serves it."""

    listening: Listening

    def __init__(self, app: Any) -> None:
        from meshlib.serve.gthread import Gthread
        from meshlib.serve.wsgi import MeshWSGI

        self._app = app
        host, port = _first_address(app.cfg)
        self.options = hosted.options_of(host, port)
        self._loaded = _Loaded()
        self.mesh = MeshWSGI(self._loaded, self.options)
        self.mesh.transport = Gthread()
        self._up = mmap.mmap(-1, 1)
        self._adapt()

    def __getattr__(self, name: str) -> Any:
        """All else is the program's."""
        return getattr(self._app, name)

    @property
    def worker_up(self) -> bool:
        """Whether any worker has got as far as serving."""
        return self._up[0] == 1

    def wsgi(self) -> WSGIApp:
        """The application; called by gunicorn, before the fork or after it."""
        from meshlib.auto.incoming.found import wrapped_already

        app: WSGIApp = self._app.wsgi()
        found = wrapped_already(app)
        if found is not None:
            found.stages, found.transport = self.mesh.stages, self.mesh.transport
            return app
        self._loaded.app = app
        return self.mesh

    def reload(self) -> None:
        """Read the program's settings again; called by gunicorn on SIGHUP."""
        self._app.reload()
        self._adapt()

    def _adapt(self) -> None:
        """Have the mesh's place in the program's settings."""
        config = self._app.cfg
        dropped = {"its own TLS": config.is_ssl, "reuse_port": config.reuse_port}
        hosted.dropped("gunicorn", [name for name, given in dropped.items() if given])
        self._set_common(config)
        self._context = self._new_context()
        edge, lenient = self.options.edge, self.options.plaintext
        self.edge_config = _without_tls(config) if edge else None
        self.lenient = _lenient(lenient, _without_tls(config)) if lenient else None
        if edge:
            config.set("bind", [*config.bind, f"{edge.host}:{edge.port}"])
        config.set("certfile", "/dev/null")  # never read: that there is one makes gunicorn ask
        config.set("ssl_context", lambda _config, _default: self._context)
        if self.mesh.gate is not None:
            self.mesh.gate.divide(config.workers)

    def _set_common(self, config: Any) -> None:
        from meshlib.serve.gthread import Worker, answered

        settings = {
            "certfile": None,
            "forwarded_allow_ips": "",
            "keyfile": None,
            "post_fork": self._forked_after(config.post_fork),
            "post_request": _after(config.post_request, answered),
            "post_worker_init": self._started_after(config.post_worker_init),
            "reuse_port": False,
            "sendfile": False,  # TLS cannot use it
            "worker_class": Worker,
        }
        if config.keepalive == _KEEP_ALIVE:
            settings["keepalive"] = hosted.KEEP_ALIVE
        for name, value in settings.items():
            config.set(name, value)

    def _new_context(self) -> Any:
        from meshlib.trust.tls import MeshContext

        options = self.options
        return MeshContext(
            options.credentials,
            server_side=True,
            authorize=options.authorize,
            clock=options.unix,
            min_version=options.oldest_tls,
        )

    def _forked_after(self, theirs: Any) -> Any:
        def post_fork(arbiter: Any, worker: Any) -> None:
            self._context = self._new_context()
            theirs(arbiter, worker)

        return post_fork

    def _started_after(self, theirs: Any) -> Any:
        def post_worker_init(worker: Any) -> None:
            theirs(worker)
            self._up[0] = 1
            with contextlib.suppress(ProcessLookupError):  # then nobody needs to know
                os.kill(worker.ppid, signal.SIGCHLD)  # does nothing but wake it up

        return post_worker_init


class _Loaded:
    """The program's application, once it is loaded."""

    app: WSGIApp

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self.app(environ, start_response)


def _after(theirs: Any, ours: Any) -> Any:
    def post_request(worker: Any, request: Any, environ: Environ, response: Any) -> None:
        ours(worker, request, environ, response)
        theirs(worker, request, environ, response)

    return post_request


def _without_tls(config: Any) -> Any:
    """A copy, for listeners in plaintext."""
    made = copy.copy(config)
    made.settings = {name: copy.copy(each) for name, each in config.settings.items()}
    return made


def _lenient(mode: Any, config: Any) -> Any:
    from meshlib.serve.gunicorn import Lenient

    return Lenient(mode, config)


def _first_address(config: Any) -> tuple[str, int]:
    """Where it listens first of all.  Raises ConfigError for what is no TCP address."""
    for each in config.address:
        if not isinstance(each, tuple):
            hint = "instances of a mesh find each other by host and port: bind to those"
            raise ConfigError("bind", str(each), "HOST:PORT", hint=hint)
    host, port = config.address[0][:2]
    return str(host), int(port)


def _listening(listeners: list[Any], *, edge: bool) -> Listening:
    from meshlib.serve.options import Listening

    host, port = listeners[0].sock.getsockname()[:2]
    side = listeners[-1].sock.getsockname()[:2] if edge else None
    return Listening(host, port, side)
