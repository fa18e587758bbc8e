"""Where a loop does work that nobody waits for: so many tasks at a time, awaited at the end."""

from __future__ import annotations

import asyncio

from meshlib.adapters.aside_sync import LAST, MOST, Work


class Tasks:
    """Tasks of one event loop; they outlive its main task, until `close`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __call__(self, work: Work) -> bool:
        """Make a task of `work`; False: there is no room."""
        if self._closed or len(self._tasks) >= MOST:
            work.close()
            return False
        task = asyncio.get_running_loop().create_task(work)
        # `asyncio.run` cancels every registered task before anybody may clean up; what is not
        # registered is ended by `close`, which the end of the loop calls.  The function is meant
        # for implementers of tasks (asyncio's manual, "Extending"); it does the same for others.
        asyncio._unregister_task(task)  # noqa: SLF001 - public but for its name
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def close(self, seconds: float = LAST) -> None:
        """Take no more work, wait up to `seconds` for what was taken, cancel the rest."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
