"""
The deadline as socket timeout, for redis-py.

    pool = redis.ConnectionPool(connection_class=ends_in_time(redis.Connection))
    client = redis.Redis(connection_pool=pool)

From then on every command of the client ends with the deadline of the request it is made for, or
with the pool's own `socket_timeout` if that is shorter.  A command that is cut raises
`redis.TimeoutError` and closes its connection.  The asynchronous client needs nothing of its own:
`async with asyncio.timeout(meshlib.deadline())`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from meshlib.drivers.allowance import seconds_left

ConnectionT = TypeVar("ConnectionT", bound=type)


def ends_in_time(connection: ConnectionT) -> ConnectionT:
    """A subclass of a synchronous redis-py connection class whose waits end with the deadline."""

    class DeadlineConnection(connection):  # type: ignore[valid-type, misc] # any redis-py class
        def send_packed_command(self, *args: Any, **kwargs: Any) -> Any:
            seconds_left("a Redis command")
            return super().send_packed_command(*args, **kwargs)

        def read_response(self, *args: Any, **kwargs: Any) -> Any:
            left = seconds_left("reading from Redis")
            if left is not None and "timeout" not in kwargs:
                own = self.socket_timeout
                kwargs["timeout"] = left if own is None else min(own, left)
            return super().read_response(*args, **kwargs)

    DeadlineConnection.__name__ = f"Deadline{connection.__name__}"
    return DeadlineConnection  # type: ignore[return-value] # as above
