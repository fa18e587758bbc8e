"""A service, or its caller, that logs all it can: `talker.py back` and `talker.py front`."""

from __future__ import annotations

import logging
import sys

import meshlib
from meshlib.serve.options import DrainConfig

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
logging.getLogger().setLevel(1)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello from back"})


def say(words):
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main(name):
    with meshlib.Mesh(name) as mesh:
        logging.debug("%r %r %s", mesh, vars(mesh), mesh.settings)  # noqa: LOG015 - all there is
        if name == "back":
            mesh.run(
                app,
                drain=DrainConfig(lame_duck=0),
                started=lambda _: say("STARTED"),
            )
        else:
            with mesh.client() as http:
                say(http.get("http://back/").text)


if __name__ == "__main__":
    main(sys.argv[1])
