"""How leaves are waited for, with an agent that answers by a script."""

from __future__ import annotations

import pytest

from meshlib.control.consul.http import Answer
from meshlib.control.consul.leaf import ClockSkew, LeafExpired, LeafRefused
from meshlib.control.consul.leafwatch import RENEWAL, LeafWait, path_of
from meshlib.testing.ca import ThrowawayCA

NOW = 1_800_000_000.0
HOUR = 3600.0
CA = ThrowawayCA(now=NOW)
PATH = path_of("web")


class Agent:
    """Answers in order, and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers, self.asked, self.looks = list(answers), [], 0

    def wait(self, path, *, index, seconds, interrupt=None, **params):
        self.asked.append((index, seconds))
        return self.answers.pop(0)

    def look(self):
        self.looks += 1


def answer(index, until, *, cached=False):
    """A leaf that ends `until` seconds from now, and began ten hours ago."""
    leaf = CA.leaf(uris=(CA.id_of("web"),), since=-10 * HOUR, until=until)
    body = {"CertPEM": leaf.chain_pem.decode(), "PrivateKeyPEM": leaf.key_pem.decode()}
    return Answer(200, body, index, {"x-cache": "HIT" if cached else "MISS"})


def asks(agent):
    return LeafWait(agent, "web", now=lambda: NOW, tick=agent.look)


GOOD, LATE, OVER = 10 * HOUR, HOUR, -60.0
"""Half its life is left; less than a tenth; none."""


def test_a_leaf_with_time_left():
    """It is waited for at its index, as long as others wait; the clock is looked at each time."""
    agent = Agent(answer(7, GOOD), answer(8, GOOD))
    waits = asks(agent)
    assert 7 == waits.wait(PATH, index=0, seconds=55).index
    assert 8 == waits.wait(PATH, index=7, seconds=55).index
    assert [(0, 55), (7, 55)] == agent.asked
    assert 2 == agent.looks


def test_an_expired_leaf_is_renewed_by_waiting():
    """Consul 1.8 answers a plain request with it, and renews for who waits at its index."""
    agent = Agent(answer(7, OVER, cached=True), answer(9, GOOD))
    assert 9 == asks(agent).wait(PATH, index=0, seconds=55).index
    assert [(0, 55), (7, RENEWAL)] == agent.asked


def test_a_wait_that_is_not_answered():
    """Some versions renew without a word: near the end of a leaf they are asked plainly."""
    agent = Agent(answer(7, LATE), answer(9, GOOD, cached=True))
    assert 9 == asks(agent).wait(PATH, index=7, seconds=55).index
    assert [(7, 55), (0, RENEWAL)] == agent.asked


def test_an_agent_that_does_not_renew():
    """What is over is an error each time, so that it is asked again with growing pauses."""
    agent = Agent(answer(7, OVER, cached=True), answer(7, OVER))
    with pytest.raises(LeafExpired):
        asks(agent).wait(PATH, index=0, seconds=55)
    agent = Agent(answer(7, OVER), answer(7, OVER, cached=True))
    with pytest.raises(LeafExpired):
        asks(agent).wait(PATH, index=7, seconds=55)


def test_a_leaf_that_comes_expired():
    """Made just now, and over: it is the clock."""
    agent = Agent(answer(7, OVER), answer(7, OVER))
    with pytest.raises(ClockSkew):
        asks(agent).wait(PATH, index=0, seconds=55)
    agent = Agent(answer(7, OVER, cached=True), answer(9, OVER))
    with pytest.raises(ClockSkew):
        asks(agent).wait(PATH, index=0, seconds=55)


def test_the_last_hour_is_not_slept_through():
    """Near the end the wait is only as long as the leaf lives."""
    agent = Agent(answer(7, 20.0), answer(7, 20.0), answer(8, GOOD))
    waits = asks(agent)
    waits.wait(PATH, index=0, seconds=55)
    waits.wait(PATH, index=7, seconds=55)
    assert (7, 20.0) == agent.asked[2]


def test_what_is_no_leaf():
    """It is refused, and told of as any other failure."""
    with pytest.raises(LeafRefused):
        asks(Agent(Answer(200, {}, 7, {}))).wait(PATH, index=0, seconds=55)


def test_names_are_part_of_a_path():
    """Whatever is in them."""
    assert "/v1/agent/connect/ca/leaf/a%2Fb%3Fdc%3Ddc2" == path_of("a/b?dc=dc2")
