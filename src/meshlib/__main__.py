"""`python -m meshlib`: the same as the command `meshlib`."""

from __future__ import annotations

from meshlib.cli import main

if __name__ == "__main__":
    main()
