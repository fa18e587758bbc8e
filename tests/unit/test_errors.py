from __future__ import annotations

import pytest

from meshlib import errors
from meshlib.errors import (
    AttemptFailed,
    CallError,
    ConfigError,
    ConnectFailed,
    ControlError,
    Denied,
    Interrupted,
    MeshError,
    NoEndpoint,
    PeerNotTrusted,
    Rejected,
)
from meshlib.model import Call, Endpoint, Neg


def tree(kind):
    """The names beneath a class, as far as they are of the module: faces have twins of them."""
    ours = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return {child.__name__: tree(child) for child in ours}


def drawn():
    """The names in the picture of the module's docstring, by their indent."""
    lines = [line for line in errors.__doc__.splitlines() if line.startswith("    ")]
    root: dict = {}
    parents = [(-1, root)]
    for line in lines:
        depth, name = len(line) - len(line.lstrip()), line.split()[0]
        while parents[-1][0] >= depth:
            parents.pop()
        parents[-1][1][name] = {}
        parents.append((depth, parents[-1][1][name]))
    return root


def test_the_tree_is_the_one_that_is_drawn():
    """The picture in the docstring shows every error of the module, where it belongs."""
    ours = {k: v for k, v in vars(errors).items() if isinstance(v, type)}
    real = {"MeshError": tree(MeshError)}

    def only_ours(branch):
        return {name: only_ours(below) for name, below in branch.items() if name in ours}

    assert drawn() == only_ours(real)


def test_a_message_says_what_why_and_what_to_try():
    """Up to three lines; those without words are left out."""
    assert "no such thing" == str(MeshError("no such thing"))
    full = MeshError("no such thing", why="nobody made it", hint="make it")
    assert "no such thing\n  why:  nobody made it\n  hint: make it" == str(full)
    assert "no such thing\n  hint: make it" == str(MeshError("no such thing", hint="make it"))


def test_a_config_error_is_a_value_error_with_path_and_value():
    """So that both `except` clauses one would write catch it."""
    error = ConfigError("retry.attempts", 99, "an integer 1..10")
    assert isinstance(error, ValueError)
    assert isinstance(error, MeshError)
    assert ("retry.attempts", 99) == (error.path, error.value)
    assert "retry.attempts: 99 is not usable\n  why:  expected an integer 1..10" == str(error)


@pytest.mark.parametrize(
    ("kind", "sent"),
    [(AttemptFailed, True), (Interrupted, True), (ConnectFailed, False), (PeerNotTrusted, False)],
)
def test_an_attempt_says_whether_the_peer_may_have_seen_it(kind, sent):
    """What was never sent is safe to repeat."""
    endpoint = Endpoint("a", "h", 1)
    error = kind("it broke", endpoint=endpoint)
    assert (sent, endpoint) == (error.sent, error.endpoint)


def test_errors_carry_what_decided():
    """The resolution, the rule and the intention are there to be read."""
    assert Neg(("a",)) == NoEndpoint("none", resolution=Neg(("a",))).resolution
    assert "budget" == Rejected("no", by="budget").by
    assert "web => *" == Denied("no", intention="web => *").intention


def test_a_call_error_learns_which_call_it_was():
    """The outermost layer fills in service, method, path and attempts."""
    error = CallError("it broke")
    call = Call("backend", "POST", "/items")
    call.attempts = 2
    error.of(call)
    assert ("backend", "POST", "/items", 2) == (
        error.service,
        error.method,
        error.path,
        error.attempts,
    )


def test_control_and_call_errors_are_apart():
    """Who catches the one does not catch the other."""
    assert not issubclass(ControlError, CallError)
    assert not issubclass(CallError, ControlError)
