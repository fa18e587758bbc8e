from __future__ import annotations

import ssl
import threading
from functools import partial

import pytest

from meshlib.errors import ConfigError, RegistryUnavailable
from meshlib.serve.detect import kind_of
from meshlib.serve.edge import edge_context
from meshlib.serve.leave import tell
from meshlib.serve.options import DrainConfig, Edge, ServeOptions
from meshlib.serve.sockets import listen
from meshlib.serve.stages import Stage, Stages


@pytest.mark.parametrize(
    ("address", "parsed"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("[::1]:0", ("::1", 0)), ("edge:1", ("edge", 1))],
)
def test_edge_addresses(address, parsed) -> None:
    """Host and port, with IPv6 in brackets."""
    edge = Edge.parse(address)
    assert parsed == (edge.host, edge.port)


@pytest.mark.parametrize("address", ["", "8080", ":8080", "host:", "host:x", "host:70000", "h:-1"])
def test_bad_edge_addresses_are_named(address) -> None:
    """The error tells the field and what was given."""
    with pytest.raises(ConfigError) as caught:
        Edge.parse(address)
    assert ("edge", address) == (caught.value.path, caught.value.value)


def test_half_a_certificate_is_refused() -> None:
    """A certificate needs its key."""
    with pytest.raises(ConfigError, match="keyfile"):
        Edge("127.0.0.1", 0, certfile="cert.pem")


def test_a_missing_certificate_is_named(tmp_path) -> None:
    """The error tells which file could not be used."""
    missing = str(tmp_path / "none.pem")
    with pytest.raises(ConfigError, match=r"edge\.certfile.*none\.pem"):
        edge_context(Edge("127.0.0.1", 0, missing, missing), ssl.SSLSocket)


@pytest.mark.parametrize(
    ("field", "value"), [("lame_duck", -1), ("grace", 0), ("deregister", float("inf"))]
)
def test_bad_drains_are_named(field, value) -> None:
    """Negative times and endless waits are refused."""
    with pytest.raises(ConfigError) as caught:
        DrainConfig(**{field: value})
    assert field == caught.value.path


@pytest.mark.parametrize(
    ("field", "value"), [("workers", 0), ("threads", 0), ("keep_alive", 0), ("port", 65536)]
)
def test_bad_serve_options_are_named(options, field, value) -> None:
    """The error tells the field and the value."""
    about = {name: getattr(options, name) for name in options.__dataclass_fields__}
    with pytest.raises(ConfigError) as caught:
        ServeOptions(**about, authorize=bool, register=print, **{field: value})
    assert (field, value) == (caught.value.path, caught.value.value)


def test_a_host_that_does_not_resolve_is_named() -> None:
    """The error tells the field and the address."""
    with pytest.raises(ConfigError, match=r"edge: 'no\.such\.host\.invalid'"):
        listen("no.such.host.invalid", 80, field="edge")


def test_stages_only_move_forward() -> None:
    """A stage that has passed is not gone back to."""
    stages = Stages()
    assert (False, False) == (stages.draining, stages.closing)
    stages.advance(Stage.LAME_DUCK)
    assert (True, False) == (stages.draining, stages.closing)
    stages.advance(Stage.CLOSING)
    stages.advance(Stage.LAME_DUCK)
    assert (True, True) == (stages.draining, stages.closing)
    assert "<Stages CLOSING>" == repr(stages)


def test_a_registry_that_fails_does_not_hold_anybody_up(caplog) -> None:
    """The failure is logged and the drain goes on."""

    def fail() -> None:
        raise RegistryUnavailable("the state folder is gone")

    tell(fail, 5.0)
    assert "the state folder is gone" in caplog.text


def test_a_registry_that_is_silent_does_not_hold_anybody_up(caplog) -> None:
    """After the time is up the drain goes on without an answer."""
    answer = threading.Event()
    tell(answer.wait, 0.0)
    answer.set()
    assert "leaving without it" in caplog.text


async def _coroutine(scope, receive, send): ...


def _asgi(scope, receive, send): ...


def _wsgi(environ, start_response): ...


def _defaulted(environ, start_response, extra=None): ...


def _anything(*args): ...


class _AsyncCall:
    async def __call__(self, scope, receive, send): ...


class _Call:
    def __call__(self, environ, start_response): ...


@pytest.mark.parametrize(
    ("app", "kind"),
    [
        (_coroutine, "asgi"),
        (_asgi, "asgi"),
        (_AsyncCall(), "asgi"),
        (_wsgi, "wsgi"),
        (_defaulted, "wsgi"),
        (_Call(), "wsgi"),
        (_Call().__call__, "wsgi"),
        (partial(_asgi, receive=None), None),
        (partial(_defaulted, extra=1), "wsgi"),
        (_anything, None),
        (_Call, None),
        (None, None),
        ("module:app", None),
    ],
)
def test_the_kind_of_an_application(app, kind) -> None:
    """Told by what it takes; whoever does not tell is refused."""
    if kind is not None:
        assert kind == kind_of(app)
        return
    with pytest.raises(ConfigError, match="an ASGI or a WSGI application"):
        kind_of(app)


def test_real_frameworks_are_recognised() -> None:
    """Flask is WSGI, Starlette is ASGI."""
    from flask import Flask
    from starlette.applications import Starlette

    assert "wsgi" == kind_of(Flask("a"))
    assert "asgi" == kind_of(Starlette())


def test_the_kind_can_be_said() -> None:
    """What the user says is believed; what is no kind is refused."""
    assert "wsgi" == kind_of(_anything, "wsgi")
    with pytest.raises(ConfigError, match="kind"):
        kind_of(_anything, "cgi")


def test_wrapped_applications_are_recognised(options) -> None:
    """`mesh.run(mesh.asgi(app))` is the same as `mesh.run(app)`."""
    from meshlib.serve.asgi import MeshASGI
    from meshlib.serve.wsgi import MeshWSGI

    assert "asgi" == kind_of(MeshASGI(_asgi, options))
    assert "wsgi" == kind_of(MeshWSGI(_wsgi, options))
