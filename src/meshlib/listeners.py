"""The addresses one process serves at: each is an instance of its own, with an id of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshlib.control.registry import Lease


class Listeners:
    """Of one process.  Used from any thread."""

    def __init__(self) -> None:
        self._held: dict[str, object] = {}

    def announce(self, instance: str, port: int, announced: Callable[[str], Lease]) -> Lease:
        """What `announced` makes of an id: that of the process, if nobody else here has it.

        Raises what that raises.
        """
        mine = object()
        first = self._held.setdefault(instance, mine) is mine  # one step, so there is no lock
        name = instance if first else f"{instance}-{port}"
        self._held[name] = mine
        try:
            return _Held(announced(name), lambda: self._release(name))
        except BaseException:
            self._release(name)
            raise

    def _release(self, name: str) -> None:
        self._held.pop(name, None)


class _Held:
    """A lease; when it ends, another address may have its id."""

    def __init__(self, lease: Lease, released: Callable[[], None]) -> None:
        self._lease, self._released = lease, released

    def healthy(self, *, passing: bool, note: str = "") -> None:
        """As the lease does."""
        self._lease.healthy(passing=passing, note=note)

    def drain(self) -> None:
        """As the lease does."""
        self._lease.drain()

    def close(self) -> None:
        """As the lease does, and once."""
        released, self._released = self._released, _nothing
        self._lease.close()
        released()


def _nothing() -> None:
    pass
