"""Everything a program may call with or serve with, wrapped when it imports it."""

from __future__ import annotations


def install() -> None:
    """Make this process a part of the mesh.

    Nothing but import hooks is there before the program needs more: no thread, no file, no mesh.
    Raises ConfigError, for libraries that are imported already; see `meshlib.auto.outgoing.wrap`.
    """
    from meshlib.auto import incoming, outgoing, report

    report.say("begun")
    outgoing.wrap()
    incoming.wrap()


def remove() -> None:
    """Leave everything as it was; what is under way goes on as it began."""
    from meshlib.auto import incoming, outgoing

    incoming.unwrap()
    outgoing.unwrap()
