"""An ASGI application of a mesh on a thread of the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from meshlib import follow
from meshlib.serve.asgi import ASGIApp, MeshASGI
from meshlib.serve.options import DrainConfig, Listening
from meshlib.serve.sockets import listen
from meshlib.serve.uvicorn import AsgiServer

if TYPE_CHECKING:
    from meshlib.mesh import Mesh

_PATIENCE = 30.0
"""Seconds after which a test gives up."""


@contextmanager
def hosted(mesh: Mesh, app: ASGIApp, **options: Any) -> Iterator[Listening]:
    """Serve `app` as the service of `mesh` while the block lasts: `Mesh.run` on a thread.

    `options` are those of `Mesh.run`; the address it can be reached at is handed out.
    """
    where: list[Listening] = []
    followed = follow.installed()
    began = threading.Event()

    def started(listening: Listening) -> None:
        where.append(listening)
        began.set()

    chosen = {"drain": DrainConfig(lame_duck=0, grace=5), "host": None, "port": None, **options}
    made = mesh._serve_options(started=started, **{"edge": None, **chosen})  # noqa: SLF001 - what `run` does
    with listen("127.0.0.1", 0, field="port") as main:
        side = listen("127.0.0.1", 0, field="edge") if made.edge else None
        server = AsgiServer(MeshASGI(app, made), made, main, side)
        thread = threading.Thread(target=server.run, name=f"hosted-{mesh.service}")
        thread.start()
        try:
            if not began.wait(_PATIENCE):
                message = f"{mesh.service} did not start"
                raise RuntimeError(message)
            yield where[0]
        finally:
            server.stop()
            thread.join(_PATIENCE)
            if side is not None:
                side.close()
            if not followed:
                follow.uninstall()
