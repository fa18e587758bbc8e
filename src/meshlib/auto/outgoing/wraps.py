"""Putting functions around those of a library, and taking them away again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import wrapt

from meshlib.auto import process
from meshlib.auto.versions import within
from meshlib.errors import ConfigError

log = logging.getLogger("meshlib.auto")

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]
"""What `wrapt` calls: the wrapped function, the instance, positional and named arguments."""


class Wraps:
    """What is wrapped of one library, of the versions that are `supported`."""

    def __init__(self, library: str, supported: str) -> None:
        self.library, self.supported = library, supported
        self._undo: list[Callable[[], None]] = []
        self._on = False

    def fits(self, module: Any) -> bool:
        """Whether the library is one that can be wrapped; if not, that is said in the log.

        Raises ConfigError instead where nothing may leave the process unseen.
        """
        version = str(getattr(module, "__version__", "without a version"))
        if within(version, self.supported):
            return True
        if process.current().settings.egress == "deny":
            hint = f"pip install '{self.library}{self.supported}', or set MESHLIB_EGRESS=allow"
            raise ConfigError(self.library, version, self.supported, hint=hint)
        log.error(
            "%s %s cannot be wrapped, and its calls do not go through the mesh: %s is needed",
            self.library,
            version,
            self.supported,
        )
        return False

    def put(self, owner: Any, name: str, wrapper: Wrapper) -> None:
        """Wrap the function that `owner`, a class or a module, has by that name."""
        self._on = True
        original = vars(owner)[name]
        ours = wrapt.FunctionWrapper(original, wrapper, enabled=lambda: self._on)
        setattr(owner, name, ours)

        def undo() -> None:
            if vars(owner).get(name) is ours:  # else it was wrapped again, and ours rests within
                setattr(owner, name, original)

        self._undo.append(undo)

    def remove(self) -> None:
        """Leave the library as it was."""
        self._on = False
        while self._undo:
            self._undo.pop()()


def is_ours(instance: object) -> bool:
    """Whether the mesh itself is calling: its own engines must not go round in circles."""
    return type(instance).__module__.partition(".")[0] == "meshlib"
