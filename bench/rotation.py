"""
Whether requests fail while the CA's root is replaced over and over.

Three processes: one serves, one calls (GET and POST, from threads and from an event loop), and this
one rotates.  A rotation here is one step of replacing the root (prepare, activate, finish), after
which both others look at the CA, in either order, and go on with new roots or a new leaf.  `finish`
is forced: instead of the 72 h until the last old leaf has expired it waits until both have followed
and every caller has begun another request since.  `--quick`: five seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _common import Result, at_least, at_most, name_of, run
from _servers import app

from meshlib import Mesh
from meshlib.control.local.ca import LocalCA
from meshlib.control.local.plane import TRUST_DOMAIN
from meshlib.control.local.rotation import Rotation
from meshlib.control.local.vault import Vault
from meshlib.observe.quiet import Quiet

NAME = name_of(__file__)
SECONDS = 5.0 if "--quick" in sys.argv else 60.0
RATE = 20.0
"""Rotations a second."""
THREADS, TASKS = 2, 2
PAUSE = 0.005
"""Seconds between two requests of one caller: whoever saturates the machine measures only that."""
SOON = 30.0
FINISH = 2
"""The number of that step."""


class Peer:
    """One of the two other processes."""

    def __init__(self, stack: ExitStack, role: str, home: Path) -> None:
        command = [sys.executable, __file__, role, str(home)]
        self._process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(self._process.terminate)
        self.listen()

    def say(self, word: str) -> str:
        """Tell it; what it answers once it has done so."""
        self.tell(word)
        return self.listen()

    def tell(self, word: str) -> None:
        """Tell it; it will answer."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def listen(self) -> str:
        """The next line it says."""
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        return self._process.stdout.readline()


def answer(line: str) -> None:
    """To the process that rotates."""
    print(line, flush=True)


def look(mesh: Mesh) -> None:
    """Look at the CA now, instead of within a second."""
    mesh.control._identity.renew_due()  # type: ignore[attr-defined] # noqa: SLF001


def serve(home: str) -> None:
    """Answer requests, and look at the CA when told to."""
    mesh = Mesh("rotated", home=home)

    def listen() -> None:
        for _ in sys.stdin:
            look(mesh)
            answer("seen")

    threading.Thread(target=listen, daemon=True).start()
    mesh.run(app, started=lambda where: answer(str(where.port)))


class Callers(Quiet):
    """Threads and tasks that call and call."""

    def __init__(self, home: str) -> None:
        self.mesh = Mesh("caller", home=home, listeners=(self,))
        self.failures: Counter[str] = Counter()
        self.begun = [0] * (THREADS + TASKS)
        self.retries = 0
        self.done = threading.Event()
        self._news = threading.Condition()

    def call_retried(self, call: object, why: str) -> None:
        """Count what was sent again."""
        del call, why
        self.retries += 1

    def start(self) -> list[threading.Thread]:
        """Start them all."""
        threads = [threading.Thread(target=self._sync, args=(each,)) for each in range(THREADS)]
        threads.append(threading.Thread(target=lambda: asyncio.run(self._loop())))
        for thread in threads:
            thread.start()
        return threads

    def pass_on(self) -> None:
        """Return when every caller has begun another request, and so ended the one before."""
        with self._news:
            before = list(self.begun)
            self._news.wait_for(
                lambda: all(now > then for now, then in zip(self.begun, before, strict=True)), SOON
            )

    def _sync(self, number: int) -> None:
        with self.mesh.client() as http:
            while not self.done.wait(PAUSE):
                try:
                    self._judge(http.request(self._begin(number), "http://rotated/"))
                except Exception as exc:  # noqa: BLE001 - whatever it is, it is a failure
                    self.failures[f"{type(exc).__name__}: {exc}"] += 1

    async def _loop(self) -> None:
        async with self.mesh.async_client() as http:
            tasks = range(THREADS, THREADS + TASKS)
            await asyncio.gather(*(self._async(http, number) for number in tasks))

    async def _async(self, http: Any, number: int) -> None:
        while not self.done.is_set():
            await asyncio.sleep(PAUSE)
            try:
                self._judge(await http.request(self._begin(number), "http://rotated/"))
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is a failure
                self.failures[f"{type(exc).__name__}: {exc}"] += 1

    def _begin(self, number: int) -> str:
        with self._news:
            self.begun[number] += 1
            self._news.notify_all()
            return ("GET", "POST")[self.begun[number] % 2]

    def _judge(self, reply: Any) -> None:
        if not reply.is_success:
            self.failures[f"status {reply.status_code}"] += 1


def call(home: str) -> None:
    """Call, look at the CA when told to, and say at the end how it went."""
    callers = Callers(home)
    with callers.mesh as mesh:
        mesh.client().get("http://rotated/")
        threads = callers.start()
        answer("calling")
        for line in sys.stdin:
            if line == "look\n":
                look(mesh)
            elif line == "pass on\n":
                callers.pass_on()
            else:
                break
            answer("done")
        callers.done.set()
        for thread in threads:
            thread.join(SOON)
    said = {"asked": sum(callers.begun), "again": callers.retries, "failures": callers.failures}
    answer(json.dumps(said))


def rotate(home: Path, server: Peer, caller: Peer) -> tuple[int, float]:
    """Rotate at the rate for the time; how often, and how long it took."""
    rotation, rng = Rotation(Vault(home), now=time.time), random.Random(1)
    steps = (rotation.prepare, rotation.activate, lambda: rotation.finish(force=True))
    began, count = time.monotonic(), 0
    while (past := time.monotonic() - began) < SECONDS or count % len(steps):
        time.sleep(max(0.0, count / RATE - past))
        if count % len(steps) == FINISH:
            caller.say("pass on")
        steps[count % len(steps)]()
        peers = rng.sample((server, caller), 2)
        for peer in peers:
            peer.tell("look")
        for peer in peers:
            peer.listen()
        count += 1
    return count, time.monotonic() - began


def measure() -> Iterator[Result]:
    """All cases."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
        LocalCA(home, TRUST_DOMAIN, now=time.time)
        server = Peer(stack, "--serve", home)
        caller = Peer(stack, "--call", home)
        count, seconds = rotate(home, server, caller)
        said = json.loads(caller.say("end"))
    failures = Counter(said["failures"])
    roots = f"{count // 3} roots in {seconds:.0f} s, each step followed by both"
    why = "; ".join(f"{n}x {what.splitlines()[0]}" for what, n in failures.most_common(3))
    of = f"of {said['asked']}"
    # the last one is not waited for, so that the rate is a little less when all is well
    yield at_least(NAME, "rotations a second", count / seconds, RATE * 0.95, "", roots)
    yield at_most(NAME, "requests failed", failures.total(), 0, "", why or of)
    yield at_most(NAME, "requests sent again", said["again"], 0, "", of)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve(sys.argv[-1])
    elif "--call" in sys.argv:
        call(sys.argv[-1])
    else:
        run(measure)
