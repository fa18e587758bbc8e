"""Programs that fork: grpcio cannot go on in a child that used it before, the mesh's part can."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PROGRAM = """
import os, sys
from meshlib.adapters.grpc import pump as pumps

def in_child(work):
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, work().encode())
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 100).decode()
    os.close(reading)
    os.waitpid(pid, 0)
    return said

def descriptors():
    return len(os.listdir("/proc/self/fd"))

def of_its_own():
    mine = pumps.pump()
    return "own" if mine is not parents and mine._folder != parents._folder else "inherited"

bare = descriptors()
parents = pumps.pump()
print(in_child(of_its_own))
print(in_child(lambda: "closed" if descriptors() <= bare + 2 else "leaked"))
print(os.path.isdir(parents._folder))
"""


def test_a_child_starts_a_pump_of_its_own():
    """It inherits neither the thread nor the sockets nor the folder of its parent's pump."""
    program = textwrap.dedent(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert ["own", "closed", "True"] == done.stdout.split()


CALLS = """
import os, sys, tempfile
from meshlib import Mesh

mesh = Mesh("front", home=sys.argv[1])
channel = mesh.grpc_channel("catalog")
pid = os.fork()
if not pid:
    answer = channel.unary_unary("/c.C/Echo")(b"hello", timeout=20)
    sys.stdout.write(answer.decode())
    sys.stdout.flush()
    os._exit(0)
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_channel_made_before_the_fork_is_used_after_it(tmp_path):
    """A child whose parent has not called yet calls: everything is started on first use."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    from meshlib import Mesh

    class Echo(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: request)

    with Mesh("catalog", home=str(tmp_path)) as mesh:
        server = mesh.grpc_server(ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((Echo(),))
        server.start()
        done = subprocess.run(
            [sys.executable, "-c", CALLS, str(tmp_path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        server.stop(0).wait(20)
    assert (0, "hello") == (done.returncode, done.stdout), done.stderr
