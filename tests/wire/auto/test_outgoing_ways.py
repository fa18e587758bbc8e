"""What each library can do besides, in a program that has never heard of the mesh."""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
import urllib.error
import urllib.request
from http.client import HTTPResponse
from http.cookiejar import CookieJar

import aiohttp
import httpx
import pytest
import requests
import urllib3

from meshlib import Denied, RegistryUnavailable
from meshlib.auto import outgoing

OLD = "127.0.0.1:9"


def seen(server):
    """Method and path of what a server was asked."""
    return [(method, path) for method, path, _, _ in server.seen]


# ---- requests


def test_a_session_keeps_its_cookies_hooks_and_redirects(backend, meshed):
    """What a session does around a request it does around one of the mesh."""
    meshed(f"{OLD}=backend")
    heard = []
    with requests.Session() as session:
        session.hooks["response"].append(lambda response, **_: heard.append(response.url))
        session.auth = ("me", "secret")
        session.get(f"http://{OLD}/cookie")
        response = session.get(f"http://{OLD}/to?/x", timeout=(5, 10))
    headers = response.json()["headers"]
    assert ("taste=sweet", "Basic bWU6c2VjcmV0") == (headers["cookie"], headers["authorization"])
    assert [f"http://{OLD}/{path}" for path in ("cookie", "to?/x", "x")] == heard
    assert 1 == len(response.history)


def test_files_and_generators_are_uploaded(backend, meshed):
    """A multipart form, and a body that is made while it is sent."""
    meshed()
    form = requests.post("http://backend/x", files={"f": ("a.txt", io.BytesIO(b"inside"))})
    parts = requests.post("http://backend/x", data=(each for each in [b"a", b"b"]))
    assert "inside" in form.json()["body"]
    assert "ab" == parts.json()["body"]


def test_an_adapter_of_the_users_own_is_left_alone(backend, meshed):
    """What never asks requests' own adapter is none of our business."""

    class Own(requests.adapters.BaseAdapter):
        def send(self, request, **_):
            response = requests.Response()
            response.status_code = 299
            return response

        def close(self):
            pass

    meshed()
    with requests.Session() as session:
        session.mount("http://backend/", Own())
        assert 299 == session.get("http://backend/x").status_code
    assert [] == backend.seen


def test_a_stream_is_read_as_it_comes(backend, large, meshed):
    """`stream=True` reads part by part."""
    meshed()
    with requests.get("http://backend/large", stream=True) as response:
        assert large == b"".join(response.iter_content(1000))


def test_a_password_in_the_url_is_no_part_of_the_host(backend, meshed):
    """It is sent as authentication, and `Host` is the address alone."""
    meshed(f"{OLD}=backend")
    headers = requests.get(f"http://me:secret@{OLD}/x").json()["headers"]
    assert (OLD, "Basic bWU6c2VjcmV0") == (headers["host"], headers["authorization"])


def test_a_proxy_is_asked_for_foreign_addresses_only(backend, foreign, meshed, monkeypatch):
    """Proxies of the environment stay what they were, except on the way to a service."""
    monkeypatch.setenv("http_proxy", f"http://{foreign.address}")
    meshed(f"{OLD}=backend")
    pools = urllib3.ProxyManager(f"http://{foreign.address}")
    for ask in (
        lambda url: requests.get(url).json(),
        lambda url: json.load(urllib.request.build_opener().open(url)),
        lambda url: json.loads(pools.request("GET", url).data),
        lambda url: httpx.get(url).json(),
    ):
        assert ("backend", "/x") == (ask("http://backend/x")["site"], seen(backend)[-1][1])
        told = ask("http://example.org/x")
        assert ("foreign", "http://example.org/x") == (told["site"], told["path"])
    pools.clear()


def test_an_adapters_retries_do_not_multiply_the_meshs(backend, meshed):
    """Where they would go on, they are used up; where they would not, nothing changes."""
    meshed()
    rules = urllib3.Retry(3, status_forcelist=[404], backoff_factor=60)
    with requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(max_retries=rules))
        with pytest.raises(requests.exceptions.RetryError, match="too many 404"):
            session.get("http://backend/status/404")
        assert 404 == session.post("http://backend/status/404").status_code
    assert [("GET", "/status/404"), ("POST", "/status/404")] == seen(backend)


# ---- urllib3


