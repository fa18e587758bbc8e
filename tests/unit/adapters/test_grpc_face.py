"""What a synchronous channel makes of calls that are wanted no more before they are sent."""

from __future__ import annotations

import grpc
import pytest

from meshlib.adapters.grpc.errors import Failed
from meshlib.adapters.grpc.face_sync import MeshChannel
from meshlib.adapters.grpc.handle import Handle
from meshlib.adapters.grpc.rpc import UNARY_UNARY, Message
from meshlib.errors import NoEndpoint
from meshlib.model import Call


def patient(handle=None):
    """An RPC that waits until somebody is there."""
    return Call(
        "shop",
        "POST",
        "/t.T/Echo",
        body=Message(b"", UNARY_UNARY, {}, handle),
        native={"wait_for_ready": True},
    )


def channel_to_nobody(meanwhile):
    """A channel to a service that has nobody; `meanwhile` happens at every attempt to call it."""

    async def nobody(call):
        meanwhile()
        raise NoEndpoint("nobody is there")

    return MeshChannel("shop", lambda: nobody, lambda: None)


def ended(channel, call):
    """Code and details of its error."""
    with pytest.raises(Failed) as caught:
        channel.reply(call)
    return caught.value.code(), caught.value.details()


def test_a_wait_that_is_cancelled():
    """It ends, though nobody came."""
    handle = Handle()
    code, _ = ended(channel_to_nobody(handle.cancel), patient(handle))
    assert grpc.StatusCode.CANCELLED is code


def test_a_wait_for_which_the_channel_is_closed():
    """The same; the caller is told why."""
    channel = channel_to_nobody(lambda: channel.close())  # noqa: PLW0108 - it is not there yet
    assert (grpc.StatusCode.CANCELLED, "Channel closed!") == ended(channel, patient())


def test_a_call_cancelled_before_it_is_sent():
    """Nobody hears of it."""
    handle, asked = Handle(), []
    handle.cancel()
    code, _ = ended(channel_to_nobody(lambda: asked.append(1)), patient(handle))
    assert grpc.StatusCode.CANCELLED is code
    assert [] == asked
