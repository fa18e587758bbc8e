from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HELLO = Path(__file__).parents[2] / "examples" / "hello"


def test_hello(home):
    """The caller is greeted by the name it proved, and the greeter ends when it is told to."""
    greeter = subprocess.Popen(
        [sys.executable, HELLO / "greeter.py"], stdout=subprocess.PIPE, text=True
    )
    with greeter:
        assert greeter.stdout.readline().startswith("listening on port ")
        said = subprocess.run(
            [sys.executable, HELLO / "caller.py"], capture_output=True, text=True, check=True
        )
        greeter.terminate()
    assert said.stdout.startswith("hello caller, I am greeter-")
    assert 0 == greeter.returncode


def test_hello_to_nobody(home):
    """Without a greeter the caller says what is missing, and fails."""
    said = subprocess.run(
        [sys.executable, HELLO / "caller.py"], check=False, capture_output=True, text=True
    )
    assert "NoRoute: there is no service 'greeter' in the mesh" in said.stderr
    assert 1 == said.returncode
