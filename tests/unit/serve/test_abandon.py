from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from meshlib.serve.abandon import CancelWhenGone
from meshlib.serve.asgi import CONNECTION, MeshASGI

GONE = {"type": "http.disconnect"}
LAST = {"type": "http.request", "body": b"", "more_body": False}
PART = {"type": "http.request", "body": b"part", "more_body": True}
START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b""}
BODYLESS = {"type": "http", "headers": [(b"host", b"b")]}
WITH_BODY = {"type": "http", "headers": [(b"content-length", b"4")]}


class Client:
    """The server's end: messages for the application, and what it was asked for."""

    def __init__(self, *messages):
        self.inbox = asyncio.Queue()
        self.asked, self.sent = 0, []
        for message in messages:
            self.inbox.put_nowait(message)

    async def receive(self):
        self.asked += 1
        return await self.inbox.get()

    async def send(self, message):
        self.sent.append(message)

    async def run(self, app, scope=BODYLESS):
        await CancelWhenGone(app)(scope, self.receive, self.send)


async def for_ever():
    await asyncio.Event().wait()


@pytest.mark.asyncio
async def test_a_handler_ends_with_its_client() -> None:
    """Also one that never asks: the calls it waits for are cancelled."""
    ended = []

    async def app(scope, receive, send):
        try:
            await for_ever()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    await Client(LAST, GONE).run(app)
    assert ["cancelled"] == ended
    assert 0 == asyncio.current_task().cancelling()


@pytest.mark.asyncio
async def test_a_body_is_not_read_ahead() -> None:
    """While a body comes in, the server is asked when the application asks, and no more."""
    client = Client(PART, LAST)

    async def app(scope, receive, send):
        await asyncio.sleep(0)
        assert 0 == client.asked
        assert PART == await receive()
        await asyncio.sleep(0)
        assert 1 == client.asked
        assert LAST == await receive()
        client.inbox.put_nowait(GONE)
        await for_ever()

    await client.run(app, WITH_BODY)


@pytest.mark.asyncio
async def test_the_application_hears_what_it_would_have_heard() -> None:
    """Every message once and in order, and the goodbye as often as it asks."""
    heard = []

    async def app(scope, receive, send):
        heard.append(await receive())
        await send(START)
        await send(END)
        client.inbox.put_nowait(GONE)
        heard.append(await receive())
        heard.append(await receive())

    client = Client(LAST)
    await client.run(app)
    assert [LAST, GONE, GONE] == heard
    assert [START, END] == client.sent


@pytest.mark.asyncio
async def test_work_after_the_answer_goes_on() -> None:
    """Background tasks are not the client's."""
    done = []

    async def app(scope, receive, send):
        await send(START)
        await send(END)
        client.inbox.put_nowait(GONE)
        for _ in range(10):
            await asyncio.sleep(0)
        done.append(True)

    client = Client(LAST)
    await client.run(app)
    assert [True] == done


@pytest.mark.asyncio
async def test_the_servers_own_cancellation_passes() -> None:
    """Who cancels the handler for a reason of its own is heard."""

    async def app(scope, receive, send):
        await for_ever()

    task = asyncio.create_task(Client(LAST).run(app))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
async def test_an_error_of_the_application_passes() -> None:
    """And nothing keeps running."""

    async def app(scope, receive, send):
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the very one
        await Client(LAST).run(app)
    assert 1 == len(asyncio.all_tasks())


def test_it_is_chosen(options, connection, spans) -> None:
    """With `cancel_abandoned` the request ends as one whose client went away: status 0."""

    async def app(scope, receive, send):
        await for_ever()

    async def main():
        client = Client(LAST, GONE)
        wrapped = MeshASGI(app, replace(options, cancel_abandoned=True))
        scope = {
            **BODYLESS,
            "method": "GET",
            "path": "/",
            "http_version": "1.1",
            "state": {CONNECTION: connection},
        }
        await wrapped(scope, client.receive, client.send)

    asyncio.run(main())
    assert [("backend", "/", 0, 0.0)] == spans.served
