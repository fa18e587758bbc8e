"""A process that is killed in the middle of what it does to files, at a chosen place."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

TOUCHES = {
    *("open", "write", "flush", "fsync", "close", "flock"),
    *("rename", "replace", "remove", "unlink", "mkdir", "scandir"),
}
"""What the system is asked for about a file, as Python calls it."""


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Whether a child that does `act` was killed: it is, before its Nth touch of a file."""
    child = os.fork()
    if not child:
        left = [number]

        def watch(_frame: FrameType, event: str, function: object) -> None:
            if event == "c_call" and getattr(function, "__name__", "") in TOUCHES:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        try:
            act()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
