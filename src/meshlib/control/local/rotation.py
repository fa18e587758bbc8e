"""
Replacing the CA's root while everybody goes on talking.

    prepare    publish a second root; nothing is signed with it, everybody begins to trust it
    activate   sign beneath it; chains carry a cross certificate for who has not heard of it yet
    finish     drop the first root, once no certificate beneath it can be valid any more

Running processes follow within a second, each step by itself.  It is also how a key is revoked: a
certificate ends with the root that vouches for it, and so do connections made with it.
"""

from __future__ import annotations

from collections.abc import Callable

from meshlib.control.local import authorities, certs
from meshlib.control.local.authorities import State
from meshlib.control.local.certs import Life, Signer
from meshlib.control.local.vault import Loaded, Vault

HOUR, DAY = 3600.0, 86400.0

ISSUING_TTL = 365 * DAY
"""Consul's 8760 h."""
ROOT_TTL = 3650 * DAY
"""Consul's ten years."""
BACKDATE = 300.0
"""Seconds a certificate is valid before it was made, for clocks that are behind; SPIRE uses 10 s,
Istio 2 min."""
BACKDATE_SHARE = 0.1
"""... but never more than this share of a short life."""


def life(now_unix: float, seconds: float) -> Life:
    """Of a certificate that is made now."""
    return Life(now_unix - min(BACKDATE, BACKDATE_SHARE * seconds), now_unix + seconds)


class Rotation:
    """The steps on one vault; `now` gives Unix time.

    Each returns whether it changed anything: a step that was done already is no error.  All raise
    ControlError for a step out of turn, IdentityUnavailable for a CA that is not there or damaged,
    ConfigError for one that others can read.
    """

    def __init__(self, vault: Vault, *, now: Callable[[], float]) -> None:
        self._vault, self._now = vault, now

    def prepare(self) -> bool:
        """Publish another root."""
        return self._step(authorities.prepared, self._make_root)

    def activate(self) -> bool:
        """Sign beneath the root that was published."""
        return self._step(
            lambda state: authorities.activated(state, self._now()), self._make_issuing
        )

    def finish(self, *, force: bool = False) -> bool:
        """Drop the root that signs no more; `force`: though certificates beneath it are valid."""
        return self._step(
            lambda state: authorities.finished(state, self._now(), force=force),
            lambda _before, after: after,
        )

    def _step(
        self, change: Callable[[State], State], make: Callable[[Loaded, State], State]
    ) -> bool:
        with self._vault.lock():
            before = self._vault.current()
            after = change(before.state)
            if after == before.state:
                return False
            self._vault.commit(make(before, after))
            return True

    def _make_root(self, before: Loaded, after: State) -> State:
        number = max(each.generation for each in after.authorities)
        new, after = write_root(self._vault, after, number, self._now())
        name = root_name(after.trust_domain, number)
        # the length leaves room for the issuing certificate beneath, and nothing else
        cross = certs.ca_certificate(
            name, new.key, life(self._now(), ROOT_TTL), before.root, path_length=1
        )
        self._vault.write_certificate(f"cross-{number}", cross)
        return after

    def _make_issuing(self, _before: Loaded, after: State) -> State:
        root = self._vault.read_signer(f"root-{after.active}")
        write_issuing(self._vault, after, root, self._now())
        return after


def root_name(trust_domain: str, generation: int) -> str:
    """The subject of a root."""
    return f"{trust_domain} root {generation}"


def write_root(
    vault: Vault, state: State, generation: int, now_unix: float
) -> tuple[Signer, State]:
    """A new root, and the state that names it; nothing is committed yet."""
    key = certs.new_key()
    name = root_name(state.trust_domain, generation)
    certificate = certs.root_certificate(name, key, life(now_unix, ROOT_TTL), path_length=2)
    made = Signer(certificate, key)
    vault.write(f"root-{generation}", made)
    return made, authorities.rooted(state, generation, certs.fingerprint(certificate))


def write_issuing(vault: Vault, state: State, root: Signer, now_unix: float) -> None:
    """The issuing certificate that `state` names, not yet committed."""
    key = certs.new_key()
    stem = f"issuing-{state.active}-{state.signing.issuing}"
    name = f"{state.trust_domain} {stem}"
    certificate = certs.ca_certificate(name, key, life(now_unix, ISSUING_TTL), root, path_length=0)
    vault.write(stem, Signer(certificate, key))
