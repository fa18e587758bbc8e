"""One folder, several processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import meshlib.control.local.ca
from meshlib.control.local.ca import ISSUING_TTL, LocalCA
from meshlib.control.local.vault import Vault

START = 1_800_000_000.0
CHILDREN = 4

# waits for the starting gun, then opens the CA and issues; prints root and issuing certificate
SCRIPT = """
import hashlib, sys
from pathlib import Path
from meshlib.control.local.ca import LocalCA
from meshlib.trust.spiffe import service_id

folder, now, gun = Path(sys.argv[1]), float(sys.argv[2]), sys.stdin
print("ready", flush=True)
gun.readline()
ca = LocalCA(folder, "example.org", now=lambda: now)
chain = ca.issue(service_id("example.org", "web")).chain_pem.split(b"-----END")
print(*(hashlib.sha256(each).hexdigest() for each in (*ca.bundle().roots, chain[1])))
"""


@pytest.fixture
def race():
    """Run the script in several processes that start together; what each printed."""
    source = str(Path(meshlib.control.local.ca.__file__).parents[3])
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), source]).strip(os.pathsep)

    def run(folder, now):
        command = [sys.executable, "-c", SCRIPT, str(folder), str(now)]
        children = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
            )
            for _ in range(CHILDREN)
        ]
        for child in children:
            assert "ready\n" == child.stdout.readline()
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        said = [child.communicate(timeout=60)[0].split() for child in children]
        assert [0] * CHILDREN == [child.returncode for child in children]
        return said

    return run


def test_created_at_once_it_is_one_ca(tmp_path, race):
    """Processes that make the CA at the same moment end up with the same one."""
    said = race(tmp_path / "ca", START)
    assert 2 == len(said[0])
    assert [said[0]] * CHILDREN == said


def test_replaced_at_once_it_is_one_issuing_certificate(tmp_path, race):
    """Processes that find the issuing certificate old replace it once."""
    LocalCA(tmp_path / "ca", "example.org", now=lambda: START)
    said = race(tmp_path / "ca", START + ISSUING_TTL * 0.7)
    assert [said[0]] * CHILDREN == said
    assert not (tmp_path / "ca" / "issuing-1-3.pem").exists()


# rotates as often as it can, whoever else does
ROTATOR = """
import sys, time
from pathlib import Path
from meshlib.control.local.ca import LocalCA
from meshlib.control.local.rotation import Rotation
from meshlib.control.local.vault import Vault
from meshlib.errors import ControlError
from meshlib.trust.spiffe import service_id

folder, gun = Path(sys.argv[1]), sys.stdin
ca, rotation = LocalCA(folder, "example.org", now=time.time), Rotation(Vault(folder), now=time.time)
print("ready", flush=True)
gun.readline()
done = 0
for _ in range(12):
    for step in (rotation.prepare, rotation.activate, lambda: rotation.finish(force=True)):
        try:
            done += step()
        except ControlError as error:
            assert "rotat" in str(error) or "no root is prepared" in str(error), error
        ca.issue(service_id("example.org", "web"))
print(done, flush=True)
"""


def test_two_rotators_at_once(tmp_path):
    """However their steps interleave, each commit is one step, and what is left is one whole CA."""
    folder = tmp_path / "ca"
    ca = LocalCA(folder, "example.org", now=time.time)
    source = str(Path(meshlib.control.local.ca.__file__).parents[3])
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ROTATOR, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": source},
        )
        for _ in range(2)
    ]
    for child in children:
        assert "ready\n" == child.stdout.readline()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=60) for child in children]
    assert [0, 0] == [child.returncode for child in children], said
    state = Vault(folder).current().state
    steps = 3 * (state.active - 1) - (state.retiring is not None) + (state.prepared is not None)
    assert steps == sum(int(out) for out, _ in said)
    assert state.active == ca.signing()
    assert LocalCA(folder, "example.org", now=time.time).bundle() == ca.bundle()


# makes credentials and both contexts with them, renews, and prints every file it wrote to
DATA_PLANE = """
import os, sys, time
from pathlib import Path
from meshlib.control.local.identity import LocalIdentity
from meshlib.runtime import new_rng
from meshlib.trust.tls import MeshContext, member_of

identity = LocalIdentity(Path(sys.argv[1]), "example.org", now=time.time, rng=new_rng())
identity.credentials("first")  # the CA itself is made by now
written = set()

def watch(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        if isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.add(os.fsdecode(args[0]))
    elif event in ("tempfile.mkstemp", "tempfile.mkdtemp", "os.mkdir", "os.rename"):
        written.add(os.fsdecode(args[0]))

sys.addaudithook(watch)
watch_ = identity.credentials("web")
for side in (True, False):
    MeshContext(watch_, server_side=side, authorize=member_of("example.org"), clock=time.time)
identity._entries["web"].due = 0
identity.renew_due()
assert watch_.value.generation == 2
identity.close()
print(*sorted(written), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memfd")
def test_the_data_plane_writes_no_key(tmp_path):
    """Signing, renewing and making contexts touches no file but to read: keys stay in memory."""
    done = subprocess.run(
        [sys.executable, "-c", DATA_PLANE, str(tmp_path / "ca")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(meshlib.control.local.ca.__file__).parents[3])},
    )
    assert (0, "\n") == (done.returncode, done.stdout), done.stderr
