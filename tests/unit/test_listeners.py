"""The ids of what one process serves."""

from __future__ import annotations

import pytest

from meshlib.listeners import Listeners


class Lease:
    """One that tells what was done to it."""

    def __init__(self, name):
        self.name, self.done = name, []

    def healthy(self, **said):
        self.done.append(said)

    def drain(self):
        self.done.append("drain")

    def close(self):
        self.done.append("close")


@pytest.fixture
def announced():
    """`announced(port)` makes a lease; both the one that is handed out and the one within."""
    listeners, made = Listeners(), []

    def announce(name):
        made.append(Lease(name))
        return made[-1]

    return lambda port: (listeners.announce("web-1", port, announce), made[-1])


def test_the_first_is_the_process_and_others_say_their_port(announced):
    """A name is free again when its lease has ended, and not before."""
    first, inner = announced(80)
    assert ["web-1", "web-1-81"] == [inner.name, announced(81)[1].name]
    first.drain()
    assert "web-1-82" == announced(82)[1].name
    first.close()
    again, inner = announced(83)
    assert "web-1" == inner.name
    first.close()  # a second time: the name is another's now
    assert "web-1-84" == announced(84)[1].name
    again.close()


def test_all_of_a_lease_is_there(announced):
    """What is said to it is passed on."""
    lease, inner = announced(80)
    lease.healthy(passing=False, note="tired")
    lease.drain()
    lease.close()
    assert [{"passing": False, "note": "tired"}, "drain", "close"] == inner.done


def test_who_cannot_be_announced_holds_no_name():
    """The next one is the first."""
    listeners = Listeners()

    def fail(_):
        raise ConnectionError

    with pytest.raises(ConnectionError):
        listeners.announce("web-1", 80, fail)
    names = []
    listeners.announce("web-1", 81, lambda name: names.append(name) or Lease(name))
    assert ["web-1"] == names
