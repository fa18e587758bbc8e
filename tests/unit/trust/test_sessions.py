"""Sessions that may be resumed: known ones, and not too many."""

from __future__ import annotations

from meshlib.trust.sessions import Sessions


def test_what_is_remembered():
    """The anchor of a session; of another one nothing."""
    sessions = Sessions()
    sessions.remember(b"1", b"root")
    assert (b"root", None) == (sessions.anchor(b"1"), sessions.anchor(b"2"))


def test_the_oldest_are_forgotten():
    """A server that lives long does not grow."""
    sessions = Sessions(most=3)
    for number in range(5):
        sessions.remember(b"%d" % number, b"root")
    assert [None, None, b"root", b"root", b"root"] == [
        sessions.anchor(b"%d" % number) for number in range(5)
    ]
