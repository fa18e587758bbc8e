"""The one mesh of a process."""

from __future__ import annotations

import os
import threading

import pytest

from meshlib import ConfigError, Mesh
from meshlib.auto import process


@pytest.fixture(autouse=True)
def fresh(home, monkeypatch):
    """No mesh before, none afterwards."""
    process.reset()
    yield
    process.reset()


def test_it_is_made_once_of_settings(monkeypatch):
    """Threads that need it at the same time get the same one."""
    monkeypatch.setenv("MESHLIB_SERVICE", "shop")
    found = []
    threads = [threading.Thread(target=lambda: found.append(process.current())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {process.current()} == set(found)
    assert "shop" == process.current().service


def test_settings_that_cannot_be_used_are_an_error_each_time(monkeypatch):
    """Who mends them need not start again."""
    for _ in range(2):
        with pytest.raises(ConfigError, match="service"):
            process.current()
    monkeypatch.setenv("MESHLIB_SERVICE", "shop")
    assert "shop" == process.current().service


def test_a_given_one_is_used():
    """And what addresses mean is what its settings say."""
    for service in ("one", "other"):
        mesh = Mesh("front", upstream_addresses=f"old:80={service}")
        process.install(mesh)
        assert mesh is process.current()
        assert service == process.meaning().service_of("http", "old", 80)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_is_not_stopped_by_a_lock_of_its_parents(monkeypatch):
    """A fork while another thread makes the mesh leaves the child able to make its own."""
    monkeypatch.setenv("MESHLIB_SERVICE", "shop")
    holding, release = threading.Event(), threading.Event()

    def hold():
        with process._process.lock:
            holding.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if process.current().service == "shop" else 1)
    _, status = os.waitpid(child, 0)
    release.set()
    thread.join()
    assert 0 == os.waitstatus_to_exitcode(status)
