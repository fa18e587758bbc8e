"""The listener that hears nothing, and the one that passes everything on."""

from __future__ import annotations

import inspect

import pytest

from meshlib.observe.events import Listener
from meshlib.observe.metrics.listener import Metrics
from meshlib.observe.quiet import Everybody, Quiet

EVENTS = sorted(name for name in vars(Listener) if not name.startswith("_"))


def arguments(name):
    """Some object for each argument of an event, by name where it has to be."""
    parameters = list(inspect.signature(getattr(Listener, name)).parameters.values())[1:]
    by_name = {p.name: object() for p in parameters if p.kind is p.KEYWORD_ONLY}
    return [object() for p in parameters if p.kind is not p.KEYWORD_ONLY], by_name


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("listener", [Quiet, Everybody, Metrics])
def test_every_event_is_heard_as_the_protocol_has_it(listener, name):
    """No listener of ours lacks an event, or calls its arguments otherwise."""
    expected = inspect.signature(getattr(Listener, name))
    assert expected == inspect.signature(getattr(listener, name))


@pytest.mark.parametrize("name", EVENTS)
def test_everybody_hears(name):
    """Several listeners hear the very same, in their order."""
    heard = []

    def ear(number):
        return lambda self, *given, **named: heard.append((number, given, named))

    ears = tuple(type("Ear", (Quiet,), {name: ear(number)})() for number in range(2))
    given, named = arguments(name)
    getattr(Everybody(ears), name)(*given, **named)
    assert [(0, tuple(given), named), (1, tuple(given), named)] == heard


@pytest.mark.parametrize("name", EVENTS)
def test_quiet_does_nothing(name):
    """Whatever it is told."""
    given, named = arguments(name)
    assert getattr(Quiet(), name)(*given, **named) is None
