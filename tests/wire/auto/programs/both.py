"""One process that serves HTTP and gRPC, and knows no mesh: `python both.py [web|rpc]`.

The word says which of them has the main thread; the other one was there before.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from flask import Flask, request
from werkzeug.serving import make_server

app = Flask(__name__)


@app.post("/echo")
def echo() -> bytes:
    """What was sent."""
    return request.get_data()


def said(messages: grpc.RpcContext, _: object) -> bytes:
    """All that was sent, once it has ended."""
    return b"".join(messages)


web = make_server("127.0.0.1", 0, app, threaded=True)
rpc = grpc.server(ThreadPoolExecutor(4))
handler = grpc.stream_unary_rpc_method_handler(said)
rpc.add_registered_method_handlers("Both", {"Say": handler})
rpc.add_insecure_port("127.0.0.1:0")
if sys.argv[1] == "web":
    rpc.start()
    web.serve_forever()
else:
    threading.Thread(target=web.serve_forever, daemon=True).start()
    rpc.start()
    rpc.wait_for_termination()