def test_a_retry_of_the_program_does_not_multiply_the_meshs(backend, meshed):
    """A status it would repeat is repeated by nobody, and is the error it would have ended with."""
    meshed()
    again = urllib3.Retry(5, status_forcelist=[404], backoff_factor=60)
    with urllib3.PoolManager(retries=again) as pools:
        with pytest.raises(urllib3.exceptions.MaxRetryError, match="too many 404"):
            pools.request("GET", "http://backend/status/404")
        quiet = again.new(raise_on_status=False)
        assert 404 == pools.request("GET", "http://backend/status/404", retries=quiet).status
    assert [("GET", "/status/404")] * 2 == seen(backend)


def test_what_fails_on_the_wire_is_repeated_by_the_mesh_alone(home, meshed):
    """A service without instances is asked for once, whatever the program's rules are."""
    meshed(f"{OLD}=nowhere")
    with urllib3.PoolManager(retries=urllib3.Retry(5, backoff_factor=60)) as pools:
        with pytest.raises(urllib3.exceptions.HTTPError, match="nowhere"):
            pools.request("GET", f"http://{OLD}/x")


def test_a_request_that_may_not_be_repeated_is_sent_once(backend, meshed):
    """The program's rules do not repeat what the mesh does not."""
    meshed()
    rules = urllib3.Retry(3, allowed_methods=None)
    with urllib3.PoolManager(retries=rules) as pools:
        with pytest.raises(urllib3.exceptions.ProtocolError):
            pools.request("POST", "http://backend/hangup", body=b"data")
    assert [("POST", "/hangup")] == seen(backend)


def test_a_bare_pool_follows_redirects(backend, meshed):
    """`HTTPConnectionPool`, without a manager, has its own redirects and headers."""
    meshed(f"{OLD}=backend")
    with urllib3.HTTPConnectionPool("127.0.0.1", 9, headers={"X-Pool": "own"}) as pool:
        response = pool.request("POST", "/to?/x", body=b"data")
        said = response.json()
        assert ("POST", "/x", "own") == (said["method"], said["path"], said["headers"]["x-pool"])
        assert 302 == pool.request("GET", "/to?/x", redirect=False).status
        with pytest.raises(urllib3.exceptions.HostChangedError):
            pool.request("GET", "/to?http://elsewhere.example/x")


# ---- urllib.request


def test_the_response_is_http_clients_own(backend, large, meshed):
    """Status, headers, URL, and all ways of reading."""
    meshed()
    with urllib.request.urlopen("http://backend/large") as response:
        assert isinstance(response, HTTPResponse)
        assert (200, 200, "OK", "OK") == (
            response.status,
            response.getcode(),
            response.reason,
            response.msg,
        )
        assert str(len(large)) == response.headers["Content-Length"]
        assert "http://backend/large" == response.geturl()
        assert large[:5] + large[5:1000] == response.read(5) + response.read(995)
        assert large[1000:] == response.read()


def test_an_opener_keeps_its_cookies_and_errors(backend, meshed):
    """Other handlers do not notice, and a status from 400 on is an HTTPError."""
    meshed()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    opener.addheaders = [("User-Agent", "old")]
    opener.open("http://backend/cookie").close()
    with opener.open("http://backend/x") as response:
        headers = json.load(response)["headers"]
    assert ("taste=sweet", "old") == (headers["cookie"], headers["user-agent"])
    with pytest.raises(urllib.error.HTTPError) as caught:
        opener.open("http://backend/status/418")
    with caught.value as error:
        assert (418, b"told so") == (error.code, error.read())


def test_a_proxys_password_stays_here(backend, meshed, monkeypatch):
    """What is meant for the proxy is not told to a service."""
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:1")
    meshed()
    with urllib.request.build_opener().open("http://backend/x") as response:
        assert "proxy-authorization" not in json.load(response)["headers"]


def test_an_error_has_its_reason(foreign, meshed):
    """Who looks at `URLError.reason` finds out why."""
    meshed(egress="deny")
    with pytest.raises(urllib.error.URLError) as caught:
        urllib.request.urlopen(f"http://{foreign.address}/x")
    assert isinstance(caught.value.reason, Denied)


# ---- httpx


def test_transports_of_another_kind_are_left_alone(backend, meshed):
    """A mock and an application in memory answer as ever."""
    meshed()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def main():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.get("http://backend/x")

    mock = httpx.MockTransport(lambda request: httpx.Response(298))
    with httpx.Client(transport=mock) as client:
        assert 298 == client.get("http://backend/x").status_code
    assert 299 == asyncio.run(main()).status_code
    assert [] == backend.seen


