"""What a request carries from process to process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.control.registry import Document
from meshlib.policy.priority import LEAST_URGENT, ORDINARY, priority

TELLER = Path(__file__).with_name("teller.py")


@pytest.fixture
def tellers(home):
    """Two services, each in a process of its own; their processes, to be listened to."""
    processes = {}
    with ExitStack() as running:
        for name in ("first", "second"):
            command = [sys.executable, TELLER, name]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            processes[name] = process
            running.enter_context(process)
            running.callback(process.terminate)
            assert process.stdout.readline().strip().isdecimal()
        yield processes


def test_deadline_and_credit_travel(tellers):
    """The second service knows the caller's deadline, and got half of what the first one had."""
    with Mesh("caller") as mesh, mesh.client(timeout=20.0) as http:
        first, second = http.get("http://first/second/").json()
    assert 20 >= first["deadline"] > second["deadline"] > 0
    assert first["credit"] == 2 * second["credit"] > 0


def test_without_a_deadline_there_is_none(tellers):
    """Who waits for ever says so to everybody."""
    with Mesh("caller") as mesh, mesh.client(timeout=None) as http:
        first, second = http.get("http://first/second/").json()
    assert (None, None) == (first["deadline"], second["deadline"])


def test_priority_travels(tellers):
    """What the edge calls unimportant is so for every service behind it; silence is ordinary."""
    with Mesh("caller") as mesh, mesh.client() as http:
        with priority(6):
            said = http.get("http://first/second/").json()
        unsaid = http.get("http://first/second/").json()
    assert [6, 6] == [each["priority"] for each in said]
    assert [ORDINARY, ORDINARY] == [each["priority"] for each in unsaid]


def test_the_least_urgent_is_shed_first(tellers):
    """An overloaded service two hops away turns away what was unimportant at the edge, only.

    Whoever has used any of its processor is overloaded here.
    """
    overload = {"Serving": {"Shed": {"Cpu": 1e-12, "Interval": "10ms"}}}
    with Mesh("caller") as mesh, mesh.client() as http:

        def second(level):
            with priority(level):
                return http.get("http://first/second/").json()[1]

        mesh.control.put(Document("traffic-policy", "second", overload))
        while "status" not in (told := second(LEAST_URGENT)):
            pass
        assert {"status": 503} == told
        assert [0] * 20 == [second(0)["priority"] for _ in range(20)]


def test_a_copy_is_a_copy_everywhere(tellers):
    """Serving a mirrored request marks the calls that it causes."""
    with Mesh("caller") as mesh, mesh.client() as http:
        headers = {"x-mesh-mirror": "1"}
        copies = http.get("http://first/second/", headers=headers).json()
        others = http.get("http://first/second/").json()
    assert [True, True] == [each["mirrored"] for each in copies]
    assert [False, False] == [each["mirrored"] for each in others]


def test_who_goes_away_ends_the_whole_tree(tellers):
    """The client's disconnect cancels the handler two hops away."""

    async def go_away():
        said = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(said), tellers["second"].stdout
        )
        with Mesh("caller") as mesh:
            async with mesh.async_client() as http:
                call = asyncio.create_task(http.get("http://first/second/wait"))
                assert b"waiting\n" == await said.readline()
                call.cancel()
                assert b"cancelled\n" == await said.readline()
                with pytest.raises(asyncio.CancelledError):
                    await call
        pipe.close()

    asyncio.run(go_away())
