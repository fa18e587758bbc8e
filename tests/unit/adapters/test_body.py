from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.adapters.body import REPLAY_LIMIT, AsyncStreamBody, BytesBody, StreamBody

PARTS = st.lists(st.binary(max_size=30_000), max_size=6)


async def ticking(parts):
    """An asynchronous source."""
    for part in parts:
        yield part


def sent(body, count=None):
    """What one attempt sends, if it gets as far as `count` parts."""
    parts = []
    for part in body:
        if count is not None and len(parts) == count:
            break
        parts.append(part)
    return b"".join(parts)


@given(PARTS, st.integers(0, 6))
def test_a_second_attempt_sends_the_same_bytes(parts, reached):
    """However far the first attempt came, a replayable body is sent whole by the second."""
    body = StreamBody(iter(parts))
    sent(body, reached)
    if body.replayable:
        assert b"".join(parts) == sent(body)
    else:
        assert sum(map(len, parts)) > REPLAY_LIMIT


def test_body_replay():
    """Known hard bug: a generator is used up by the first attempt, and sent again all the same.

    The naive twin hands the generator itself to both, and the second sends nothing.
    """
    naive = iter([b"once ", b"only"])
    assert [b"once only", b""] == [sent(naive), sent(naive)]
    body = StreamBody(iter([b"once ", b"only"]))
    assert [b"once only", b"once only"] == [sent(body), sent(body)]


@given(PARTS)
def test_async_bodies_replay_alike(parts):
    """The asynchronous body keeps the same promise."""

    async def main():
        body = AsyncStreamBody(ticking(parts))
        first = b"".join([part async for part in body])
        assert b"".join(parts) == first
        if body.replayable:
            assert first == b"".join([part async for part in body])

    asyncio.run(main())


def test_what_is_kept_is_bounded():
    """More than 64 KiB are never held, and then the body is not replayable."""
    body = StreamBody(iter([b"x" * REPLAY_LIMIT, b"y"]))
    assert REPLAY_LIMIT + 1 == len(sent(body))
    assert not body.replayable
    assert body._kept == []
    with pytest.raises(RuntimeError, match="too large"):
        sent(body)


def test_exactly_the_limit_is_replayable():
    """64 KiB are still little enough."""
    body = StreamBody(iter([b"x" * REPLAY_LIMIT]))
    sent(body)
    assert body.replayable


def test_a_stream_that_fails_is_not_replayable():
    """The user's error is remembered as theirs, and nothing is sent twice."""

    def broken():
        yield b"a"
        raise ZeroDivisionError

    body = StreamBody(broken())
    with pytest.raises(ZeroDivisionError):
        sent(body)
    assert isinstance(body.failure, ZeroDivisionError)
    assert not body.replayable


def test_bytes_are_always_replayable():
    """What the user holds can be sent any number of times, whatever its size."""
    assert BytesBody(b"x" * (REPLAY_LIMIT * 4)).replayable
