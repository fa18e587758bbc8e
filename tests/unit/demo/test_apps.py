"""The three applications without their mesh: real handlers, in-process clients."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from meshlib.demo import backend, database, frontend
from meshlib.demo.faults import Faults
from meshlib.demo.zones import load_zones

SUMMER = datetime(2024, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def database_client(store, about):
    """An async client of the real database application."""
    app = database.create_app(store, about("database"))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://database")


@pytest.fixture
def backend_of(store, about):
    """A Flask test client over a store, or over any answer of the database."""

    def make(version="v1", *, answer=None, **options):
        def from_store(request):
            name = request.url.path.removeprefix("/zones").removeprefix("/")
            served_by = about("database").said()
            if not name:
                zones = store.zones(request.url.params.get("q", ""))
                return httpx.Response(200, json={"zones": zones, "served_by": served_by})
            zone = store.zone(name)
            if zone is None:
                return httpx.Response(404, json={"error": f"no {name}", "served_by": served_by})
            return httpx.Response(200, json={**zone, "served_by": served_by})

        client = httpx.Client(transport=httpx.MockTransport(answer or from_store))
        given = {"now": lambda: SUMMER, **options}
        return backend.create_app(client, about("backend", version), **given).test_client()

    return make


@pytest.mark.asyncio
async def test_the_database_tells_one_zone(database_client):
    """Berlin has its countries in order and says who served it."""
    told = (await database_client.get("/zones/Europe/Berlin")).json()
    assert {"code": "DE", "name": "Germany"} == told["countries"][0]
    assert {"latitude": 52.5, "longitude": pytest.approx(13.366667)} == told["coordinates"]
    assert "database-test" == told["served_by"]["instance"]


@pytest.mark.asyncio
async def test_the_database_tells_all(database_client):
    """Without a word every zone comes, each once."""
    zones = (await database_client.get("/zones")).json()["zones"]
    assert sorted(zone.name for zone in load_zones()) == [zone["zone"] for zone in zones]


@pytest.mark.asyncio
async def test_the_database_does_not_know_atlantis(database_client):
    """An unknown zone is 404 with a sentence."""
    response = await database_client.get("/zones/Europe/Atlantis")
    assert 404 == response.status_code
    assert "Atlantis" in response.json()["error"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("word", "zone"),
    [
        ("berl", "Europe/Berlin"),
        ("BUENOS AIRES", "America/Argentina/Buenos_Aires"),
        ("sweden", "Europe/Berlin"),
        ("jp", "Asia/Tokyo"),
    ],
)
async def test_the_database_searches(database_client, word, zone):
    """City, country and country code find the zone in any case."""
    found = (await database_client.get("/zones", params={"q": word})).json()["zones"]
    assert zone in [each["zone"] for each in found]


@pytest.mark.asyncio
@pytest.mark.parametrize("word", ["%", "!", "' OR 1=1 --"])
async def test_signs_of_sql_are_only_signs(database_client, word):
    """What means something to SQL finds nothing."""
    assert [] == (await database_client.get("/zones", params={"q": word})).json()["zones"]


@pytest.mark.asyncio
async def test_the_database_lists_countries(database_client):
    """All countries come by name."""
    countries = (await database_client.get("/countries")).json()["countries"]
    assert {"code": "AF", "name": "Afghanistan"} == countries[0]


def test_backend_v1_tells_the_time(backend_of):
    """Local time, offset, daylight saving, country, and no sun."""
    told = backend_of("v1").get("/cities/Europe/Berlin").json
    assert "2024-07-01T14:00:00.000+02:00" == told["time"]
    assert ("+02:00", 7200, True, "CEST") == tuple(
        told[key] for key in ("offset", "offset_seconds", "dst", "abbreviation")
    )
    assert "Germany" == told["country"]["name"]
    assert "sun" not in told
    assert "backend-test" == told["served_by"]["instance"]
    assert "database-test" == told["database"]["instance"]


def test_backend_v2_tells_the_sun(backend_of):
    """v2 adds sunrise and sunset in local time, and the length of the day."""
    sun = backend_of("v2").get("/cities/Europe/Berlin").json["sun"]
    assert sun["sunrise"].startswith("2024-07-01T04:")
    assert sun["sunset"].startswith("2024-07-01T21:")
    assert 16 * 3600 < sun["day_length_seconds"] < 17 * 3600


def test_backend_v2_knows_polar_night(backend_of):
    """Where the sun does not rise there is no sunrise."""
    sun = backend_of("v2").get("/cities/Antarctica/Troll").json["sun"]
    assert (None, None, 0, "night") == (
        sun["sunrise"],
        sun["sunset"],
        sun["day_length_seconds"],
        sun["polar"],
    )


@pytest.mark.parametrize(
    ("zone", "offset", "dst"),
    [
        ("Europe/Dublin", "+01:00", True),
        ("Asia/Kathmandu", "+05:45", False),
        ("America/St_Johns", "-02:30", True),
        ("Australia/Sydney", "+10:00", False),
        ("Australia/Lord_Howe", "+10:30", False),
    ],
)
def test_clocks_of_the_world(backend_of, zone, offset, dst):
    """Odd offsets, the southern winter, and Ireland, whose law has it the other way round."""
    told = backend_of().get(f"/cities/{zone}").json
    assert (offset, dst) == (told["offset"], told["dst"])


def test_the_backend_does_not_know_atlantis(backend_of):
    """An unknown city is 404, with the database's own sentence."""
    response = backend_of().get("/cities/Europe/Atlantis")
    assert (404, "no Europe/Atlantis") == (response.status_code, response.json["error"])


