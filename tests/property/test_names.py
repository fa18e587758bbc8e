"""What an address means, for all addresses."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.auto.names import Names, parse
from meshlib.errors import ConfigError, Denied, RegistryUnavailable
from meshlib.model import Bound, Failed, Neg, Pending, Snapshot

labels = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True).filter(
    lambda name: name != "localhost"
)
dotted = st.builds("{}.{}".format, labels, labels)
numbers = st.from_regex(r"[0-9]{1,10}|0x[0-9a-f]{1,8}", fullmatch=True)
ips = st.ip_addresses().map(str)
here = st.sampled_from(["localhost", "LOCALHOST", "127.0.0.1", "::1", "[::1]"])
hosts = st.one_of(labels, dotted, ips)
foreign = st.one_of(dotted, numbers, ips, here)
ports = st.integers(1, 65535)
schemes = st.sampled_from(["http", "https", "ws", "wss", "grpc"])
open_ports = st.none() | ports
services = st.just("") | labels
maps = st.dictionaries(st.tuples(hosts, ports), services, max_size=5)
resolutions = st.sampled_from([None, Pending(), Neg(), Failed("broken"), Bound(Snapshot("it", ()))])


def written(addresses) -> str:
    """As a user would give them."""
    bracketed = {
        (f"[{host}]" if ":" in host else host, port): name
        for (host, port), name in addresses.items()
    }
    return ", ".join(f"{host}:{port}={name}" for (host, port), name in bracketed.items())


def alone(addresses) -> dict:
    """Without those that mean this machine, of which each has three names."""
    return {key: name for key, name in addresses.items() if key[0] not in {"127.0.0.1", "::1"}}


@given(maps)
def test_what_is_written_is_what_is_read(addresses):
    """Every address, whatever its host looks like, is read as it was meant."""
    assert alone(addresses) == parse(written(alone(addresses)))


@given(st.text())
def test_anything_else_is_refused(text):
    """A text is read, or it is a ConfigError."""
    with contextlib.suppress(ConfigError):
        assert all(0 < port < 65536 for _, port in parse(text))


@given(maps, schemes, resolutions, st.sampled_from(["allow", "deny"]))
def test_an_address_that_was_given_means_what_was_given(addresses, scheme, resolution, egress):
    """Whatever the control plane knows, and whether egress is denied."""
    names = Names(alone(addresses), egress=egress)
    for (host, port), service in alone(addresses).items():
        assert names.candidate(scheme, host, port) is None
        assert (service or None) == names.service_of(scheme, host.upper(), port, resolution)


@given(schemes, foreign, open_ports)
def test_addresses_and_dotted_names_are_never_looked_up(scheme, host, port):
    """Nobody is asked about them, and they are called as they are."""
    names = Names({})
    assert names.candidate(scheme, host, port) is None
    assert names.service_of(scheme, host, port) is None


@given(schemes, foreign, open_ports)
def test_egress_deny_refuses_whatever_is_foreign(scheme, host, port):
    """And it says which address, and what to write to let it pass."""
    with pytest.raises(Denied) as caught:
        Names({}, egress="deny").service_of(scheme, host, port)
    plain = host.strip("[]").lower()
    assert plain in str(caught.value) or plain in {"localhost", "::1"}
    assert "MESHLIB_UPSTREAM_ADDRESSES" in caught.value.hint


@given(schemes, labels, open_ports, st.sampled_from(["allow", "deny"]))
def test_a_bare_name_means_what_the_control_plane_knows(scheme, host, port, egress):
    """A known one is the service at any port; an unknown one is foreign."""
    names = Names({}, egress=egress)
    assert host == names.candidate(scheme, host.upper(), port)
    assert host == names.service_of(scheme, host, port, Bound(Snapshot(host, ())))
    if egress == "allow":
        assert names.service_of(scheme, host, port, Neg()) is None
    else:
        with pytest.raises(Denied):
            names.service_of(scheme, host, port, Neg())


@given(schemes, labels, open_ports, st.sampled_from([None, Pending(), Failed("broken")]))
def test_nothing_is_guessed(scheme, host, port, resolution):
    """While nobody can say whether it is a service, it is called neither way."""
    with pytest.raises(RegistryUnavailable, match=host):
        Names({}).service_of(scheme, host, port, resolution)


@given(here, here, ports, labels)
def test_this_machine_has_three_names(given_as, called_as, port, service):
    """`localhost:5001` is `127.0.0.1:5001` is `[::1]:5001`."""
    names = Names({(given_as, port): service})
    assert service == names.service_of("http", called_as, port)


@given(st.sampled_from(["http", "ws"]), labels, labels)
def test_a_url_without_a_port_has_that_of_its_scheme(scheme, host, service):
    """`http://db.internal` is `db.internal:80`."""
    names = Names({(f"{host}.internal", 80): service, (f"{host}.internal", 443): f"{service}-s"})
    assert service == names.service_of(scheme, f"{host}.internal", None)
    assert f"{service}-s" == names.service_of(f"{scheme}s", f"{host}.internal", None)
