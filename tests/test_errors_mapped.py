"""Every error of the tree is drawn where it is documented, and translated by every face."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType

import aiohttp
import grpc
import grpc.aio
import httpx
import httpx2
import pytest
import requests
import urllib3

from meshlib import errors
from meshlib.adapters import aiohttp_errors, requests_errors, urllib3_errors, urllib_request_errors
from meshlib.adapters.grpc import errors as grpc_errors
from meshlib.adapters.httpx import face
from meshlib.adapters.translate import Translator
from meshlib.errors import CallError, ConfigError, ControlError, MeshError, Rejected


def drawn() -> dict[str, str]:
    """Each class in the drawing of errors.py, with its parent, read off the indentation."""
    parents: list[tuple[int, str]] = []
    tree: dict[str, str] = {}
    for match in re.finditer(
        r"^( {4,})([A-Z]\w+)(?: {2,}.*)?$", errors.__doc__ or "", re.MULTILINE
    ):
        depth, name = len(match[1]), match[2]
        parents = [(d, n) for d, n in parents if d < depth]
        tree[name] = parents[-1][1] if parents else ""
        parents.append((depth, name))
    return tree


def below(kind: type[MeshError]) -> Iterator[type[MeshError]]:
    """Each class of errors.py from `kind` downwards."""
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from below(child)


def raised_by_calls() -> list[type[MeshError]]:
    """What a request may end with; the two roots are never raised themselves."""
    found = {*below(CallError), *below(ControlError), ConfigError} - {CallError, ControlError}
    return sorted(found, key=lambda kind: kind.__name__)


def one(kind: type[MeshError]) -> MeshError:
    """An error of that class, complete."""
    if kind is ConfigError:
        return ConfigError("retry.attempts", -1, "a whole number from 1", hint="try this")
    more = {"by": "rate"} if kind is Rejected else {}
    return kind("what happened", why="because", hint="try this", **more)


def test_the_drawing_is_the_tree() -> None:
    """The tree in the docstring of errors.py is the tree of the classes."""
    parents = {kind.__name__: kind.__base__.__name__ for kind in below(MeshError)}
    assert {**parents, "MeshError": ""} == drawn()


@pytest.mark.parametrize("kind", raised_by_calls(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("module", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_httpx_users_catch_it_both_ways(module: ModuleType, kind: type[MeshError]) -> None:
    """The translated error is ours and httpx's, and says the same in the same three lines."""
    original = one(kind)
    translated = face(module).errors.translated(original)
    assert isinstance(translated, kind)
    assert isinstance(translated, module.TransportError)
    assert str(original) == str(translated)


@pytest.mark.parametrize("kind", raised_by_calls(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ("errors_of", "base"),
    [
        (requests_errors.ERRORS, requests.RequestException),
        (urllib3_errors.ERRORS, urllib3.exceptions.HTTPError),
        (urllib_request_errors.ERRORS, OSError),
        (aiohttp_errors.ERRORS, aiohttp.ClientConnectionError),
    ],
    ids=["requests", "urllib3", "urllib.request", "aiohttp"],
)
def test_users_of_other_libraries_do(errors_of: Translator, base: type, kind: type) -> None:
    """The same for requests, urllib3, urllib.request and aiohttp."""
    original = one(kind)
    translated = errors_of.translated(original)
    assert isinstance(translated, kind)
    assert isinstance(translated, base)
    assert str(original) == str(translated)


@pytest.mark.parametrize("kind", raised_by_calls(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ("errors_of", "base"),
    [(grpc_errors.ERRORS, grpc.RpcError), (grpc_errors.AIO_ERRORS, grpc.aio.AioRpcError)],
    ids=["sync", "aio"],
)
def test_grpc_users_catch_it_with_a_code(errors_of: Translator, base: type, kind: type) -> None:
    """The translated error is ours and grpcio's, has a code, and its details say the same."""
    original = one(kind)
    translated = errors_of.translated(original)
    assert isinstance(translated, kind)
    assert isinstance(translated, base)
    assert str(original) == str(translated) == translated.details()
    assert translated.code() not in {None, grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.DeadlineExceeded("late"), "DEADLINE_EXCEEDED"),
        (errors.Interrupted("late", timed_out=True), "DEADLINE_EXCEEDED"),
        (errors.Interrupted("cut"), "UNAVAILABLE"),
        (errors.NoEndpoint("nobody"), "UNAVAILABLE"),
        (errors.Denied("no"), "PERMISSION_DENIED"),
        (Rejected("much", by="rate"), "RESOURCE_EXHAUSTED"),
        (Rejected("much", by="concurrency"), "RESOURCE_EXHAUSTED"),
        (Rejected("open", by="breaker"), "UNAVAILABLE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_code_says_what_it_was(error: MeshError, expected: str) -> None:
    """Each kind of error has the code that gRPC has for its like."""
    assert expected == grpc_errors.ERRORS.translated(error).code().name


@pytest.mark.parametrize("kind", raised_by_calls(), ids=lambda kind: kind.__name__)
def test_it_can_be_told_from_the_top_of_the_tree(kind: type[MeshError]) -> None:
    """`except meshlib.MeshError` catches all of it, and it says what, why and what to try."""
    with pytest.raises(MeshError, match=r"\A[^\n]+\n  why:  [^\n]+\n  hint: try this\Z"):
        raise one(kind)
