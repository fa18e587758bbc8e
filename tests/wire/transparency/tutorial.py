"""A Flask application as its tutorial would have it, served by gunicorn or by the mesh.

`tutorial.py plain` is gunicorn with threads, by itself; `tutorial.py mesh` is the same application
in the mesh.  Either tells its port.
"""

from __future__ import annotations

import io
import socket
import sys

from flask import (
    Flask,
    Response,
    abort,
    jsonify,
    make_response,
    redirect,
    request,
    send_file,
    session,
    url_for,
)

app = Flask(__name__)
app.secret_key = "only of a test"
NOTES: list[str] = []
FILE = bytes(range(256)) * 4096


@app.get("/")
def index():
    """Who is logged in."""
    return f"hello {session.get('name', 'stranger')}"


@app.post("/login")
def log_in():
    """A form, a session, a redirect."""
    session["name"] = request.form["name"]
    return redirect(url_for("index"))


@app.route("/notes", methods=["GET", "POST"])
def notes():
    """JSON, both ways."""
    if request.method == "POST":
        return jsonify(made=request.get_json()["text"]), 201
    return jsonify(NOTES)


@app.get("/notes/<int:number>")
def note(number):
    """There is none."""
    abort(404, f"no note {number}")


@app.post("/files")
def files():
    """An upload."""
    return jsonify({name: [f.filename, len(f.read())] for name, f in request.files.items()})


@app.get("/file")
def file():
    """Ranges and conditions are Flask's."""
    return send_file(
        io.BytesIO(FILE),
        "application/octet-stream",
        etag="fixed",
        conditional=True,
        last_modified=0,
    )


@app.get("/stream")
def stream():
    """Part by part."""
    return Response((f"line {n}\n" * 500 for n in range(50)), mimetype="text/plain")


@app.post("/swallow")
def swallow():
    """Read it in pieces."""
    size = 0
    while part := request.stream.read(65536):
        size += len(part)
    return str(size)


@app.get("/environ")
def environ():
    """What WSGI says."""
    names = ("PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "SERVER_PROTOCOL", "SCRIPT_NAME")
    return jsonify({name: request.environ[name] for name in names})


@app.get("/empty")
def empty():
    """204, with a header of its own."""
    answer = make_response("", 204)
    answer.headers["X-Empty"] = ""
    answer.headers.add("X-Twice", "1")
    answer.headers.add("X-Twice", "2")
    return answer


@app.get("/fails")
def fails():
    """500."""
    raise RuntimeError("on purpose")


def say(port):
    """To the test."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


def plain():
    """gunicorn, as anybody would run it."""
    from gunicorn.app.base import BaseApplication

    class Alone(BaseApplication):
        def load_config(self):
            listening = socket.create_server(("127.0.0.1", 0))
            self.port = listening.getsockname()[1]
            listening.close()
            chosen = {
                "bind": f"127.0.0.1:{self.port}",
                "worker_class": "gthread",
                "threads": 4,
                "loglevel": "critical",
                "when_ready": lambda _: say(self.port),
                "control_socket_disable": True,
            }
            for name, value in chosen.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self):
            return app

    Alone().run()


def mesh():
    """The same in the mesh."""
    import meshlib
    from meshlib.serve.options import DrainConfig

    with meshlib.Mesh("tutorial") as here:
        here.run(
            app, started=lambda where: say(where.port), drain=DrainConfig(lame_duck=0.0), threads=4
        )


if __name__ == "__main__":
    {"plain": plain, "mesh": mesh}[sys.argv[1]]()
