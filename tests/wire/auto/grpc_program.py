"""A gRPC server that knows nothing of a mesh: `grpc_program.py threads|loop ADDRESS`."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Threads:
    def hello(self, request, context):
        return b"hello " + request

    def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number


class Loop:
    async def hello(self, request, context):
        return b"hello " + request

    async def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number


def handlers(servicer):
    return {
        "Hello": grpc.unary_unary_rpc_method_handler(servicer.hello),
        "Count": grpc.unary_stream_rpc_method_handler(servicer.count),
    }


def threads(address):
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    server.add_registered_method_handlers("t.Greeter", handlers(Threads()))
    port = server.add_insecure_port(address)
    server.start()
    say(f"LISTENING {port}")
    server.wait_for_termination()
    say("DONE")


async def loop(address):
    server = grpc.aio.server()
    server.add_registered_method_handlers("t.Greeter", handlers(Loop()))
    port = server.add_insecure_port(address)
    await server.start()
    say(f"LISTENING {port}")
    await server.wait_for_termination()
    say("DONE")


if __name__ == "__main__":
    if sys.argv[1] == "threads":
        threads(sys.argv[2])
    else:
        asyncio.run(loop(sys.argv[2]))
