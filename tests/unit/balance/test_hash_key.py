from __future__ import annotations

from random import Random

import pytest
from xxhash import xxh64_intdigest

from meshlib.balance.hash_key import HashKey
from meshlib.config import HashKeyConfig
from meshlib.model import Call


def hash_of(call, *configs):
    return HashKey([HashKeyConfig(**config) for config in configs], Random(1))(call)


@pytest.mark.parametrize(
    ("config", "call", "key"),
    [
        ({"header": "X-User"}, {"headers": {"x-user": "ann"}}, b"ann"),
        ({"header": "x-user"}, {"headers": {"x-user": "änn"}}, "änn".encode()),
        ({"header": "x-user"}, {"headers": {"x-user": ""}}, b""),
        ({"query": "id"}, {"query": "a=1&id=7&id=8"}, b"7"),
        ({"query": "id"}, {"query": "id"}, b""),
        ({"query": "id"}, {"query": "id=a%20b"}, b"a%20b"),
        ({"cookie": "who"}, {"headers": {"cookie": 'a=b; who="ann"'}}, b"ann"),
        ({"source": True}, {"source": "spiffe://td/web"}, b"spiffe://td/web"),
    ],
)
def test_where_a_key_stands(config, call, key):
    """The hash is Envoy's: xxHash64 of the value as it is."""
    assert xxh64_intdigest(key) == hash_of(Call("b", **call), config)


@pytest.mark.parametrize(
    "config",
    [{"header": "x-user"}, {"query": "id"}, {"query": "idx"}, {"cookie": "who"}, {"source": True}],
)
def test_a_call_without_a_key(config):
    """A key that is missing is no error; lone surrogates are none either."""
    assert hash_of(Call("b", query="idy=1"), config) is None
    assert hash_of(Call("b", headers={"x-user": "\udfff"}), {"header": "x-user"}) is not None


def test_keys_are_joined_as_in_envoy():
    """The hash so far, rotated by a bit, xor the next: equal keys do not cancel."""
    call = Call("b", headers={"a": "same", "b": "same"})
    one = xxh64_intdigest(b"same")
    rotated = (one << 1 | one >> 63) % 2**64
    assert rotated ^ one == hash_of(call, {"header": "a"}, {"header": "b"})
    assert hash_of(call, {"header": "a"}, {"header": "b"}) != 0


def test_terminal_keys():
    """A terminal key that is there is enough; one that is missing is passed over."""
    configs = {"header": "a", "terminal": True}, {"header": "b"}
    both = Call("b", headers={"a": "x", "b": "y"})
    assert xxh64_intdigest(b"x") == hash_of(both, *configs)
    assert xxh64_intdigest(b"y") == hash_of(Call("b", headers={"b": "y"}), *configs)


def test_a_missing_cookie_is_made():
    """With a ttl, a caller without the cookie gets one, the same for all attempts of the call."""
    call = Call("b")
    key = HashKey([HashKeyConfig(cookie="who", ttl=60.0, path="/shop")], Random(1))
    hashed = key(call)
    assert hashed == key(call)
    [cookie] = call.set_cookies
    assert f'who="{cookie.value}"; Max-Age=60; Path=/shop; HttpOnly' == str(cookie)
    back = Call("b", headers={"cookie": f"who={cookie.value}"})
    assert hashed == key(back)
    assert () == back.set_cookies


def test_a_cookie_of_the_session():
    """With a ttl of 0 the cookie ends with the caller's session; without one none is made."""
    call = Call("b")
    assert hash_of(call, {"cookie": "who"}) is None
    hash_of(call, {"cookie": "who", "ttl": 0.0})
    assert "Max-Age" not in str(call.set_cookies[0])
