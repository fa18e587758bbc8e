"""Which targets of gRPC are addresses."""

from __future__ import annotations

import pytest

from meshlib.auto.outgoing.grpc import address_of


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("shop", ("shop", None)),
        ("shop:50051", ("shop", 50051)),
        ("dns:///shop:50051", ("shop", 50051)),
        ("dns:shop:50051", ("shop", 50051)),
        ("dns://8.8.8.8/shop.example:1", ("shop.example", 1)),
        ("passthrough:///shop:50051", ("shop", 50051)),
        ("127.0.0.1:9", ("127.0.0.1", 9)),
        ("ipv4:127.0.0.1:9", ("127.0.0.1", 9)),
        ("ipv6:[::1]:9", ("::1", 9)),
        ("[::1]:9", ("::1", 9)),
        ("ipv4:10.0.0.1:9,10.0.0.2:9", None),
        ("unix:/run/shop", None),
        ("unix:shop", None),
        ("unix-abstract:shop", None),
        ("xds:///shop", None),
        ("dns:///", None),
        ("", None),
    ],
)
def test_a_target_is_an_address_or_none(target, expected):
    """Names and addresses are; lists, sockets of this machine and xDS are not."""
    assert expected == address_of(target)
