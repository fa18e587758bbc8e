from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.demo.sun import sun_times
from meshlib.demo.zones import Coordinates, clock_of, load_zones

TWO_MINUTES = timedelta(minutes=2)
PLACES = {zone.name: zone.coordinates for zone in load_zones()}

PUBLISHED = [
    # timeanddate.com/sun/uk/london, December 2015
    ("Europe/London", "2015-12-01", "07:43", "15:55"),
    ("Europe/London", "2015-12-12", "07:56", "15:51"),
    ("Europe/London", "2015-12-25", "08:05", "15:55"),
    # US Naval Observatory's tables and the national almanacs
    ("Europe/Berlin", "2024-06-21", "04:43", "21:33"),
    ("America/New_York", "2024-12-21", "07:17", "16:32"),
    ("Australia/Sydney", "2024-01-01", "05:48", "20:09"),
    ("Asia/Singapore", "2024-03-20", "07:08", "19:15"),
]


@pytest.mark.parametrize(("zone", "day", "sunrise", "sunset"), PUBLISHED)
def test_published_times_are_met(zone, day, sunrise, sunset):
    """Sunrise and sunset are within two minutes of the published local times."""
    rules = clock_of(zone)
    times = sun_times(PLACES[zone], date.fromisoformat(day), rules)
    for told, computed in ((sunrise, times.sunrise), (sunset, times.sunset)):
        expected = datetime.fromisoformat(f"{day}T{told}").replace(tzinfo=rules)
        assert abs(computed - expected) <= TWO_MINUTES, (told, computed.astimezone(rules))


def test_the_equation_of_time_has_its_published_extremes():
    """A sundial is 16.4 minutes fast around 3 November, 14.2 slow around 11 February."""
    fast = sun_times(Coordinates(0, 0), date(2024, 11, 3)).noon
    slow = sun_times(Coordinates(0, 0), date(2024, 2, 11)).noon
    assert abs(datetime(2024, 11, 3, 11, 43, 36, tzinfo=UTC) - fast) < timedelta(seconds=20)
    assert abs(datetime(2024, 2, 11, 12, 14, 12, tzinfo=UTC) - slow) < timedelta(seconds=20)


@pytest.mark.parametrize(("day", "polar", "length"), [("06-21", "night", 0), ("12-21", "day", 24)])
def test_beyond_the_polar_circle_the_sun_stays(day, polar, length):
    """Troll in Antarctica has no sunrise at either solstice, and a noon all the same."""
    place, rules = PLACES["Antarctica/Troll"], clock_of("Antarctica/Troll")
    times = sun_times(place, date.fromisoformat(f"2024-{day}"), rules)
    assert (polar, timedelta(hours=length)) == (times.polar, times.day_length)
    assert (None, None) == (times.sunrise, times.sunset)


def test_noon_belongs_to_the_civil_date():
    """On Kiritimati, a day ahead of its sun, noon still falls on the date that was asked for."""
    rules = clock_of("Pacific/Kiritimati")
    times = sun_times(PLACES["Pacific/Kiritimati"], date(2024, 3, 20), rules)
    assert date(2024, 3, 20) == times.noon.astimezone(rules).date()
    assert 12 == times.noon.astimezone(rules).hour


@given(
    st.floats(-89.9, 89.9),
    st.floats(-180, 180),
    st.dates(date(1970, 1, 1), date(2100, 12, 31)),
)
def test_the_sun_behaves(latitude, longitude, day):
    """Everywhere and always: sunrise, noon, sunset in this order, or a polar day or night."""
    times = sun_times(Coordinates(latitude, longitude), day)
    if times.polar:
        assert times.day_length in {timedelta(0), timedelta(hours=24)}
        assert abs(latitude) > 60
    else:
        assert times.sunrise <= times.noon <= times.sunset
        assert times.day_length <= timedelta(hours=24)