def test_a_stream_of_httpx_is_read_as_it_comes(backend, large, meshed):
    """And closed early without harm."""
    meshed()
    with httpx.stream("GET", "http://backend/large") as response:
        assert large[:4] == next(response.iter_bytes(4))
    with httpx.stream("GET", "http://backend/large") as response:
        assert large == b"".join(response.iter_bytes())


# ---- aiohttp


def test_unix_sockets_are_left_alone(backend, unix_socket, meshed):
    """Whatever the URL says, they lead to where they lead."""
    meshed(f"{OLD}=backend")
    with httpx.Client(transport=httpx.HTTPTransport(uds=unix_socket)) as client:
        assert "unix" == client.get(f"http://{OLD}/x").json()["site"]

    async def main():
        transport = httpx.AsyncHTTPTransport(uds=unix_socket)
        async with httpx.AsyncClient(transport=transport) as client:
            one = (await client.get("http://backend/x")).json()
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(unix_socket)) as session:
            async with session.get(f"http://{OLD}/x") as response:
                return one["site"], (await response.json(content_type=None))["site"]

    assert ("unix", "unix") == asyncio.run(main())
    assert [] == backend.seen


def test_a_session_of_aiohttp_keeps_its_cookies_and_middlewares(backend, foreign, meshed):
    """One session calls services and foreign servers side by side."""
    meshed(f"{OLD}=backend")
    passed = []

    async def middleware(request, handler):
        passed.append(str(request.url))
        return await handler(request)

    async def main():
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar, middlewares=[middleware]) as session:
            async with session.get(f"http://{OLD}/cookie"):
                pass
            async with session.post(f"http://{OLD}/x", json={"n": 1}) as response:
                mine = await response.json(content_type=None)
            async with session.get(f"http://{foreign.address}/x") as response:
                return mine, await response.json(content_type=None)

    mine, theirs = asyncio.run(main())
    assert ("backend", "taste=sweet") == (mine["site"], mine["headers"]["cookie"])
    assert {"n": 1} == json.loads(mine["body"])
    assert "foreign" == theirs["site"]
    assert 3 == len(passed)


# ---- all of them


def test_threads_loops_and_children_call(backend, meshed):
    """A thread, a second event loop and a forked child each call with what there is."""
    meshed()
    told = []
    thread = threading.Thread(
        target=lambda: told.append(requests.get("http://backend/x").status_code)
    )
    thread.start()
    thread.join()

    async def main():
        async with httpx.AsyncClient() as client:
            return (await client.get("http://backend/x")).status_code

    told += [asyncio.run(main()), asyncio.run(main())]
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if requests.get("http://backend/x").status_code == 200 else 1)
        except BaseException:  # noqa: BLE001 - a child must not go on as a second pytest
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert ([200] * 3, 0) == (told, os.waitstatus_to_exitcode(status))


def test_a_service_that_comes_later_is_called_then(program, backend, home, meshed):
    """A name that nobody knew is foreign only until it is registered."""
    from meshlib.control.registry import Registration

    mesh = meshed()
    with pytest.raises(program.error):  # there is no such host either
        program.get("http://latecomer/x")
    at = "127.0.0.1", backend.server_port
    lease = mesh.control.register(Registration("latecomer", "latecomer-1", *at))
    heard = threading.Event()
    stop = mesh.control.endpoints("latecomer").subscribe(
        lambda: "Bound" in repr(mesh.control.endpoints("latecomer").value) and heard.set()
    )
    assert heard.wait(20)
    stop()
    with pytest.raises(program.error) as caught:  # it is the mesh's answer: another's certificate
        program.get("http://latecomer/x")
    assert "latecomer" in str(caught.value)
    assert "spiffe://" in str(caught.value)
    lease.close()


def test_without_a_control_plane_nothing_is_guessed(program, home, meshed, foreign):
    """A bare name is not called in plaintext because nobody can be asked; addresses are."""
    meshed(control="consul://127.0.0.1:9")
    with pytest.raises(program.error) as caught:
        program.get("http://backend/x")
    assert isinstance(caught.value, RegistryUnavailable)
    assert "MESHLIB_UPSTREAM_ADDRESSES='backend:80='" in str(caught.value)
    assert "foreign" == program.told(f"http://{foreign.address}/x")["site"]


def test_after_unwrapping_nothing_goes_through_the_mesh(program, backend, foreign, meshed):
    """The library is as it was."""
    meshed(f"{foreign.address}=backend")
    assert "backend" == program.told(f"http://{foreign.address}/x")["site"]
    outgoing.unwrap()
    assert "foreign" == program.told(f"http://{foreign.address}/x")["site"]
