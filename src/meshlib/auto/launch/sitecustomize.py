"""
Runs at the start of every Python process beneath `meshlib run`, before the program does.

Its folder is the first of PYTHONPATH, and stays there for the program's own children: whatever it
starts is the same service.  A sitecustomize that the program has elsewhere is run afterwards.  It
may be loaded by a Python that has no meshlib at all, so nothing is imported before that is known.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from importlib.machinery import PathFinder

NOT_INSTALLED = 78
"""The exit code of a program that cannot be in the mesh: EX_CONFIG of sysexits.h."""


def _begin() -> None:
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib costs 10 ms
    sys.path[:] = [each for each in sys.path if os.path.abspath(each or ".") != here]  # noqa: PTH100
    try:
        _join()
    finally:
        _chain()


def _join() -> None:
    if importlib.util.find_spec("meshlib") is None:
        _refuse()
        return
    from meshlib.auto import hooks

    hooks.install()


def _refuse() -> None:
    if os.environ.get("MESHLIB_LAUNCHER") != str(os.getppid()):
        return  # another Python, which the program happens to use
    hint = f"{sys.executable} -m pip install 'meshlib[auto]'"
    sys.stderr.write(f"meshlib run: meshlib is not installed for {sys.executable} (try: {hint})\n")
    sys.stderr.flush()
    with contextlib.suppress(OSError, KeyError):  # the launcher says a little too much without it
        path = os.environ["MESHLIB_LAUNCH_REPORT"]
        with open(path, "a") as file:  # noqa: PTH123 - as above
            file.write(f"refused {os.getpid()} - 0\n")
    os._exit(NOT_INSTALLED)  # an exception would be caught by `site`, and the program would run


def _chain() -> None:
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    theirs = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = theirs
    spec.loader.exec_module(theirs)


if os.environ.get("MESHLIB_SERVICE"):
    _begin()
else:  # the program has left the mesh by taking its name out of a child's environment
    _chain()
