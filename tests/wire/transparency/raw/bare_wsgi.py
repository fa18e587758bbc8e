"""A WSGI application without any framework, served by gunicorn alone or by the mesh.

`bare_wsgi.py alone` or `bare_wsgi.py meshed`; it tells its port.  `/heard` tells what happened next
elsewhere in the application.
"""

from __future__ import annotations

import io
import json
import queue
import sys

HAPPENED = queue.Queue()
FREE = {"REMOTE_PORT", "SERVER_PORT", "SERVER_SOFTWARE"}
ENDLESS = b"e" * 65536


def app(environ, start_response):
    """Do what the first part of the path says; echo, if it says nothing known."""
    name = environ["PATH_INFO"].partition("/")[2].partition("/")[0].replace("-", "_")
    return globals().get(f"do_{name}", do_echo)(environ, start_response)


def do_echo(environ, start_response):
    """All strings and numbers there are, and the body."""
    told = {k: v for k, v in environ.items() if isinstance(v, str | int) and k not in FREE}
    told["body"] = environ["wsgi.input"].read().decode("latin-1")
    told["version"] = environ["wsgi.version"]
    told["keys"] = sorted(environ)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


def do_heard(environ, start_response):
    """What happened."""
    told = HAPPENED.get(timeout=9).encode()
    start_response("200 OK", [("Content-Length", str(len(told)))])
    return [told]


def do_input(environ, start_response):
    """`/input/HOW`: the body, read in that way, and what comes after its end."""
    body = environ["wsgi.input"]
    ways = {
        "all": lambda: [body.read()],
        "pieces": lambda: [*iter(lambda: body.read(3), b"")],
        "line": lambda: [body.readline(), body.readline(2), body.readline()],
        "lines": body.readlines,
        "hint": lambda: body.readlines(4),
        "iteration": lambda: [*body],
        "mixed": lambda: [body.read(2), body.readline(), body.read(0), body.read()],
        "too-much": lambda: [body.read(10_000)],
    }
    got = ways[environ["PATH_INFO"].rpartition("/")[2]]()
    got.append(body.read())
    start_response("200 OK", [])
    return [json.dumps([each.decode("latin-1") for each in got]).encode()]


def do_part(environ, start_response):
    """Answer each KiB as it arrives; gunicorn reads no less."""
    start_response("200 OK", [])
    return iter(lambda: environ["wsgi.input"].read(1024), b"")


def do_file(environ, start_response):
    """A file that the server may send in its own way."""
    start_response("200 OK", [("Content-Length", "300000")])
    return environ["wsgi.file_wrapper"](Telling(b"f" * 300_000), 8192)


class Telling(io.BytesIO):
    """Says when it is closed."""

    def close(self):
        if not self.closed:
            HAPPENED.put("file closed")
        super().close()


def do_parts(environ, start_response):
    """`/parts`, a generator that starts its answer late; whether it is closed is told."""
    return _parts(start_response)


def _parts(start_response):
    try:
        start_response("200 OK", [("X-Part-Of", "parts")])
        yield b""
        yield b"one"
        yield b"two"
    finally:
        HAPPENED.put("closed")


def do_endless(environ, start_response):
    """Until the client goes away."""
    start_response("200 OK", [])
    try:
        while True:
            yield ENDLESS
            HAPPENED.put(str(len(ENDLESS)))
    finally:
        HAPPENED.put("closed")


def do_write(environ, start_response):
    """The old way to answer."""
    write = start_response("200 OK", [("X-Written", "yes")])
    write(b"written ")
    return [b"and returned"]


def do_again(environ, start_response):
    """`/again/before` or `/again/after` something was sent, start with an error."""
    write = start_response("200 OK", [("X-First", "1")])
    if environ["PATH_INFO"].endswith("after"):
        write(b"sent")
    try:
        _fail()
    except RuntimeError:
        start_response("503 Busy", [("X-Second", "2")], sys.exc_info())
    return [b"again"]


def do_fails(environ, start_response):
    """`/fails/before`, `/fails/after` the start, `/fails/within` the body."""
    when = environ["PATH_INFO"].rpartition("/")[2]
    if when != "before":
        start_response("200 OK", [("X-Mine", "1")])
    if when == "within":
        return _breaking()
    raise RuntimeError("on purpose")


def _breaking():
    yield b"x" * 99
    _fail()


def _fail():
    raise RuntimeError("on purpose")


def do_status(environ, start_response):
    """`/status/CODE/LENGTH`."""
    _, _, code, length = environ["PATH_INFO"].split("/")
    start_response(f"{code} As Said", [("Content-Length", length)] if length else [])
    return []


def do_odd(environ, start_response):
    """Headers in mixed case, repeated, empty, not ASCII, long."""
    headers = [
        ("X-Zebra", "Kept"),
        ("set-cookie", "a=1; Path=/; Expires=Wed, 21 Oct 2015 07:28:00 GMT"),
        ("x-between", "a  b"),
        ("Set-Cookie", "b=2"),
        ("x-empty", ""),
        ("x-latin", "caf\xe9"),
        ("x-long", "l" * 20_000),
        ("content-encoding", "br"),
        ("content-length", "3"),
    ]
    start_response("200 Odd Reason", headers)
    return [b"odd"]


def do_early(environ, start_response):
    """Refuse without a look at the body."""
    start_response("417 No", [("Content-Length", "4"), ("Connection", "close")])
    return [b"none"]


def do_hints(environ, start_response):
    """103, as far as the server knows of it."""
    if "wsgi.early_hints" in environ:
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
    start_response("200 OK", [("Content-Length", "6")])
    return [b"hinted"]


def do_none(environ, start_response):
    """Nothing at all, of a length that is known or not."""
    start_response("200 OK", [])
    return iter(()) if environ["PATH_INFO"].endswith("unknown") else []


def say(port):
    """To the test."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


def alone():
    """gunicorn, as anybody would run it."""
    from gunicorn.app.base import BaseApplication

    class Alone(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", "127.0.0.1:0")
            self.cfg.set("when_ready", lambda it: say(it.LISTENERS[0].sock.getsockname()[1]))
            chosen = {"worker_class": "gthread", "threads": 6, "loglevel": "critical"}
            for name, value in {**chosen, "control_socket_disable": True}.items():
                self.cfg.set(name, value)

        def load(self):
            return app

    Alone().run()


def meshed():
    """The same in the mesh."""
    import meshlib
    from meshlib.serve.options import DrainConfig

    with meshlib.Mesh("shop") as here:
        drain = DrainConfig(lame_duck=0.0, grace=2)
        here.run(app, started=lambda where: say(where.port), drain=drain, threads=6)


if __name__ == "__main__":
    {"alone": alone, "meshed": meshed}[sys.argv[1]]()
