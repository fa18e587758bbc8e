"""Keys and tokens: in nothing that is printed, logged, raised or shown of a configuration."""

from __future__ import annotations

import base64
import logging
import os
import pprint
import re
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshlib.control.consul.address import ConsulAddress
from meshlib.control.consul.faults import NotAllowed
from meshlib.errors import ConfigError, IdentityUnavailable
from meshlib.serve.options import ServeOptions
from meshlib.settings import load
from meshlib.testing.evil import GET, ask, careless
from meshlib.trust.tls import MeshContext, member_of
from meshlib.watch import Watch

TOKEN = "6c1b0d1e-an-acl-token-nobody-may-see"


def traces_of(key_pem):
    """Pieces of a key that give it away: PEM's base64 in short runs, and its number in hex."""
    body = b"".join(key_pem.splitlines()[1:-1])
    number = load_pem_private_key(key_pem, None).private_numbers().private_value
    raw = number.to_bytes(32, "big")
    return [
        *(body[at : at + 24].decode() for at in range(48, len(body) - 90, 8)),
        raw.hex(),
        str(number),
        base64.b64encode(raw).decode(),
        repr(raw),
    ]


def told(value):
    """All the ways in which a value is printed by accident."""
    return "\n".join([repr(value), str(value), pprint.pformat(value), f"{value}", f"{[value]}"])


def secrets_in(text, key_pem):
    found = [piece for piece in traces_of(key_pem) if piece in text]
    return (
        found + re.findall(r"BEGIN [A-Z ]*PRIVATE KEY", text) + re.findall(re.escape(TOKEN), text)
    )


@pytest.fixture
def credentials(arena):
    """Ours."""
    return arena.credentials()


def options_with(credentials):
    return ServeOptions(
        service="me",
        instance="me-1",
        credentials=Watch(credentials, ready=True),
        tracer=None,
        listener=None,
        authorize=member_of("example.org"),
        register=lambda *_: None,
    )


def test_the_detector_detects(credentials):
    """The control: a key that is printed is found."""
    assert secrets_in(credentials.leaf.key_pem.decode(), credentials.leaf.key_pem)
    assert secrets_in(TOKEN, credentials.leaf.key_pem)


@pytest.mark.parametrize(
    "make",
    [
        lambda credentials: credentials,
        lambda credentials: credentials.leaf,
        lambda credentials: {"nested": [credentials]},
        lambda credentials: Watch(credentials, ready=True),
        options_with,
        lambda credentials: (context_of(credentials),),
        lambda credentials: context_of(credentials)._inner(),
        lambda credentials: context_of(credentials)._inner().terms,
        lambda credentials: vars(context_of(credentials)),
    ],
    ids=["credentials", "leaf", "nested", "watch", "options", "context", "inner", "terms", "vars"],
)
def test_reprs(credentials, make):
    """No value that holds a key shows it."""
    assert [] == secrets_in(told(make(credentials)), credentials.leaf.key_pem)


def context_of(credentials):
    return MeshContext(
        Watch(credentials, ready=True),
        server_side=True,
        authorize=member_of("example.org"),
        clock=time.time,
    )


def test_a_context_cannot_be_carried_away(credentials):
    """A context with a key in it is not pickled."""
    import pickle

    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(context_of(credentials))


@pytest.mark.parametrize("cut", [40, 100, 200])
def test_errors_about_keys(credentials, arena, cut):
    """An error about a key that cannot be used, with its traceback and causes, does not show it."""
    leaf = credentials.leaf
    for broken in (leaf.key_pem[:cut], leaf.key_pem[:cut] + b"!" + leaf.key_pem[cut + 1 :]):
        with pytest.raises(IdentityUnavailable) as caught:
            context_of(replace(credentials, leaf=replace(leaf, key_pem=broken)))
        text = "".join(traceback.format_exception(caught.value))
        assert [] == secrets_in(text, leaf.key_pem)


def test_the_token_of_consul(credentials, tmp_path):
    """An ACL token is in no repr, message or error of an address, wherever it came from."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    key = credentials.leaf.key_pem
    for address in (
        ConsulAddress(token=TOKEN),
        ConsulAddress.parse("consul://127.0.0.1:8500", {"CONSUL_HTTP_TOKEN": TOKEN}),
        ConsulAddress.parse(f"consul://127.0.0.1:8500?token_file={file}", {}),
    ):
        assert TOKEN == address.current_token()
        assert [] == secrets_in(told(address), key)
        with pytest.raises(ConfigError) as caught:
            replace(address, cert_file=os.devnull).check()
        assert [] == secrets_in("".join(traceback.format_exception(caught.value)), key)
    assert issubclass(NotAllowed, Exception)


@pytest.mark.parametrize("url", ["consul://127.0.0.1:8500?token={}", "consul://:{}@127.0.0.1:8500"])
def test_a_token_in_the_url(credentials, url):
    """Whether a URL with a token in it is taken or refused, nobody is shown it."""
    try:
        said = told(ConsulAddress.parse(url.format(TOKEN), {}))
    except ConfigError as exc:
        said = "".join(traceback.format_exception(exc))
    assert [] == secrets_in(said, credentials.leaf.key_pem)
    try:
        said = told(load({"service": "me", "control": url.format(TOKEN)}, {}))
    except ConfigError as exc:
        said = "".join(traceback.format_exception(exc))
    assert [] == secrets_in(said, credentials.leaf.key_pem)


def test_logs_of_handshakes(site, arena, caplog, credentials):
    """What is logged of good and bad handshakes, at every level, gives away no key."""
    caplog.set_level(logging.DEBUG)
    leaf = arena.forge.shown(arena.issued())
    for shown in (leaf, arena.forge.shown(arena.issued(until=-1.0)), None):
        ask(site.address, careless(arena, shown, server_side=False), GET)
    text = "\n".join(map(told, (vars(each) for each in caplog.records)))
    assert [] == secrets_in(text, credentials.leaf.key_pem)
    assert [] == secrets_in(text, leaf.key_pem)


TALKER = Path(__file__).with_name("talker.py")


def test_logs_of_two_processes(home):
    """A service and its caller that log all they can print no key: not the CA's, not their own."""
    with subprocess.Popen(
        [sys.executable, TALKER, "back"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as back:
        said = []
        while "STARTED" not in "".join(said):
            said.append(back.stdout.readline())
            assert said[-1], "".join(said)
        front = subprocess.run(
            [sys.executable, TALKER, "front"], capture_output=True, text=True, check=False
        )
        back.terminate()
        said += back.stdout.readlines()
    text = "".join(said) + front.stdout + front.stderr
    assert "hello from back" in front.stdout, text
    keys = [
        path for path in home.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
    ]
    assert keys, "there is a CA in the home, so there is a key"
    for path in keys:
        pem = re.search(
            rb"-----BEGIN PRIVATE.*?-----END PRIVATE KEY-----", path.read_bytes(), re.DOTALL
        )
        assert [] == secrets_in(text, pem[0])
    assert "MIGHAgEA" not in text, "the beginning of every P-256 key in PEM"
