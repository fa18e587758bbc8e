"""What a call that is over says of itself."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from grpc import StatusCode

from meshlib.adapters.grpc.bases import Call, Future
from meshlib.adapters.grpc.replies import RpcReply
from meshlib.adapters.grpc.rpc import Metadata, shown


class Over(Call, Future):
    """A call, and a future, whose reply is there."""

    _reply: RpcReply
    _message: Any = None

    def code(self) -> StatusCode:
        """How it ended."""
        code = self._reply.code
        return StatusCode.UNKNOWN if code is None else code

    def details(self) -> str:
        """What was said about it."""
        return self._reply.details

    def debug_error_string(self) -> str:
        """Code and details, for logs."""
        return f"{self.code().name}:{self.details()}"

    def initial_metadata(self) -> Metadata:
        """What the server said before."""
        return self._reply.initial

    def trailing_metadata(self) -> Metadata:
        """What the server said at the end."""
        return shown(self._reply.trailing)

    def is_active(self) -> bool:
        """No: it is over."""
        return False

    def time_remaining(self) -> None:
        """None is left to be told."""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Too late."""
        return False

    def cancel(self) -> bool:
        """Too late."""
        return False

    def cancelled(self) -> bool:
        """Whether that is how it ended."""
        return self.code() is StatusCode.CANCELLED

    def running(self) -> bool:
        """No."""
        return False

    def done(self) -> bool:
        """Yes."""
        return True

    def result(self, timeout: float | None = None) -> Any:
        """The message."""
        return self._message

    def exception(self, timeout: float | None = None) -> Exception | None:
        """None: it ended well."""
        return None

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """None: it ended well."""
        return None

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call it now."""
        fn(self)


class Finished(Over):
    """A call that ended well."""

    def __init__(self, reply: RpcReply, message: Any) -> None:
        self._reply, self._message = reply, message
