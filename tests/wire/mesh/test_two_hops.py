"""What a request carries from process to process."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from meshlib import Mesh

TELLER = Path(__file__).with_name("teller.py")


@pytest.fixture
def tellers(home):
    """Two services, each in a process of its own."""
    with ExitStack() as running:
        for name in ("first", "second"):
            command = [sys.executable, TELLER, name]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            running.enter_context(process)
            running.callback(process.terminate)
            assert process.stdout.readline().strip().isdecimal()
        yield


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
