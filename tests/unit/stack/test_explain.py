from __future__ import annotations

import pytest

from meshlib.errors import ConnectFailed, NoRoute
from meshlib.model import Call, Neg
from meshlib.stack.client import explainer
from meshlib.testing.script import Script, endpoints, refused


@pytest.fixture
def explain(world):
    """What explains calls of the world."""
    return explainer(world.destination, world.clock)


def test_an_error_carries_the_whole_decision(world):
    """Who reads the traceback sees route, candidates, attempts and budget."""
    with pytest.raises(ConnectFailed) as caught:
        world.call(Script(refused(), for_ever=True), path="/x")
    (note,) = caught.value.__notes__
    assert note.startswith("GET http://shop/x\n  route 'default': shop 100 %\n")
    assert 3 == note.count(", tried")
    assert "attempts: 3 of 3" in note
    assert "retry budget: " in note
    assert "deadline: " in note


def test_an_unknown_service_is_explained_too(world):
    """A call without candidates says that there are none."""
    world.forget()
    world.upstream.update(Neg(("cart",)))
    with pytest.raises(NoRoute) as caught:
        world.call(Script())
    assert "target shop: neg, 0 candidates" in caught.value.__notes__[0]


def test_a_call_that_is_not_made_is_explained(world, explain):
    """Without sending, the same facts are told, and nothing of a deadline."""
    told = explain(Call("shop"))
    assert (0, 3, None) == (told.attempts, told.allowed, told.time_left)
    assert 3 == len(told.candidates)
    assert {"closed"} == {candidate.breaker for candidate in told.candidates}
    assert not any(candidate.tried for candidate in told.candidates)


def test_of_many_candidates_ten_are_listed(world, explain):
    """An explanation stays readable however large the service is."""
    world.bind(*endpoints(*range(1, 101)))
    told = explain(Call("shop"))
    assert (10, 100) == (len(told.candidates), told.known)
    assert "and 90 more" in str(told)


def test_success_costs_no_explanation(world):
    """Nothing is explained that did not fail."""
    assert not hasattr(world.call(Script(200)), "__notes__")
