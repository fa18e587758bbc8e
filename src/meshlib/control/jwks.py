"""
The keys of issuers of tokens, followed: files every second, URLs every few minutes.

No request waits for an issuer.  What cannot be had, or holds no usable key, leaves the last good
keys in force, and is told of; a token signed with a key nobody knows has the URL looked at sooner,
but not as often as somebody likes who sends such tokens.  The work is `look`, an ordinary method
that a test calls with its own clock; the daemon thread around it only waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from meshlib.config import JwtProviderConfig
from meshlib.control.local.atfork import ForkLock
from meshlib.errors import MeshError
from meshlib.runtime import Clock
from meshlib.trust.keyset import KeySet, read_keys
from meshlib.watch import Watch

log = logging.getLogger("meshlib.jwt")

POLL = 1.0
"""Seconds between two looks at the clock and at files."""
SOONEST = 10.0
"""Seconds between two looks at a URL, whatever tokens come."""
_RANK = 90

Fetch: TypeAlias = Callable[[str, float], bytes]
"""Gets what is at a URL within so many seconds.  Raises MeshError, OSError, ValueError."""
Event: TypeAlias = Callable[[str, str, str], None]
"""As `Listener.control_event`: kind, subject, text."""
Keys: TypeAlias = Watch[KeySet | None]
"""None: they are not known yet."""


@dataclass(slots=True)
class _Followed:
    """One place where keys are."""

    provider: JwtProviderConfig
    keys: Keys = field(default_factory=lambda: Watch[KeySet | None](None))
    last: bytes | None = None
    """What was read last, usable or not."""
    due: float = 0.0
    """When to look at the URL again, seconds of the clock ..."""
    earliest: float = 0.0
    """... and when at the earliest."""
    failures: int = 0
    told: str = ""

    @property
    def place(self) -> str:
        return self.provider.jwks_url or self.provider.jwks_file


class Jwks:
    """Keys by the place where they are; each is followed from the first question until `close`."""

    def __init__(self, fetch: Fetch, *, clock: Clock, event: Event, poll: float = POLL) -> None:
        self._fetch, self._clock, self._event, self._poll = fetch, clock, event, poll
        self._followed: dict[str, _Followed] = {}
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = ForkLock(_RANK, child=self._after_fork)

    def keys(self, provider: JwtProviderConfig) -> Keys:
        """The keys of a provider; those in a file are there when this returns, if they can be."""
        with self._lock:
            place = provider.jwks_url or provider.jwks_file
            found = self._followed.get(place)
            if found is None or found.provider.refresh > provider.refresh:
                kept = found.keys if found else Watch[KeySet | None](None)
                found = self._followed[place] = _Followed(provider, kept)
                if provider.jwks_file:
                    self._look_at(found)
            self._start()
        self._wake.set()
        return found.keys

    def unknown_key(self, provider: JwtProviderConfig) -> None:
        """A token was signed with a key that is not among the keys of this provider."""
        followed = self._followed.get(provider.jwks_url)
        if followed is not None and followed.due > followed.earliest:
            followed.due = followed.earliest
            self._wake.set()

    def look(self) -> float:
        """Look at all files, and at the URLs whose time has come; seconds until the next."""
        for each in list(self._followed.values()):
            if each.provider.jwks_file or self._clock() >= each.due:
                self._look_at(each)
        times = [each.due for each in self._followed.values() if each.provider.jwks_url]
        files = any(each.provider.jwks_file for each in self._followed.values())
        soon = min(times, default=self._clock() + SOONEST) - self._clock()
        return min(max(soon, 0.0), self._poll if files else SOONEST)

    def close(self) -> None:
        """Stop following; the keys stay as they are."""
        self._stop.set()
        self._wake.set()

    def _look_at(self, each: _Followed) -> None:
        try:
            data = self._read(each)
            if data != each.last:
                each.last = data
                self._heard(each, read_keys(data))
        except (MeshError, OSError, ValueError, RecursionError) as exc:
            self._failed(each, exc)
        else:
            each.failures = 0
            each.due = self._clock() + each.provider.refresh
        each.earliest = self._clock() + SOONEST

    def _read(self, each: _Followed) -> bytes:
        provider = each.provider
        if provider.jwks_url:
            return self._fetch(provider.jwks_url, provider.timeout)
        return Path(provider.jwks_file).read_bytes()

    def _heard(self, each: _Followed, keys: KeySet) -> None:
        known = each.keys.value is not None
        if each.keys.set(keys) and known:
            log.info("the keys of %s changed: %s", each.provider.issuer, keys)
            self._event("jwks-changed", each.provider.issuer, f"the keys at {each.place} changed")
        each.told = ""

    def _failed(self, each: _Followed, exc: Exception) -> None:
        each.last = None
        each.due = self._clock() + min(2.0**each.failures, each.provider.refresh, 60.0)
        each.failures = min(each.failures + 1, 10)
        what = "stay as they are" if each.keys.value else "are not known, so that no token is taken"
        text = f"the keys at {each.place} {what}: {exc}"
        if text != each.told:
            each.told = text
            log.warning("%s", text)
            self._event("jwks-trouble", each.provider.issuer, text)

    # ---- the rim: the thread

    def _start(self) -> None:
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._run, name="meshlib-jwks", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self._wake.wait(self.look())

    def _after_fork(self) -> None:
        running, self._thread = self._thread is not None, None
        self._wake = threading.Event()
        if running:
            self._start()
