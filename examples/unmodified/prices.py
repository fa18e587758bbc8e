"""What things cost: a gRPC server that has never heard of a mesh."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import grpc

PRICES = {"lamp": "14.90", "rope": "9.00", "tent": "180.00"}


def of(name: str, context: grpc.ServicerContext) -> str:
    """The price of one thing."""
    if name not in PRICES:
        context.abort(grpc.StatusCode.NOT_FOUND, f"no price for {name}")
    return PRICES[name]


def main() -> None:
    """Serve until SIGTERM."""
    server = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(of, bytes.decode, str.encode)
    service = grpc.method_handlers_generic_handler("shop.Prices", {"Of": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port(os.environ.get("ADDRESS", "127.0.0.1:50051"))
    server.start()
    print(f"prices are told on port {port}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: server.stop(5))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
