"""The demo as a user starts it: real processes, real sockets."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CLAIMS = {
    "split_90_10",
    "split_50_50",
    "no_certificate",
    "foreign_certificate",
    "plain_http",
    "kill_9",
    "drain",
    "one_trace",
    "no_failures",
}


@pytest.fixture
def demo(tmp_path):
    """Start `meshlib demo`; it is in a session of its own and gone after the test."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "meshlib", "demo", "--home", str(tmp_path / "home"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    for left_over in processes_of(tmp_path / "home"):
        os.kill(left_over, signal.SIGKILL)


def processes_of(home: Path) -> list[int]:
    """The processes whose command line names `home`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(home).encode() in words:
                found.append(int(entry.name))
    return found


def until_gone(pids: list[int]) -> None:
    """Wait for the end of processes that are not ours to wait for."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            readable, _, _ = select.select([handle], [], [], 30)
        finally:
            os.close(handle)
        assert readable, f"process {pid} is still there"


@pytest.mark.timeout(150)
def test_the_scripted_story_holds(demo, tmp_path):
    """`--once` ends with 0 and a JSON object whose every claim holds, and leaves no process."""
    told, errors = demo("--once").communicate(timeout=120)
    result = json.loads(told.splitlines()[-1])
    assert {name for name, claim in result["claims"].items() if not claim["holds"]} == set(), told
    assert result["claims"].keys() == CLAIMS
    assert result["ok"] is True
    assert 0 == result["total"]["failures"]
    assert 2000 < result["total"]["requests"]
    assert "Traceback" not in errors
    assert [] == processes_of(tmp_path / "home")


@pytest.mark.timeout(90)
@pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="needs Linux to wait for others' children"
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_ends_it_leaves_no_process(demo, tmp_path, number):
    """Ctrl-C and SIGTERM end it with 0, and even `kill -9` leaves no orphan."""
    process = demo()
    while "the page is at" not in process.stdout.readline():
        assert process.poll() is None
    children = [pid for pid in processes_of(tmp_path / "home") if pid != process.pid]
    assert 5 <= len(children)
    process.send_signal(number)
    process.communicate(timeout=40)
    until_gone(children)
    assert (-signal.SIGKILL if number == signal.SIGKILL else 0) == process.returncode


@pytest.mark.timeout(90)
@pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="needs Linux to wait for others' children"
)
def test_the_second_interrupt_does_not_wait(demo, tmp_path):
    """Ctrl-C twice ends it at once with 130, and still leaves no process."""
    process = demo()
    while "the page is at" not in process.stdout.readline():
        assert process.poll() is None
    children = [pid for pid in processes_of(tmp_path / "home") if pid != process.pid]
    process.send_signal(signal.SIGINT)
    while "once more" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    until_gone(children)


@pytest.mark.timeout(90)
def test_a_process_that_does_not_start_is_told(demo):
    """A port in use ends the demo with 1, the reason, and the JSON that says so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told, errors = demo("--once", "--port", port).communicate(timeout=60)
    result = json.loads(told.splitlines()[-1])
    assert result["ok"] is False
    assert "frontend-a ended with code" in result["error"]
    assert port in result["error"]
    assert "frontend-a" in errors
