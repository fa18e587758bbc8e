"""
`Service`: something asked, a reply promised.  `Layer`: a service in, a service out.

Above the retry layer what is asked is a `Call`; beneath it, an `Attempt` of that call.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias, TypeVar

from meshlib.model import Attempt, Call, Reply

CallService: TypeAlias = Callable[[Call], Coroutine[Any, Any, Reply]]
"""Answers one logical request."""

AttemptService: TypeAlias = Callable[[Attempt], Coroutine[Any, Any, Reply]]
"""Answers one try of it; an engine is the last of these."""

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


class Layer(Protocol[In, Out]):
    """Wraps the service beneath it."""

    def __call__(self, inner: In, /) -> Out:
        """The service above."""
