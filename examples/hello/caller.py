"""Calls the greeter by its name."""

from __future__ import annotations

import sys

from meshlib import Mesh, MeshError

if __name__ == "__main__":
    with Mesh("caller") as mesh, mesh.client() as http:
        try:
            print(http.get("http://greeter/").text, end="")
        except MeshError as error:
            sys.exit(f"{type(error).__name__}: {error}")
