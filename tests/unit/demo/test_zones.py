from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib.demo.zones import (
    Coordinates,
    Zone,
    clock_of,
    load_countries,
    load_zones,
    parse_coordinates,
    parse_countries,
    parse_zones,
)

ROWS = """\
# a comment
DE,DK,NO,SE,SJ\t+5230+01322\tEurope/Berlin\tmost of Germany

US\t+404251-0740023\tAmerica/New_York\tEastern (most areas)
AR\t-3436-05827\tAmerica/Argentina/Buenos_Aires
""".splitlines()


@pytest.mark.parametrize(
    ("text", "latitude", "longitude"),
    [
        ("+5230+01322", 52.5, 13 + 22 / 60),
        ("-3436-05827", -(34 + 36 / 60), -(58 + 27 / 60)),
        ("+404251-0740023", 40 + 42 / 60 + 51 / 3600, -(74 + 23 / 3600)),
        ("+0000+00000", 0.0, 0.0),
        ("-9000+18000", -90.0, 180.0),
        ("+900000-1800000", 90.0, -180.0),
    ],
)
def test_coordinates_are_read(text, latitude, longitude):
    """Both forms of the table become degrees, south and west negative."""
    expected = Coordinates(pytest.approx(latitude, abs=1e-12), pytest.approx(longitude, abs=1e-12))
    assert expected == parse_coordinates(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5230+01322",
        "+5230 +01322",
        "+5230+0132",
        "+523000+01322",
        "+5230+0132200",
        "+5260+01322",
        "+523060+0132200",
        "+9001+01322",
        "+5230+18001",
        "+5230+01322 ",
        "+\N{ARABIC-INDIC DIGIT FIVE}230+01322",
    ],
)
def test_what_is_not_a_coordinate_is_refused(text):
    """Mixed forms, missing signs and angles beyond the poles raise ValueError."""
    with pytest.raises(ValueError, match="is not"):
        parse_coordinates(text)


@given(
    st.tuples(st.sampled_from("+-"), st.integers(0, 90 * 3600)),
    st.tuples(st.sampled_from("+-"), st.integers(0, 180 * 3600)),
)
def test_coordinates_are_exact_to_the_second(latitude, longitude):
    """Whole arc seconds go in and come out again without a rounding error."""
    (ns, lat), (ew, lon) = latitude, longitude
    text = (
        f"{ns}{lat // 3600:02}{lat // 60 % 60:02}{lat % 60:02}"
        f"{ew}{lon // 3600:03}{lon // 60 % 60:02}{lon % 60:02}"
    )
    place = parse_coordinates(text)
    assert lat == round(abs(place.latitude) * 3600, 6)
    assert lon == round(abs(place.longitude) * 3600, 6)
    assert (ns == "-" and lat > 0) == (place.latitude < 0)
    assert (ew == "-" and lon > 0) == (place.longitude < 0)


def test_rows_are_read():
    """Comments and empty lines are no rows; the comment column may be missing."""
    berlin, _, buenos_aires = parse_zones(ROWS)
    assert ("DE", "DK", "NO", "SE", "SJ") == berlin.countries
    assert "most of Germany" == berlin.comment
    assert "" == buenos_aires.comment
    assert ("America", "Buenos Aires") == (buenos_aires.region, buenos_aires.city)


def test_countries_are_read():
    """Codes lead to names."""
    assert {"DE": "Germany"} == parse_countries(["#code\tname", "DE\tGermany"])


def test_every_zone_of_the_package_has_a_known_country_and_rules():
    """The installed tables agree with one another, whatever their release."""
    zones, countries = load_zones(), load_countries()
    assert len(zones) > 300
    assert set() == {code for zone in zones for code in zone.countries} - countries.keys()
    assert [zone.name for zone in zones] == [clock_of(zone.name).key for zone in zones]


def test_rules_of_an_unknown_zone_are_an_error():
    """A name that is not in the package raises FileNotFoundError."""
    with pytest.raises(FileNotFoundError):
        clock_of("Europe/Atlantis")


def test_a_zone_without_an_underscore_keeps_its_name():
    """`UTC` is its own region and its own city."""
    zone = Zone("UTC", (), Coordinates(0, 0))
    assert ("UTC", "UTC") == (zone.region, zone.city)
