"""Sessions that may be resumed: known ones, and not too many."""

from __future__ import annotations

from meshlib.trust.sessions import Sessions, Vouched

GOOD = Vouched(b"root", 9.0)


def test_what_is_remembered():
    """What vouched for a session; for another one nothing."""
    sessions = Sessions()
    sessions.remember(b"1", GOOD)
    assert (GOOD, None) == (sessions.find(b"1"), sessions.find(b"2"))


def test_the_oldest_are_forgotten():
    """A server that lives long does not grow."""
    sessions = Sessions(most=3)
    for number in range(5):
        sessions.remember(b"%d" % number, GOOD)
    assert [None, None, GOOD, GOOD, GOOD] == [sessions.find(b"%d" % number) for number in range(5)]