def test_the_backend_searches(backend_of):
    """A search lists cities without their clocks."""
    cities = backend_of().get("/cities?q=kathmandu").json["cities"]
    assert ["Asia/Kathmandu"] == [city["zone"] for city in cities]
    assert "time" not in cities[0]


def _raise(error):
    raise error


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (lambda _: httpx.Response(500), 502),
        (lambda _: _raise(httpx.ConnectError("refused")), 502),
        (lambda _: _raise(httpx.ReadTimeout("slow")), 504),
    ],
)
def test_a_broken_database_is_told_apart(backend_of, answer, status):
    """A failing or unreachable database is 502, a slow one 504, with JSON each."""
    response = backend_of(answer=answer).get("/cities/Europe/Berlin")
    assert status == response.status_code
    assert "database" in response.json["error"]


class Chance:
    """A generator that says what it is told to say."""

    def __init__(self, *values):
        self._values = iter(values)

    def random(self):
        return next(self._values)

    def randrange(self, stop):
        return stop - 1


def test_the_faulty_backend_fails_and_stalls(backend_of):
    """It stands still for as long as it says, and then fails with a status that says so."""
    stalls = []
    faults = Faults(fail_rate=0.5, stall_rate=0.5, stall_seconds=3.0)
    client = backend_of(faults=faults, rng=Chance(0.1, 0.4, 0.9, 0.9), sleep=stalls.append)
    failed, served = client.get("/cities/Asia/Tokyo"), client.get("/cities/Asia/Tokyo")
    assert (503, 200) == (failed.status_code, served.status_code)
    assert "--faulty" in failed.json["error"]
    assert [3.0, 0.0] == stalls


@pytest.fixture
def frontend_of(about):
    """An async client of the real frontend, over any answer of the backend."""

    def make(answer):
        behind = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        app = frontend.create_app(behind, about("frontend"))
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge")

    return make


@pytest.mark.asyncio
async def test_the_page_may_load_nothing_from_elsewhere(frontend_of):
    """The page, its style and its script come from here, under a policy that allows only that."""
    client = frontend_of(lambda _: httpx.Response(200, json={}))
    page = await client.get("/")
    assert "World clock" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    assert "http://" not in page.text.replace("http://www.w3.org/2000/svg", "")
    for path, media in (("/page.css", "text/css"), ("/page.js", "text/javascript")):
        assert (await client.get(path)).headers["content-type"].startswith(media)


@pytest.mark.asyncio
async def test_all_cities_come_in_order_even_when_some_fail(frontend_of):
    """A city without an answer is told as such, in its place, and the others stand."""

    def answer(request):
        if request.url.path.endswith("Berlin"):
            return httpx.Response(500, json={"error": "broken", "served_by": {}})
        if request.url.path.endswith("Tokyo"):
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json={"zone": request.url.path.removeprefix("/cities/")})

    told = (await frontend_of(answer).get("/api/cities")).json()["cities"]
    by_zone = {city["zone"]: city for city in told}
    assert list(frontend.CITIES) == [city["zone"] for city in told]
    assert (500, "broken") == (
        by_zone["Europe/Berlin"]["status"],
        by_zone["Europe/Berlin"]["error"],
    )
    assert 502 == by_zone["Asia/Tokyo"]["status"]
    assert "error" not in by_zone["Europe/London"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (lambda _: httpx.Response(200, json={"zone": "Asia/Tokyo"}), 200),
        (lambda _: httpx.Response(404, json={"error": "no"}), 404),
        (lambda _: httpx.Response(503, text="<html>"), 502),
        (lambda _: _raise(httpx.ReadTimeout("slow")), 504),
        (lambda _: _raise(httpx.ConnectError("refused")), 502),
    ],
)
async def test_one_city_has_the_status_of_its_answer(frontend_of, answer, status):
    """Statuses pass through; what is no answer becomes 502 or 504."""
    response = await frontend_of(answer).get("/api/cities/Asia/Tokyo")
    assert status == response.status_code
    assert "frontend-test" == response.json()["frontend"]["instance"]
    assert (status != 200) == ("error" in response.json())


@pytest.mark.asyncio
async def test_a_search_shows_so_many_cities_and_says_how_many_there_are(frontend_of):
    """Of many found the first few are asked about."""
    found = [{"zone": f"Area/City_{number}"} for number in range(30)]

    def answer(request):
        if request.url.path == "/cities":
            return httpx.Response(200, json={"cities": found})
        return httpx.Response(200, json={"zone": request.url.path.removeprefix("/cities/")})

    told = (await frontend_of(answer).get("/api/search", params={"q": "city"})).json()
    assert (frontend.MOST_FOUND, 30) == (len(told["cities"]), told["found"])


@pytest.mark.asyncio
async def test_a_search_without_a_backend_says_so(frontend_of):
    """The error of the search is told beside an empty list."""
    response = await frontend_of(lambda _: httpx.Response(503, json={"error": "no"})).get(
        "/api/search"
    )
    assert (503, [], "no") == (
        response.status_code,
        response.json()["cities"],
        response.json()["error"],
    )


def test_every_city_of_the_page_exists():
    """The page asks for no zone that the tables do not have."""
    assert set() == set(frontend.CITIES) - {zone.name for zone in load_zones()}
