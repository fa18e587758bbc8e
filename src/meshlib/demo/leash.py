"""
Runs a program that knows no leash: it ends when nobody holds our standard input any more.

    python -m meshlib.demo.leash consul agent -dev
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main(command: list[str]) -> int:
    """Run the command; returns its exit code."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the demo's own

    def follow_stdin() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        process.kill()

    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    threading.Thread(target=follow_stdin, name="leash", daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
