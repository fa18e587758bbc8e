"""What every configuration document may carry, whatever its kind."""

from __future__ import annotations

import msgspec

from meshlib.control.decoding import Fields
from meshlib.errors import ConfigError

LONGEST_META = 512
"""Characters of one value; Consul refuses more (agent/structs, `metaValueMaxLength`)."""


class Entry(Fields, frozen=True):
    """Base of all documents.  Kind and name, when written, must be those of the envelope."""

    kind: str = ""
    name: str = ""
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    """Free words; a rollout keeps its state here."""

    def __post_init__(self) -> None:
        for key, value in self.meta.items():
            if len(value) > LONGEST_META:
                longest = f"at most {LONGEST_META} characters, these are {len(value)}"
                raise ConfigError(f"Meta.{key}", value, longest)
