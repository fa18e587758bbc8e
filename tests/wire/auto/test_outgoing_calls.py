"""An unmodified program calls services of the mesh, and everything else, with each library."""

from __future__ import annotations

import json

import pytest

from meshlib import MeshError

OLD = "127.0.0.1:9"
"""Where the backend was before there was a mesh: nobody listens there."""


def test_a_service_is_called_by_its_name(program, backend, meshed):
    """The bare name of a service is enough, and the request arrives as it was made."""
    meshed()
    status, body = program.send(
        "POST", "http://backend/a%20b?q=1", data=b"data", headers={"X-Own": "kept"}
    )
    said = json.loads(body)
    assert (200, "backend", "POST", "/a%20b?q=1") == (
        status,
        said["site"],
        said["method"],
        said["path"],
    )
    assert ("data", "kept", "backend") == (
        said["body"],
        said["headers"]["x-own"],
        said["headers"]["host"],
    )


@pytest.mark.parametrize("url", ["http://backend:5000/x", "https://backend/x", "http://BACKEND/x"])
def test_port_and_protocol_are_the_meshs(program, backend, meshed, url):
    """A name means the service, whatever port and protocol stood beside it."""
    meshed()
    assert "backend" == program.told(url)["site"]


@pytest.mark.parametrize("host", [OLD, "localhost:9", "old.internal"])
def test_a_service_is_called_by_its_old_address(program, backend, meshed, host):
    """HOST:PORT is the service that was named for it, and it is asked for as it always was."""
    meshed(f"{OLD}=backend,old.internal:80=backend")
    said = program.told(f"http://{host}/x")
    assert ("backend", host) == (said["site"], said["headers"]["host"])


def test_a_foreign_server_is_called_as_ever(program, foreign, meshed):
    """What is no service gets no header of ours."""
    meshed()
    said = program.told(f"http://{foreign.address}/x", headers={"X-Own": "kept"})
    assert ("foreign", "kept") == (said["site"], said["headers"]["x-own"])
    assert not [name for name in said["headers"] if name.startswith(("traceparent", "mesh"))]


def test_egress_can_be_denied(program, foreign, meshed):
    """With egress deny a foreign call is an error of the library, and nothing is sent."""
    meshed(egress="deny")
    with pytest.raises(program.error, match="MESHLIB_UPSTREAM_ADDRESSES") as caught:
        program.get(f"http://{foreign.address}/x")
    assert f"calls to {foreign.address} are refused" in str(caught.value)
    assert isinstance(caught.value, MeshError)
    assert [] == foreign.seen


def test_a_named_foreign_server_may_be_called_all_the_same(program, foreign, meshed):
    """An address with an empty service lets it pass."""
    meshed(f"{foreign.address}=", egress="deny")
    assert "foreign" == program.told(f"http://{foreign.address}/x")["site"]


def test_a_service_that_has_no_instance_is_an_error_of_the_library(program, home, meshed):
    """A mapped service that nobody knows is never called in plaintext."""
    meshed(f"{OLD}=nowhere")
    with pytest.raises(program.error, match="nowhere") as caught:
        program.get(f"http://{OLD}/x")
    assert isinstance(caught.value, MeshError)


def test_long_and_chunked_bodies_arrive(program, backend, large, meshed):
    """More than is read ahead, and bodies without a length."""
    meshed()
    assert (200, large) == program.get("http://backend/large")
    assert (200, b"one two three") == program.get("http://backend/parts")


@pytest.mark.parametrize("status", [404, 418, 204])
def test_statuses_are_replies(program, backend, meshed, status):
    """What the service answers is what the program sees."""
    meshed()
    assert status == program.get(f"http://backend/status/{status}")[0]


def test_redirects_lead_in_and_out_of_the_mesh(program, backend, foreign, meshed):
    """Each hop is decided anew."""
    meshed(f"{OLD}=backend")
    assert "foreign" == program.told(f"http://backend/to?http://{foreign.address}/x")["site"]
    assert "backend" == program.told(f"http://{foreign.address}/to?http://{OLD}/x")["site"]


def test_a_head_request_has_no_body(program, backend, meshed):
    """HEAD is answered by a head."""
    meshed()
    assert (200, b"") == program.send("HEAD", "http://backend/large")


def test_a_body_that_is_cut_off_is_an_error_of_the_library(program, backend, meshed):
    """A service that breaks off in the middle is noticed."""
    meshed()
    with pytest.raises(program.error):
        program.get("http://backend/cut")
