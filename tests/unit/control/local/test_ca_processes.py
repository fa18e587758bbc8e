"""One folder, several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import meshlib.control.local.ca
from meshlib.control.local.ca import ISSUING_TTL, LocalCA

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
