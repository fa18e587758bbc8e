"""Runs the demo, scripted or live, and sees to it that it can be ended at any moment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from meshlib.demo.fleet import Fleet
from meshlib.demo.live import watch
from meshlib.demo.once import once
from meshlib.demo.stage import Options
from meshlib.errors import MeshError

Play: TypeAlias = Callable[[Options, Callable[[Fleet], None]], Coroutine[Any, Any, int]]

INTERRUPTED = 130
"""The exit code of a shell's child that Ctrl-C ended: 128 + SIGINT."""


def run_live(options: Options) -> int:
    """Run the demo to be watched; Ctrl-C is its ordinary end.  Raises MeshError."""
    return asyncio.run(_guarded(watch, options, interrupted=0))


def run_once(options: Options) -> int:
    """Play the scripted story; whatever happens, the last line is a JSON object."""
    try:
        return asyncio.run(_guarded(once, options, interrupted=INTERRUPTED))
    except (MeshError, TimeoutError) as exc:
        print(f"the story could not be told to its end: {exc}", file=sys.stderr)
        print(json.dumps({"ok": False, "error": str(exc) or type(exc).__name__}), flush=True)
        return 1


async def _guarded(play: Play, options: Options, *, interrupted: int) -> int:
    """Play; the first signal ends it in order, the second at once."""
    fleets: list[Fleet] = []
    task = asyncio.ensure_future(play(options, fleets.append))
    signals: list[int] = []

    def end(number: int) -> None:
        signals.append(number)
        if len(signals) == 1:
            print("\nending; once more to end at once", file=sys.stderr)
            task.cancel()
            return
        for fleet in fleets:
            fleet.kill()
        os._exit(INTERRUPTED)

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not signals:
            raise
        return interrupted
    except BaseExceptionGroup as several:
        # Tasks that run side by side fail as a group, even when it is only one of them.
        raise several.exceptions[0] from several
