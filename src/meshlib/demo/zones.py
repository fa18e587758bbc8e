"""
The IANA time-zone tables, read out of the PyPI package `tzdata`.

`zone1970.tab` has one row for every region whose clocks have agreed since 1970: the countries it
overlaps, the coordinates of its principal location, its name and a comment.  `iso3166.tab` names
the countries.  Both formats are described in the comments at the top of the files.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from zoneinfo import ZoneInfo

_ISO_6709 = re.compile(
    r"(?P<ns>[+-])(?P<lat>\d{4}|\d{6})(?P<ew>[+-])(?P<lon>\d{5}|\d{7})", re.ASCII
)
_SECONDS_PER_DEGREE = 3600


@dataclass(frozen=True, slots=True)
class Coordinates:
    """A place on Earth in degrees: north and east are positive."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Zone:
    """One row of `zone1970.tab`."""

    name: str
    """The name in the tz database, such as `Europe/Berlin`."""
    countries: tuple[str, ...]
    """ISO 3166 codes; the country of the principal location first."""
    coordinates: Coordinates
    comment: str = ""

    @property
    def region(self) -> str:
        """The first part of the name: `Europe`."""
        return self.name.partition("/")[0]

    @property
    def city(self) -> str:
        """The last part of the name, as people write it: `Buenos Aires`."""
        return self.name.rpartition("/")[2].replace("_", " ")


def parse_coordinates(text: str) -> Coordinates:
    """Read ISO 6709 as the tables write it: `±DDMM±DDDMM` or `±DDMMSS±DDDMMSS`.

    Raises ValueError for anything else, places beyond the poles or the date line included.
    """
    match = _ISO_6709.fullmatch(text)
    if match is None or len(match["lon"]) != len(match["lat"]) + 1:
        message = f"{text!r} is not ISO 6709: expected ±DDMM±DDDMM or ±DDMMSS±DDDMMSS"
        raise ValueError(message)
    latitude = _degrees(match["ns"], match["lat"], width=2, most=90)
    longitude = _degrees(match["ew"], match["lon"], width=3, most=180)
    return Coordinates(latitude, longitude)


def _degrees(sign: str, digits: str, *, width: int, most: int) -> float:
    degrees, minutes = int(digits[:width]), int(digits[width : width + 2])
    seconds = int(digits[width + 2 :] or "0")
    total = degrees * _SECONDS_PER_DEGREE + minutes * 60 + seconds
    if minutes > 59 or seconds > 59 or total > most * _SECONDS_PER_DEGREE:
        message = f"{sign}{digits} is not an angle of at most {most} degrees"
        raise ValueError(message)
    return (-total if sign == "-" else total) / _SECONDS_PER_DEGREE


def parse_zones(lines: Iterable[str]) -> Iterator[Zone]:
    """Read the rows of `zone1970.tab`.  Raises ValueError for a row with too few columns."""
    for columns in _rows(lines):
        codes, coordinates, name, *comment = columns
        yield Zone(name, tuple(codes.split(",")), parse_coordinates(coordinates), *comment)


def parse_countries(lines: Iterable[str]) -> dict[str, str]:
    """Read `iso3166.tab`: country names by ISO 3166 code."""
    return {code: name for code, name in _rows(lines)}  # noqa: C416 - says what the columns are


def _rows(lines: Iterable[str]) -> Iterator[list[str]]:
    for line in lines:
        if line.strip() and not line.startswith("#"):
            yield line.rstrip("\n").split("\t")


@functools.cache
def load_zones() -> tuple[Zone, ...]:
    """All zones of the installed `tzdata`, in the order of its table."""
    return tuple(parse_zones(_table("zone1970.tab")))


@functools.cache
def load_countries() -> dict[str, str]:
    """All countries of the installed `tzdata`: names by code."""
    return parse_countries(_table("iso3166.tab"))


@functools.cache
def clock_of(name: str) -> ZoneInfo:
    """The rules of a zone, from the same `tzdata` as the tables and never from the system.

    Raises FileNotFoundError for a name that is not in it.
    """
    source = resources.files("tzdata").joinpath("zoneinfo", *name.split("/"))
    with source.open("rb") as rules:
        return ZoneInfo.from_file(rules, key=name)


def _table(name: str) -> list[str]:
    source = resources.files("tzdata").joinpath("zoneinfo", name)
    return source.read_text(encoding="utf-8").splitlines()
