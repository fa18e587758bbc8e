"""A gRPC service of the mesh: `greeter.py threads|loop`; it tells where it listens."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio

import meshlib
from meshlib.serve.options import DrainConfig


def say(words):
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def hello(request, context):
    return f"hello {context.mesh_peer.service}".encode()


async def hello_in_loop(request, context):
    return hello(request, context)


def added(server, behavior):
    handler = grpc.unary_unary_rpc_method_handler(behavior)
    server.add_registered_method_handlers("t.Greeter", {"Hello": handler})
    return server


OPTIONS = {
    "drain": DrainConfig(lame_duck=0.1, grace=5),
    "started": lambda where: say(f"STARTED {where.port}"),
}


async def in_loop(mesh):
    await added(mesh.grpc_aio_server(**OPTIONS), hello_in_loop).run()


def main(kind):
    with meshlib.Mesh("greeter") as mesh:
        if kind == "threads":
            added(mesh.grpc_server(ThreadPoolExecutor(4), **OPTIONS), hello).run()
        elif kind == "built":
            added(mesh.grpc_server(grpc.server(ThreadPoolExecutor(4)), **OPTIONS), hello).run()
        else:
            asyncio.run(in_loop(mesh))
        say("DONE")


if __name__ == "__main__":
    main(sys.argv[1])
