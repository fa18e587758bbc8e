"""
Rate limits counted in Redis: the algorithm of `policy.limiter` as one Lua script.

One round trip a request, however many quotas it draws on.  The script runs on Redis' own clock, so
that the instances' clocks need not agree, and either counts a request under all of its keys or
under none.  A key expires when its bucket has run dry, which is when it would say nothing any more.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import redis
import redis.asyncio as aioredis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from meshlib.adapters.loops import PerLoop
from meshlib.config import SharedRatesConfig
from meshlib.errors import ConfigError, MeshError
from meshlib.policy.limiter import Asked, OverLimit

SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local longest, worst, ends = 0, 0, {}
for i, key in ipairs(KEYS) do
  local interval, span = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local last = tonumber(redis.call('GET', key) or 0)
  ends[i] = math.max(last, now) + interval
  local wait = ends[i] - span - now
  if wait > longest then longest, worst = wait, i end
end
if worst > 0 then return {worst, math.ceil(longest)} end
for i, key in ipairs(KEYS) do
  local left = math.ceil((ends[i] - now) / 1000)
  redis.call('SET', key, string.format('%.0f', ends[i]), 'PX', math.max(left, 1))
end
return {0, 0}
"""
"""KEYS: one for each quota; ARGV: interval and span of each, microseconds.  Returns the number of
the quota that refuses for longest and that time in microseconds; 0 and 0 if none does."""

_PREFIX = "meshlib:rate"
_CONNECTIONS = 50
"""Of one process, at most; those beyond it count as a failure, which the rescue takes care of."""


class RedisRates:
    """The store of one service's shared limits, for threads and for event loops.

    Connects on first use, and anew in a process that was forked.
    """

    def __init__(self, service: str, config: SharedRatesConfig) -> None:
        # in braces: the keys of one request are in one slot of a cluster
        self._prefix = f"{_PREFIX}:{{{service}}}"
        self._config = config
        self._options: dict[str, Any] = {
            "socket_timeout": config.timeout,
            "socket_connect_timeout": config.timeout,
            "max_connections": _CONNECTIONS,
        }
        self._lock = threading.Lock()
        self._client: redis.Redis | None = None
        self._pid = 0
        self._loops: PerLoop[_Client] = PerLoop(self._async_client, _close)
        try:
            redis.ConnectionPool.from_url(config.url)
        except ValueError as exc:
            raise ConfigError("url", config.url, f"a Redis URL ({exc})") from exc

    def take(self, asked: Asked) -> OverLimit | None:
        """Count a request, or refuse it; blocks for at most the timeout or so.

        Raises MeshError when Redis does not answer.
        """
        keys, numbers = self._drawn(asked)
        try:
            return _refusal(asked, self._script_of_threads()(keys=keys, args=numbers))
        except (RedisError, OSError) as exc:
            raise _unavailable(exc) from exc

    async def take_async(self, asked: Asked) -> OverLimit | None:
        """The same, without blocking the loop."""
        keys, numbers = self._drawn(asked)
        try:
            client = self._loops.current()
            async with asyncio.timeout(self._config.timeout):
                return _refusal(asked, await client.script(keys=keys, args=numbers))
        except (RedisError, OSError) as exc:  # TimeoutError is one
            raise _unavailable(exc) from exc

    def close(self) -> None:
        """Close the connections of threads; those of a loop end with it."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _drawn(self, asked: Asked) -> tuple[list[str], list[float]]:
        keys = [f"{self._prefix}:{meter.name}:{key}" for meter, key in asked]
        numbers = [number * 1e6 for meter, _ in asked for number in (meter.interval, meter.span)]
        return keys, numbers

    def _script_of_threads(self) -> Any:
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                retry = Retry(NoBackoff(), 0)
                self._client = redis.Redis.from_url(self._config.url, retry=retry, **self._options)
                self._script: Any = self._client.register_script(SCRIPT)
                self._pid = os.getpid()
            return self._script

    def _async_client(self) -> _Client:
        return _Client(self._config.url, self._options)


class _Client:
    """What belongs to one event loop."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        retry = AsyncRetry(NoBackoff(), 0)
        self.redis = aioredis.Redis.from_url(url, retry=retry, **options)
        self.script: Any = self.redis.register_script(SCRIPT)


async def _close(client: _Client) -> None:
    await client.redis.aclose()


def _refusal(asked: Asked, answer: Any) -> OverLimit | None:
    number, microseconds = answer
    if not number:
        return None
    meter, _ = asked[number - 1]
    return OverLimit(meter.name, meter.quota, microseconds / 1e6)


def _unavailable(cause: Exception) -> MeshError:
    return MeshError("Redis did not count a request", why=f"{type(cause).__name__}: {cause}")
