"""Websockets over a bare socket, byte by byte, alone and in the mesh."""

from __future__ import annotations

import itertools

import pytest

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIN = 0x80
NAMES = itertools.count()
"""One for each websocket: what another's end was is heard late, or never asked for."""
UNTOLD = 1006
"""What hypercorn tells of every end."""
HEAD = (
    b" HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"


def frame(kind, data=b"", *, last=True, rsv=0):
    """A frame of a client, whose mask changes nothing."""
    first = (FIN if last else 0) | rsv | kind
    size = len(data)
    if size < 126:
        head = bytes([first, FIN | size])
    elif size < 2**16:
        head = bytes([first, FIN | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, FIN | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + data


def closing(code=1000, reason=b""):
    """The end."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


@pytest.fixture
def talk(pair, read_until, rest_of, without_ours):
    """Say the same to both; what comes back, and what the application heard of the end.

    The last frame is sent when the words waited for have arrived.
    """

    def ask(path, *frames, head=b"", until=b"\r\n\r\n", ended=True):
        worlds, name = [], b"%d" % next(NAMES)
        for place in pair:
            with place.connect() as sock:
                sock.sendall(b"GET " + path + b"?" + name + HEAD + head + b"\r\n")
                said = read_until(sock, b"\r\n\r\n")  # before that no frame may be sent
                for each in frames[:-1]:
                    sock.sendall(each)
                if until not in said:
                    said += read_until(sock, until)
                for each in frames[-1:]:
                    sock.sendall(each)
                said += rest_of(sock)
            heard = place.app.ends[name.decode()].get(timeout=9) if ended else None
            worlds.append((without_ours(said), heard))
        plain, mesh = worlds
        assert plain == mesh
        return mesh

    return ask


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 5, 125, 126, 65536, 1_000_000])
def test_messages(talk, opcode, size):
    """Of every size, text and bytes."""
    sent = b"m" * size
    echo = sent or bytes([FIN | opcode, 0])  # a server may drop it once the end has arrived
    said, heard = talk(b"/echo", frame(opcode, sent), closing(1000, b"bye"), until=echo)
    assert said.startswith(b"HTTP/1.1 101")
    assert size == said.partition(b"\r\n\r\n")[2].count(b"m")
    assert heard[0] in {1000, UNTOLD}


def test_headers_and_subprotocols(talk):
    """What is offered, what is chosen, and a header of the application's."""
    said, _ = talk(b"/echo", closing(), head=b"Sec-WebSocket-Protocol: one, two\r\n")
    assert b"\r\nsec-websocket-protocol: two\r\n" in said.lower()
    assert b"\r\nx-hi: yes\r\n" in said.lower()


def test_fragments(talk):
    """A message in several frames, with a ping between them."""
    frames = [frame(TEXT, b"one ", last=False), frame(PING, b"?"), frame(0, b"two")]
    said, _ = talk(b"/echo", *frames, closing(), until=b"one two")
    assert b"one two" in said
    assert bytes([FIN | PONG, 1]) + b"?" in said


def test_unasked_pongs(talk):
    """Are nobody's business."""
    talk(b"/echo", frame(PONG, b"!"), frame(TEXT, b"hear"), closing(), until=b"hear")


def test_compression(talk):
    """Agreed upon and used as without."""
    squeezed = bytes.fromhex("f248cdc9c907 00")
    sent = frame(TEXT, squeezed, rsv=0x40)
    said, _ = talk(b"/echo", sent, closing(), head=DEFLATE, until=squeezed[:-1])
    assert b"permessage-deflate" in said


@pytest.mark.parametrize("code", [1000, 1001, 1003, 3000, 4999])
def test_the_application_closes(talk, code):
    """Its code and reason arrive."""
    said, _ = talk(b"/close/%d" % code, closing(code))
    assert code.to_bytes(2, "big") + b"as said" in said


@pytest.mark.parametrize(("code", "reason"), [(1001, b""), (4000, "gr\u00fcezi".encode())])
def test_the_client_closes(talk, code, reason):
    """The application hears its code and reason, as far as the server tells."""
    _, heard = talk(b"/echo", closing(code, reason))
    assert heard[0] in {code, UNTOLD}


def test_the_client_closes_without_a_code(talk):
    """1005, as without."""
    talk(b"/echo", frame(CLOSE))


@pytest.mark.parametrize(
    "wrong",
    [
        frame(3, b"?"),
        frame(TEXT, b"\xff\xfe"),
        frame(PING, b"x" * 126),
        frame(0, b"no"),
        b"\x81\x01x",
    ],
)
def test_frames_that_are_wrong(talk, wrong):
    """Are answered by the server, as it answers without."""
    talk(b"/echo", wrong)


@pytest.mark.parametrize("path", [b"/refuse", b"/deny", b"/fails"])
def test_refusals(talk, path):
    """403, an answer of the application's own, or 500."""
    said, _ = talk(path, ended=False)
    assert said.startswith((b"HTTP/1.1 403", b"HTTP/1.1 401", b"HTTP/1.1 500"))


def test_an_application_that_fails_later(talk):
    """The websocket ends with 1011 or 1006, as without."""
    talk(b"/echo", frame(TEXT, b"break"), ended=False)


def test_a_peer_that_vanishes(pair, read_until):
    """The application hears of it."""
    heard = []
    for place in pair:
        with place.connect() as sock:
            sock.sendall(b"GET /echo?vanish" + HEAD + b"\r\n")
            read_until(sock, b"\r\n\r\n")
        heard.append(place.app.ends["vanish"].get(timeout=9))
    plain, mesh = heard
    assert plain == mesh


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b"13", b"12"),
        HEAD.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""),
    ],
)
def test_handshakes_that_are_wrong(pair, read_until, without_ours, head):
    """Are answered by the server, as it answers without."""
    answers = []
    for place in pair:
        with place.connect() as sock:
            sock.sendall(b"GET /odd" + head + b"\r\n")
            answers.append(without_ours(read_until(sock, b"\r\n\r\n")))
    plain, mesh = answers
    assert plain.partition(b"\r\n\r\n")[0] == mesh.partition(b"\r\n\r\n")[0]
    assert mesh.startswith(b"HTTP/1.1 4")
