"""gRPC's words and HTTP's, each as the other."""

from __future__ import annotations

from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from meshlib.adapters.grpc.frames import Frames
from meshlib.adapters.grpc.replies import RpcReply, as_rpc
from meshlib.adapters.grpc.rpc import from_raw, headers_of, metadata_of, raw_of
from meshlib.adapters.grpc.status import NUMBER, STATUS, code_of
from meshlib.model import Attempt, Call, Reply, Verdict
from meshlib.policy.classify import classify

SERVERS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""OpenTelemetry's conventions for gRPC: what is an error of the server's."""

KEYS = st.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True).filter(
    lambda key: not key.endswith("-bin")
)
TEXT = st.tuples(KEYS, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20))
BINARY = st.tuples(KEYS.map("{}-bin".format), st.binary(max_size=20))
METADATA = st.lists(TEXT | BINARY, max_size=6)
NOT_SENT = {"host", "content-type", "content-length", "te", "user-agent"}


def test_every_code_has_a_status():
    """All of gRPC's codes are known."""
    assert set(StatusCode) == STATUS.keys() == NUMBER.keys()


@given(st.sampled_from(list(StatusCode)))
def test_a_code_blames_who_is_to_blame(code):
    """Servers' errors are failures of the endpoint, all others say that it is well."""
    verdict = classify(Call("shop", "POST"), RpcReply(code))
    assert (Verdict.FAILURE if code.name in SERVERS else Verdict.SUCCESS) is verdict


@given(st.sampled_from(list(StatusCode)))
def test_a_code_says_itself(code):
    """What a reply carries as `grpc-status` is its code."""
    reply = RpcReply(code)
    assert code is code_of(reply.status, reply.headers)


@given(st.integers(100, 599), st.text(max_size=3))
def test_any_status_has_a_code(status, said):
    """Whatever a reply made on our side says, there is a code for it; well only for 2xx."""
    reply = as_rpc(Reply(status, {"grpc-status": said} if said not in NUMBER.values() else {}))
    assert (reply.code is StatusCode.OK) == (200 <= status < 300)


@given(METADATA)
def test_metadata_survives_being_headers(metadata):
    """Keys, repetitions and binary values arrive as they were given, in their order."""
    metadata = [pair for pair in metadata if pair[0] not in NOT_SENT]
    call = Call("shop", "POST", headers=headers_of(metadata))
    assert metadata == metadata_of(Attempt(call))
    assert metadata == from_raw(raw_of(metadata))


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 4, 6]), st.binary(max_size=30)), max_size=8),
    st.integers(0, 8),
    st.integers(1, 40),
)
def test_goodbye_is_found_in_any_pieces(frames, place, piece):
    """GOAWAY is heard wherever it stands and however the bytes are cut, and nothing else is."""

    def wire(sent):
        return b"".join(
            len(body).to_bytes(3) + bytes([kind]) + bytes(5) + body for kind, body in sent
        )

    def heard(data):
        watch = Frames()
        for at in range(0, len(data), piece):
            watch.feed(memoryview(data[at : at + piece]))
        return watch.goodbye

    assert not heard(wire(frames))
    assert heard(wire([*frames[:place], (7, bytes(8)), *frames[place:]]))
