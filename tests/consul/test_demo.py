"""The demo on a real Consul tells the same story, and one chapter more."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.timeout(200)
def test_the_story_holds_on_consul(consul_binary, tmp_path):
    """Exit code 0; every claim holds, and `kill -9` of the agent under load cost no request."""
    command = [sys.executable, "-m", "meshlib.cli", "demo", "--once", "--control", "consul"]
    environ = {**os.environ, "MESHLIB_CONSUL": consul_binary, "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["ok"]
    assert told["total"]["failures"] == 0 < told["total"]["requests"]
    agent = told["claims"]["consul_kill_9"]
    assert (True, 0) == (agent["holds"], agent["failures"])
    assert agent["answered_by_a_newcomer"] > 0
