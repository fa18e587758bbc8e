"""What comes back from a gRPC server, as the stack sees it."""

from __future__ import annotations

from collections.abc import Iterable

from grpc import StatusCode
from multidict import CIMultiDict

from meshlib.adapters.grpc.rpc import Metadata, from_raw, headers_of, raw_of, shown
from meshlib.adapters.grpc.status import NUMBER, STATUS, code_of
from meshlib.errors import AttemptFailed
from meshlib.model import Attempt, Reply


class RpcReply(Reply):
    """A reply with a code: all of it when `content` is the message, or None and a code is known.

    A streamed one has its code when it has ended.
    """

    __slots__ = ("code", "details", "trailing")

    def __init__(
        self,
        code: StatusCode | None,
        initial: Metadata = (),
        trailing: Metadata = (),
        *,
        content: bytes | None = b"",
        details: str = "",
    ) -> None:
        status = 200 if code is None else STATUS[code]
        headers = headers_of((*initial, *trailing)) if initial or trailing else CIMultiDict()
        if code is not None:
            headers["grpc-status"] = NUMBER[code]
        super().__init__(status, headers, raw_of(initial), content)
        self.code, self.details, self.trailing = code, details, trailing

    @property
    def initial(self) -> Metadata:
        """The initial metadata, with what layers and routes made of it."""
        return shown(from_raw(self.raw_headers))


def as_rpc(reply: Reply) -> RpcReply:
    """The reply itself, or, of one that was made on our side, what it means in gRPC.

    The body of one that is well is the message; that of any other one, the details.
    """
    if isinstance(reply, RpcReply):
        return reply
    code, content = code_of(reply.status, reply.headers), reply.content or b""
    well = code is StatusCode.OK
    made = RpcReply(
        code,
        trailing=_without_framing(from_raw(reply.raw_headers)),
        content=content if well else b"",
        details="" if well else reply.headers.get("grpc-message", content.decode("utf-8")),
    )
    made.endpoint = reply.endpoint
    return made


_FRAMING = frozenset({"content-length", "content-type", "grpc-status", "grpc-message"})


def _without_framing(metadata: Iterable[tuple[str, str | bytes]]) -> Metadata:
    return [pair for pair in metadata if pair[0] not in _FRAMING]


def ended_badly(attempt: Attempt, code: StatusCode, details: str) -> AttemptFailed | None:
    """What the endpoint is blamed for, when it ended a stream with a code of its own."""
    if STATUS[code] < 500:
        return None
    return AttemptFailed(
        f"{attempt.endpoint} ended the stream with {code.name}",
        endpoint=attempt.endpoint,
        why=details,
    )
