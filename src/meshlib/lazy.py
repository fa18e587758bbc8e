"""Attributes that are made when they are first asked for, once, whoever asks at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 - it is read as `property` is
    """Like `functools.cached_property`, which since Python 3.12 two threads can make two of.

    A lock an object and attribute, so that nobody waits for the making of something else.  Once it
    is made the attribute is an ordinary one, and costs nothing.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make, self._name = make, make.__name__
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object, owner: type) -> T | Self:
        if instance is None:
            return self
        attributes = instance.__dict__
        lock = attributes.setdefault(f"_making_{self._name}", threading.RLock())
        with lock:
            if self._name not in attributes:
                attributes[self._name] = self._make(instance)
            made: T = attributes[self._name]
            return made
