"""Wrapping a library, and leaving it as it was."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest

from meshlib import ConfigError, Mesh
from meshlib.auto import outgoing, process
from meshlib.auto.outgoing.wraps import Wraps

WRAPPED = [
    ("aiohttp", "BaseConnector", "connect"),
    ("httpx", "HTTPTransport", "handle_request"),
    ("httpx", "AsyncHTTPTransport", "handle_async_request"),
    ("httpx2", "HTTPTransport", "handle_request"),
    ("httpx2", "AsyncHTTPTransport", "handle_async_request"),
    ("requests.adapters", "HTTPAdapter", "send"),
    ("urllib.request", "HTTPHandler", "http_open"),
    ("urllib.request", "HTTPSHandler", "https_open"),
    ("urllib3", "HTTPConnectionPool", "urlopen"),
]


class Library:
    """Something to wrap."""

    __version__ = "2.1"

    def ask(self, what):
        return f"{what}!"


def louder(wrapped, instance, args, kwargs):
    """A wrapper."""
    return wrapped(*args, **kwargs) + "!"


def found():
    """What the libraries have now."""
    return [vars(getattr(importlib.import_module(m), c))[name] for m, c, name in WRAPPED]


def test_wrapping_leaves_no_trace():
    """After unwrapping, every function is the object it was, however often that was done."""
    before = found()
    for _ in range(2):
        outgoing.wrap()
        outgoing.wrap()
        assert not [each for each, old in zip(found(), before, strict=True) if each is old]
        outgoing.unwrap()
        assert before == found()
        assert all(each is old for each, old in zip(found(), before, strict=True))


def test_a_wrapper_beneath_anothers_rests_when_it_is_removed():
    """What others wrapped around ours stays, and ours does nothing any more."""
    wraps, others = Wraps("library", ">=2,<3"), Wraps("library", ">=2,<3")
    original = Library.ask
    wraps.put(Library, "ask", louder)
    others.put(Library, "ask", louder)
    assert "what!!!" == Library().ask("what")
    wraps.remove()
    assert "what!!" == Library().ask("what")
    others.remove()
    assert "what!" == Library().ask("what")
    Library.ask = original


@pytest.fixture
def front(home):
    """A mesh of given settings, for this process."""

    def install(**settings):
        process.install(Mesh("front", **settings))

    yield install
    process.reset()


@pytest.mark.parametrize("module", [Library, SimpleNamespace()])
def test_an_unknown_version_is_named(front, caplog, module):
    """Library, version and range stand in one line of the log."""
    front()
    with caplog.at_level(logging.ERROR, "meshlib.auto"):
        assert Wraps("library", ">=3").fits(module) is False
    (line,) = caplog.messages
    version = getattr(module, "__version__", "without a version")
    assert f"library {version} cannot be wrapped" in line
    assert ">=3" in line


def test_an_unknown_version_is_an_error_where_nothing_may_leave_unseen(front):
    """With egress deny the import of the library fails."""
    front(egress="deny")
    with pytest.raises(ConfigError, match="pip install 'library>=3'"):
        Wraps("library", ">=3").fits(Library)


def test_nothing_is_imported_that_the_program_does_not_import():
    """Importing a library wraps it, and those that it imports itself, until that is undone."""
    program = """
import sys
from meshlib.auto import outgoing
outgoing.wrap()
print(sorted({"requests", "urllib3", "httpx", "httpx2", "aiohttp", "grpc"} & set(sys.modules)))
import requests, urllib.request, urllib3, wrapt
for kind, name in (
    (requests.adapters.HTTPAdapter, "send"),
    (urllib.request.HTTPHandler, "http_open"),
    (urllib3.HTTPConnectionPool, "urlopen"),
):
    print(isinstance(vars(kind)[name], wrapt.FunctionWrapper))
outgoing.unwrap()
import httpx
print(isinstance(vars(httpx.HTTPTransport)["handle_request"], wrapt.FunctionWrapper))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ["[]", "True", "True", "True", "False"] == done.stdout.splitlines()
