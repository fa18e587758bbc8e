"""
grpc: the functions that make channels, for callers with and without asyncio.

A channel may be made long before anybody can say what its target is, and lives as long as the
program: for a bare name each RPC decides anew (`meshlib.auto.outgoing.grpc_late`).  Credentials of
a secure channel to a service are not used, since the mesh has its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from meshlib.auto import process
from meshlib.auto.outgoing.wraps import Wraps

SUPPORTED = ">=1.66,<2"

Address = tuple[str, int | None]

_TARGET = re.compile(r"(?:(?:dns|passthrough|ipv4|ipv6):(?://[^/]*/)?)?([^/,]+)")
"""Names and addresses (gRPC Name Resolution); what `unix:` or `xds:` leads to is another matter."""
_OTHER = re.compile(r"(?:unix|unix-abstract|vsock|xds|google-c2p):")
_ADDRESS = re.compile(r"\[(?P<six>[^]]+)\](?::(?P<port6>\d+))?|(?P<host>[^:]+)(?::(?P<port>\d+))?")

_wraps = Wraps("grpcio", SUPPORTED)


def wrap(module: Any) -> None:
    """Send RPCs for services through the mesh.  Raises ConfigError."""
    if _wraps.fits(module):
        for owner, made in (module, _channel), (module.aio, _aio_channel):
            _wraps.put(owner, "insecure_channel", made)
            _wraps.put(owner, "secure_channel", made)


def unwrap() -> None:
    """Leave grpc as it was; channels that were made stay what they are."""
    _wraps.remove()


def address_of(target: str) -> Address | None:
    """Host and port of a target; None for one that is no address."""
    match = None if _OTHER.match(target) else _TARGET.fullmatch(target)
    address = _ADDRESS.fullmatch(match[1]) if match else None
    if address is None:
        return None
    port = address["port6"] or address["port"]
    return address["six"] or address["host"], int(port) if port else None


def _channel(
    wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    address = _address(*args, **kwargs)
    if address is None:
        return wrapped(*args, **kwargs)
    from meshlib.auto.outgoing.grpc_late import LateChannel

    return _made(LateChannel, "grpc_channel", address, wrapped, args, kwargs)


def _aio_channel(
    wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    address = _address(*args, **kwargs)
    if address is None:
        return wrapped(*args, **kwargs)
    from meshlib.auto.outgoing.grpc_late_aio import LateAioChannel

    meaning = process.meaning()
    late = partial(
        LateAioChannel,
        knows=partial(meaning.knows, "grpc", *address),
        decide_later=partial(meaning.service_of_loop, "grpc", *address),
    )
    return _made(late, "grpc_aio_channel", address, wrapped, args, kwargs)


def _made(
    late: Callable[..., Any],
    face: str,
    address: Address,
    wrapped: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """A channel of the mesh, grpc's own, or one that does not know yet."""
    meaning = process.meaning()

    def of_mesh(service: str) -> Any:
        return getattr(meaning.mesh, face)(service, **_options(wrapped, args, kwargs))

    def native() -> Any:
        return wrapped(*args, **kwargs)

    def decide() -> str | None:
        return meaning.service_of("grpc", *address)

    if meaning.must_ask("grpc", *address) or meaning.refuses("grpc", *address):
        return late(decide, of_mesh, native)
    service = decide()
    return native() if service is None else of_mesh(service)


def _address(target: Any, *_: Any, **__: Any) -> Address | None:
    return address_of(target.decode() if isinstance(target, bytes) else str(target))


def _options(
    wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """What was asked of the channel, but for where it leads and who it is."""
    import inspect

    given = inspect.signature(wrapped).bind(*args, **kwargs).arguments
    return {
        name: value
        for name, value in given.items()
        if name not in {"target", "credentials"} and value is not None
    }
