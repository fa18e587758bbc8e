"""Plans that follow the documents of several services."""

from __future__ import annotations

import logging
import threading

import pytest

from meshlib.config import RetryConfig, UpstreamConfig
from meshlib.control.one_at_a_time import OneAtATime
from meshlib.control.plans import Plans
from meshlib.control.registry import Document
from meshlib.control.routes import NOBODY
from meshlib.model import Call
from meshlib.watch import Watch


class Source:
    """Documents that a test writes."""

    def __init__(self):
        self.watches = {}

    def documents(self, service):
        return self.watches.setdefault(service, Watch((), ready=True))

    def write(self, *documents):
        """All there is of the service that the documents are about."""
        self.documents(documents[0].name).set(documents)


@pytest.fixture
def source():
    """Where documents come from."""
    return Source()


@pytest.fixture
def plans(source):
    """What is tested; of `fixed` the program itself says how to retry."""
    overrides = {"fixed": UpstreamConfig(retry=RetryConfig(attempts=5, statuses=(503,)))}
    return Plans(source, NOBODY, overrides)


def leads(name, *services):
    """A splitter with equal shares."""
    weight = 100 / len(services)
    splits = [{"Weight": weight, "Service": service} for service in services]
    return Document("service-splitter", name, {"Splits": splits})


def redirects(name, service):
    """A resolver that sends everything on."""
    return Document("service-resolver", name, {"Redirect": {"Service": service}})


def targets(plan):
    """Where calls go now."""
    return [str(leg.target) for leg in plan.value.table.match(Call("a")).split.legs]


def test_documents_of_others_are_followed(plans, source):
    """A plan changes with the documents of a service that its legs lead to, at any distance."""
    plan = plans.plan("a")
    source.write(leads("a", "b", "x"))
    assert ["b", "x"] == targets(plan)
    source.write(redirects("b", "c"))
    assert ["c", "x"] == targets(plan)
    source.write(redirects("c", "d"))
    assert ["d", "x"] == targets(plan)
    source.write(leads("b", "e", "f"))
    assert ["e", "f", "x"] == targets(plan)


def test_nobody_else_is_asked(plans, source):
    """Who leads nowhere follows one service's documents."""
    plans.plan("a")
    assert ["a"] == list(source.watches)


def test_the_last_good_documents_of_others_count(plans, source):
    """A mistake in the documents of b does not reach the plan of a."""
    plan = plans.plan("a")
    source.write(leads("a", "b"))
    source.write(redirects("b", "c"))
    source.write(Document("service-resolver", "b", {"Redirect": 7}))
    source.write(leads("a", "b", "x"))
    assert ["c", "x"] == targets(plan)


def test_documents_of_others_that_never_were_good(plans, source):
    """There is a plan all the same."""
    source.write(Document("service-resolver", "b", {"Redirect": 7}))
    source.write(leads("a", "b", "x"))
    plan = plans.plan("a")
    assert (True, ["b", "x"]) == (plan.ready, targets(plan))


def test_who_closes_a_circle_is_refused(plans, source, caplog):
    """The last good plan stays until the circle is opened again."""
    plan = plans.plan("a")
    source.write(leads("a", "b", "x"))
    with caplog.at_level(logging.ERROR, "meshlib.config"):
        source.write(leads("b", "a"))
    assert ["b", "x"] == targets(plan)
    assert "a -> b -> a" in caplog.text
    source.write(leads("b", "c"))
    assert ["c", "x"] == targets(plan)


def test_what_is_not_known_yet_is_waited_for(plans, source):
    """Until it is known where b leads, there is no table that could be wrong."""
    source.watches["b"] = Watch(())
    source.write(leads("a", "b", "x"))
    plan = plans.plan("a")
    assert not plan.ready
    source.write(redirects("b", "c"))
    assert (True, ["c", "x"]) == (plan.ready, targets(plan))


def routes(**destination):
    """The documents of `fixed`: retries of its own, and a route that says more of them."""
    match = {"HTTP": {"PathPrefix": "/x"}}
    body = {"Routes": [{"Match": match, "Destination": destination}]}
    return (
        Document("service-router", "fixed", body),
        Document("traffic-policy", "fixed", {"Retry": {"Statuses": [429], "Credit": 1}}),
    )


def test_a_routes_retries_start_from_the_settings_in_code(plans, source):
    """Code beats documents: what the route does not name is the code's, not the policy's."""
    plan = plans.plan("fixed")
    source.write(*routes(NumRetries=2))
    rules = plan.value.table.match(Call("fixed", path="/x")).rules
    assert RetryConfig(attempts=3, statuses=(503,)) == rules.retry


def test_of_others_they_start_from_the_documents(source):
    """Where the program says nothing, the policy does."""
    plan = Plans(source, NOBODY, {}).plan("fixed")
    source.write(*routes(NumRetries=2))
    rules = plan.value.table.match(Call("fixed", path="/x")).rules
    assert RetryConfig(attempts=3, statuses=(429,), credit=1) == rules.retry


class TestOneAtATime:
    def test_a_call_meanwhile_is_made_up_for(self):
        """Two calls that come while it works are one more run, of the thread that is at work."""
        ran, working, go_on = [], threading.Event(), threading.Event()

        def work():
            ran.append(threading.current_thread())
            working.set()
            go_on.wait()

        run = OneAtATime(work)
        first = threading.Thread(target=run)
        first.start()
        working.wait()
        run()
        run()
        go_on.set()
        first.join()
        assert [first, first] == ran

    def test_it_may_call_itself(self):
        """From within it means: once more."""
        left = [3, 2, 1]

        def work():
            if left.pop() < 3:
                run()

        run = OneAtATime(work)
        run()
        assert [] == left

    def test_an_error_does_not_jam_it(self):
        """It is the caller's, and the next call works again."""
        ran = []

        def work():
            ran.append(1)
            raise ValueError(len(ran))

        run = OneAtATime(work)
        for _ in range(2):
            with pytest.raises(ValueError, match=str(len(ran) + 1)):
                run()
