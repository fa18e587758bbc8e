"""Who a process is, and whether it still is."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from meshlib.control.local import process
from meshlib.control.local.process import current, is_gone

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def test_oneself_is_there() -> None:
    """A process is not gone while it asks."""
    assert not is_gone(current(), current())


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"boot": "another"}, True),
        ({"started": "1"}, True),
        ({"pid": 2**30}, True),
        ({"namespace": "pid:[1]"}, False),
        ({"namespace": "pid:[1]", "pid": 2**30}, False),
        ({"namespace": "pid:[1]", "boot": "another"}, True),
    ],
)
def test_what_names_a_process(change: dict[str, object], gone: bool) -> None:
    """Another boot or start time is another process; another namespace cannot be judged."""
    assert gone is is_gone(replace(current(), **change), current())


def test_killed_but_not_waited_for() -> None:
    """A zombie has ended, though its id is still taken."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        other = replace(current(), pid=child.pid, started=process._started(child.pid))
        assert not is_gone(other, current())
        child.kill()
        # wait for the end without collecting it: it stays a zombie
        import os

        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(other, current())


def test_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there is no /proc the process id alone decides."""
    monkeypatch.setattr(process, "_PROC", tmp_path)
    here = current()
    assert ("", "", "") == (here.boot, here.namespace, here.started)
    assert not is_gone(here, here)
    assert is_gone(replace(here, pid=2**30), here)
