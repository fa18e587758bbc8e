"""The queue between hypercorn's protocols and an application."""

from __future__ import annotations

import asyncio

from meshlib.serve.hyper_apps import Inbox

BODY = {"type": "http.request", "body": b"x", "more_body": True}
GONE = {"type": "http.disconnect"}


async def waits(task: asyncio.Task[None]) -> bool:
    """Whether it has not ended once everybody has had several turns."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not task.done()


def test_who_puts_waits_for_room() -> None:
    """A message more than there is room for waits until one is taken."""

    async def main() -> None:
        inbox = Inbox(1)
        await inbox(BODY)
        second = asyncio.create_task(inbox(BODY))
        assert await waits(second)
        assert BODY == await inbox.take()
        await second
        assert inbox.waiting

    asyncio.run(main())


def test_nobody_waits_for_an_application_that_has_ended() -> None:
    """Known hard bug: whoever waits for room goes on, and the end is never kept waiting."""

    async def main() -> None:
        for end in (Inbox.close, lambda inbox: inbox(GONE)):
            inbox = Inbox(1)
            await inbox(BODY)
            second = asyncio.create_task(inbox(BODY))
            assert await waits(second)
            await end(inbox)
            await second
            await inbox(BODY)
            assert not inbox.waiting

    asyncio.run(main())


def test_the_end_is_told_again_and_again() -> None:
    """What came before it comes first, and once."""

    async def main() -> None:
        inbox = Inbox(2)
        await inbox(BODY)
        await inbox(GONE)
        assert [BODY, GONE, GONE] == [await inbox.take() for _ in range(3)]

    asyncio.run(main())


def test_it_says_when_all_is_taken() -> None:
    """Not before the last message, and each time."""

    async def main() -> None:
        told = []
        inbox = Inbox(2)

        async def emptied() -> None:
            told.append(len(told))

        inbox.emptied = emptied
        await inbox(BODY)
        await inbox(BODY)
        await inbox.take()
        assert [] == told
        await inbox.take()
        await inbox(BODY)
        await inbox.take()
        assert [0, 1] == told

    asyncio.run(main())
