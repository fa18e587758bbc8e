"""A Starlette application that asks two others, in several ways, and knows no mesh."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import requests
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

NAMES = ("one", "two")
pool = ThreadPoolExecutor(4)


def ask(service: str) -> dict[str, str]:
    """What that one was told."""
    told: dict[str, str] = requests.get(f"http://{service}/", timeout=20).json()
    return told


async def ask_in_loop(service: str) -> dict[str, str]:
    """The same, without a thread."""
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        told: dict[str, str] = (await client.get(f"http://{service}/")).json()
    return told


async def by_tasks() -> list[dict[str, str]]:
    """`asyncio.create_task`."""
    return [await each for each in [asyncio.create_task(ask_in_loop(name)) for name in NAMES]]


async def by_gather() -> list[dict[str, str]]:
    """`asyncio.gather`."""
    return await asyncio.gather(*map(ask_in_loop, NAMES))


async def by_to_thread() -> list[dict[str, str]]:
    """`asyncio.to_thread`."""
    return await asyncio.gather(*(asyncio.to_thread(ask, name) for name in NAMES))


async def by_executor() -> list[dict[str, str]]:
    """`loop.run_in_executor`, with a pool of the program's own."""
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*(loop.run_in_executor(pool, ask, name) for name in NAMES))


async def by_threadpool() -> list[dict[str, str]]:
    """As Starlette and FastAPI run handlers that are no coroutines."""
    return [await run_in_threadpool(ask, name) for name in NAMES]


async def by_thread() -> list[dict[str, str]]:
    """`threading.Thread`, which tells the loop."""
    loop = asyncio.get_running_loop()
    told = [loop.create_future() for _ in NAMES]
    for name, future in zip(NAMES, told, strict=True):
        threading.Thread(
            target=lambda name=name, future=future: loop.call_soon_threadsafe(
                future.set_result, ask(name)
            )
        ).start()
    return [await each for each in told]


WAYS = {
    "tasks": by_tasks,
    "gather": by_gather,
    "to-thread": by_to_thread,
    "executor": by_executor,
    "threadpool": by_threadpool,
    "thread": by_thread,
}


async def fan_out(request: Request) -> JSONResponse:
    """What the two were told."""
    return JSONResponse({"there": await WAYS[request.path_params["way"]]()})


app = Starlette(routes=[Route("/{way}", fan_out)])
