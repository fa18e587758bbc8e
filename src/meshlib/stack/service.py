"""
`Service`: something asked, a reply promised.  A layer takes a service and gives one back.

Above the retry layer what is asked is a `Call`; beneath it, an `Attempt` of that call.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from meshlib.model import Attempt, Call, Reply

CallService: TypeAlias = Callable[[Call], Coroutine[Any, Any, Reply]]
"""Answers one logical request."""

AttemptService: TypeAlias = Callable[[Attempt], Coroutine[Any, Any, Reply]]
"""Answers one try of it; an engine is the last of these."""
