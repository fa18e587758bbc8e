"""Attributes that are made once."""

from __future__ import annotations

import threading

from meshlib import Mesh
from meshlib.lazy import lazy


class Owner:
    """Has one that takes its time."""

    def __init__(self):
        self.begun, self.go_on = threading.Semaphore(0), threading.Event()
        self.made = []

    @lazy
    def thing(self):
        """What is made."""
        self.begun.release()
        assert self.go_on.wait(20)
        self.made.append(object())
        return self.made[-1]


def test_two_threads_get_one():
    """The second waits for what the first is making.  By hand: without the lock there are two."""
    owner, found = Owner(), []
    threads = [threading.Thread(target=lambda: found.append(owner.thing)) for _ in range(8)]
    for each in threads:
        each.start()
    assert owner.begun.acquire(timeout=20)
    assert not owner.begun.acquire(timeout=0.2)
    owner.go_on.set()
    for each in threads:
        each.join()
    assert [owner.made[0]] * 8 == found
    assert 1 == len(owner.made)


def test_what_failed_is_made_again():
    """An error is the caller's; the next one tries anew."""
    owner = Owner()
    owner.begun = None
    try:
        owner.thing  # noqa: B018 - asking is what makes it
    except AttributeError:
        owner.begun = threading.Semaphore(0)
    owner.go_on.set()
    assert owner.thing is owner.thing
    assert 1 == len(owner.made)


def test_threads_share_a_control_plane(home):
    """All that call at once, first of all, do it through one control plane."""
    barrier, found = threading.Barrier(8), []

    def ask():
        barrier.wait()
        found.append((mesh.control, mesh.credentials, mesh._directory))

    with Mesh("front") as mesh:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert 8 == len(found)
    assert all(found[0][at] is each[at] for each in found for at in range(3))
