"""The command `meshlib`, one file a command group."""

from __future__ import annotations

import sys
from typing import NoReturn

USAGE_ERROR = 2


def main() -> NoReturn:
    """Run the command line and exit."""
    try:
        if sys.argv[1:2] == ["run"]:
            from meshlib.cli.run import main as run  # a program waits for it: no other command

            run(sys.argv[2:])
        from meshlib.cli.app import cli
    except ModuleNotFoundError as exc:
        if exc.name not in {"click", "rich"}:
            raise
        message = f"meshlib: the command line needs {exc.name}: pip install 'meshlib[cli]'"
        print(message, file=sys.stderr)
        sys.exit(USAGE_ERROR)
    cli.main(prog_name="meshlib")
