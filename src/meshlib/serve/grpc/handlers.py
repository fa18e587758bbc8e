"""
A method's handler with something around it, for all four arities.

A single request message stays undecoded until the caller was let in: a decoder is the
application's, and unpickling what a stranger sent is as good as running it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import grpc

Behavior: TypeAlias = Callable[..., Any]
Decode: TypeAlias = Callable[[Any], Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_MADE_BY: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
REMEMBERED = 1024
"""Methods whose wrapped handlers are kept: a generic handler may answer to any name."""


class Method(NamedTuple):
    """A method as the application wrote it."""

    path: str
    behavior: Behavior
    decode: Decode
    """Of the single request message; a stream of them is decoded as it is read."""
    streams: bool
    """Whether it answers with a stream."""


class Around(Protocol):
    """Puts something around what a method does."""

    def __call__(self, method: Method) -> Behavior:
        """A behavior of the same arity, for messages that are not decoded yet."""


class Wrapped:
    """Handlers with something around them, each made once."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._made: dict[str, tuple[Handler, Handler]] = {}

    def __call__(self, path: str, handler: Handler) -> Handler:
        """The handler to use in place of the one that the application has for this method."""
        made = self._made.get(path)
        if made is not None and made[0] is handler:
            return made[1]
        wrapped = wrap(path, handler, self._around)
        if len(self._made) >= REMEMBERED:
            self._made.clear()
        self._made[path] = handler, wrapped
        return wrapped


def wrap(path: str, handler: Handler, around: Around) -> Handler:
    """The handler with something around what it does."""
    asks, answers = bool(handler.request_streaming), bool(handler.response_streaming)
    decode = handler.request_deserializer
    behavior = _behavior(handler, asks=asks, answers=answers)
    ours = around(Method(path, behavior, _as_is if asks or decode is None else decode, answers))
    return _MADE_BY[asks, answers](ours, decode if asks else None, handler.response_serializer)


def _behavior(handler: Any, *, asks: bool, answers: bool) -> Behavior:
    name = f"{'stream' if asks else 'unary'}_{'stream' if answers else 'unary'}"
    behavior: Behavior = getattr(handler, name)
    return behavior


def _as_is(message: Any) -> Any:
    return message
