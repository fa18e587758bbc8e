"""A connection to an endpoint that many calls use, and nobody mends."""

from __future__ import annotations

import ssl
import threading
from abc import ABC, abstractmethod

from meshlib.trust.tls import MeshContext


class Shared(ABC):
    """Counts its calls: whoever is the last to leave one that is retired closes it."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._users = 0
        self._retired = self._finished = False
        self.is_cut = False
        """Whether it was the user who ended it."""

    @property
    def usable(self) -> bool:
        """Whether new calls may use it."""
        return not (self._retired or self.ended)

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether nothing passes any more."""

    @property
    @abstractmethod
    def error(self) -> BaseException | None:
        """What ended it, if it was not one of the two sides closing."""

    @property
    @abstractmethod
    def tls(self) -> object:
        """The connection to the peer, which knows who that is."""

    @abstractmethod
    def break_off(self) -> None:
        """End it at once, with every call on it."""

    @abstractmethod
    def finish(self) -> None:
        """End what nobody uses."""

    def enter(self) -> bool:
        """Count a call, if it takes any."""
        with self._counting:
            taken = self.usable
            self._users += taken
            return taken

    def hold(self) -> bool:
        """Count somebody who needs it whole for a moment; False: it is closed."""
        with self._counting:
            self._users += not self._finished
            return not self._finished

    def leave(self, _: BaseException | None = None) -> None:
        """A call has ended, or that moment."""
        with self._counting:
            self._users -= 1
        if self._retired:
            self._finish_if_unused()

    def retire(self) -> None:
        """Take no more calls; end with the last one."""
        self._retired = True
        self._finish_if_unused()

    def cut(self) -> None:
        """Take no more calls, and end those under way: the user closed the channel."""
        self.is_cut = self._retired = True
        self.break_off()
        self._finish_if_unused()

    def outdated(self, context: ssl.SSLContext) -> None:
        """Trust was rotated: retire; calls with a peer that is trusted no more end at once."""
        self.retire()
        if isinstance(context, MeshContext) and not context.still_trusts(self.tls):
            self.break_off()

    def _finish_if_unused(self) -> None:
        with self._counting:
            last = self._retired and not (self._users or self._finished)
            self._finished |= last
        if last:
            self.finish()
