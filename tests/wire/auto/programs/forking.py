"""Asks its backend, forks, and asks again in parent and child: `forking.py URL`."""

from __future__ import annotations

import os
import sys

import requests

session = requests.Session()


def ask(who):
    """One line: who asked, and whom the backend took it for."""
    peer = session.get(f"{sys.argv[1]}/whoami", timeout=20).json()["peer"]
    sys.stdout.write(f"{who} {peer}\n")
    sys.stdout.flush()


ask("before")
child = os.fork()
ask("after" if child else "child")
if child:
    os.waitpid(child, 0)
