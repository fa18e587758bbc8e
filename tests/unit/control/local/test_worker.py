"""The thread that repeats a step."""

from __future__ import annotations

import logging
import threading

import pytest

from meshlib.control.local.worker import Worker
from meshlib.errors import RegistryUnavailable

SOON = 20.0
"""Seconds a test waits for what must happen; it fails, not passes, when they are over."""


class Steps:
    """A step that does what the script says, and counts."""

    def __init__(self, *script: object) -> None:
        self.script = list(script)
        self.threads: list[threading.Thread] = []
        self.exhausted = threading.Event()

    def __call__(self) -> float:
        self.threads.append(threading.current_thread())
        outcome = self.script.pop(0) if self.script else 1e6
        if not self.script:
            self.exhausted.set()
        if isinstance(outcome, Exception):
            raise outcome
        return float(outcome)


def run(steps: Steps) -> None:
    """Work until the script is over."""
    worker = Worker("test-worker", steps, inherit=False)
    worker.start()
    assert steps.exhausted.wait(SOON)
    worker.stop()


def test_repeats_on_one_daemon_thread() -> None:
    """A step is repeated on one daemon thread, however often the worker is started."""
    steps = Steps(0, 0, 0)
    worker = Worker("test-worker", steps, inherit=False)
    worker.start()
    worker.start()
    assert steps.exhausted.wait(SOON)
    worker.stop()
    assert 1 == len(set(steps.threads))
    assert steps.threads[0].daemon
    assert not steps.threads[0].is_alive()


def test_wake_does_not_wait() -> None:
    """A woken worker does its step now, not when its pause is over."""
    steps = Steps(1e6, 1e6)
    worker = Worker("test-worker", steps, inherit=False)
    worker.start()
    worker.wake()
    assert steps.exhausted.wait(SOON)
    worker.stop()


def test_failure_is_logged_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """However often a step fails in a row, there is one warning, and one line when it works."""
    away = RegistryUnavailable("the store is away")
    with caplog.at_level(logging.INFO, logger="meshlib.control"):
        run(Steps(0, away, away, 0, 0))
    words = [record.message for record in caplog.records]
    assert ["test-worker failed, trying on: the store is away", "test-worker works again"] == words


def test_bug_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    """An error nobody foresaw is logged with its traceback, and the thread goes on."""
    steps = Steps(ZeroDivisionError("a bug"), 0, 0)
    with caplog.at_level(logging.INFO, logger="meshlib.control"):
        run(steps)
    assert "Traceback" in caplog.text
    assert 3 <= len(steps.threads)


def test_stops_while_failing() -> None:
    """A worker whose step never works can be stopped."""
    failed = threading.Event()

    def step() -> float:
        failed.set()
        raise RegistryUnavailable("away for ever")

    worker = Worker("test-worker", step, inherit=False)
    worker.start()
    assert failed.wait(SOON)
    worker.stop()


def test_started_again_after_a_stop() -> None:
    """A stopped worker can be started anew."""
    steps = Steps(1e6, 1e6)
    worker = Worker("test-worker", steps, inherit=False)
    worker.start()
    worker.stop()
    worker.start()
    assert steps.exhausted.wait(SOON)
    worker.stop()


def test_may_stop_itself() -> None:
    """A step may stop its own worker."""
    stopped = threading.Event()

    def step() -> float:
        worker.stop()
        stopped.set()
        return 0.0

    worker = Worker("test-worker", step, inherit=False)
    worker.start()
    assert stopped.wait(SOON)
