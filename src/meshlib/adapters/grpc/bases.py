"""
grpcio's classes, as ours inherit from them.

To the type checker they are plain: grpcio ships no types, and those of others name signatures that
its own subclasses do not keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import grpc.aio

if TYPE_CHECKING:

    class _Plain: ...

    class RpcError(Exception):
        """See grpc."""

    class AioRpcError(grpc.aio.AioRpcError):
        """See grpc.aio."""

    class Call(_Plain):
        """See grpc."""

    class Future(_Plain):
        """See grpc."""

    class Channel(_Plain):
        """See grpc."""

    class UnaryMethod(_Plain):
        """See grpc: UnaryUnaryMultiCallable, StreamUnaryMultiCallable."""

    class StreamMethod(_Plain):
        """See grpc: UnaryStreamMultiCallable, StreamStreamMultiCallable."""

    class AioChannel(_Plain):
        """See grpc.aio."""

    class AioMethod(_Plain):
        """See grpc.aio: its four multi-callables."""

    class AioCall(_Plain):
        """See grpc.aio."""

    class AioUnaryCall(_Plain):
        """See grpc.aio: UnaryUnaryCall, StreamUnaryCall."""

    class AioStreamCall(_Plain):
        """See grpc.aio: UnaryStreamCall, StreamStreamCall."""

else:
    RpcError, Call, Future, Channel = grpc.RpcError, grpc.Call, grpc.Future, grpc.Channel
    AioRpcError, AioChannel, AioCall = grpc.aio.AioRpcError, grpc.aio.Channel, grpc.aio.Call

    class UnaryMethod(grpc.UnaryUnaryMultiCallable, grpc.StreamUnaryMultiCallable):
        """A method that answers with one message."""

    class StreamMethod(grpc.UnaryStreamMultiCallable, grpc.StreamStreamMultiCallable):
        """A method that answers with many."""

    class AioMethod(
        grpc.aio.UnaryUnaryMultiCallable,
        grpc.aio.UnaryStreamMultiCallable,
        grpc.aio.StreamUnaryMultiCallable,
        grpc.aio.StreamStreamMultiCallable,
    ):
        """A method of any shape."""

    class AioUnaryCall(grpc.aio.UnaryUnaryCall, grpc.aio.StreamUnaryCall):
        """A call that is answered with one message."""

    class AioStreamCall(grpc.aio.UnaryStreamCall, grpc.aio.StreamStreamCall):
        """A call that is answered with many."""
