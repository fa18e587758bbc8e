"""Asks what a thing costs: python ask_price.py lamp."""

from __future__ import annotations

import os
import sys

import grpc


def main() -> None:
    """Print the price, or why there is none."""
    name = sys.argv[1] if len(sys.argv) > 1 else "lamp"
    with grpc.insecure_channel(os.environ.get("PRICES_ADDRESS", "127.0.0.1:50051")) as channel:
        ask = channel.unary_unary("/shop.Prices/Of", str.encode, bytes.decode)
        try:
            print(ask(name, timeout=5))
        except grpc.RpcError as exc:
            sys.exit(f"{exc.code().name}: {exc.details()}")


if __name__ == "__main__":
    main()
