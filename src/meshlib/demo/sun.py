"""
Sunrise, solar noon and sunset.

The equations are those of NOAA's solar calculator (https://gml.noaa.gov/grad/solcalc/, "General
Solar Position Calculations" and the spreadsheets beside them), after Jean Meeus, *Astronomical
Algorithms*, 2nd edition, chapters 25 and 28.  NOAA states an accuracy of a minute up to 72
degrees of latitude and of ten minutes beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from math import acos, asin, cos, degrees, radians, sin, tan

from meshlib.demo.zones import Coordinates

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)
_DAYS_PER_CENTURY = 36525
_ZENITH = radians(90.833)
"""The sun's centre at rising: half a degree of disc and of refraction below the horizon (NOAA)."""


@dataclass(frozen=True, slots=True)
class SunTimes:
    """One day's sun, in UTC; without sunrise and sunset when it stays up, or down, all day."""

    noon: datetime
    sunrise: datetime | None
    sunset: datetime | None
    day_length: timedelta

    @property
    def polar(self) -> str:
        """`day`, `night`, or the empty string when the sun rises and sets."""
        if self.sunrise is not None:
            return ""
        return "day" if self.day_length else "night"


def sun_times(place: Coordinates, day: date, zone: tzinfo = UTC) -> SunTimes:
    """The sun of the solar day whose noon falls on the civil date `day` in `zone`."""
    noon = _noon(place, day)
    # Kiritimati's clocks are a day ahead of its sun: a civil date is not always the solar one.
    noon = _noon(place, day + (day - noon.astimezone(zone).date()))
    half = _half_day(place, noon)
    if half is None or half >= timedelta(hours=12):
        return SunTimes(noon, None, None, timedelta(hours=24) if half else timedelta(0))
    sunrise, sunset = _crossing(place, noon, -1), _crossing(place, noon, +1)
    return SunTimes(noon, sunrise, sunset, sunset - sunrise)


def _noon(place: Coordinates, day: date) -> datetime:
    """When the sun crosses the meridian; once more with the equation of time of that moment."""
    mean = datetime.combine(day, time(12), UTC) - timedelta(minutes=4 * place.longitude)
    rough = mean - _equation_of_time(mean)
    return mean - _equation_of_time(rough)


def _crossing(place: Coordinates, noon: datetime, side: int) -> datetime:
    """When the sun is at the horizon, `side` -1 for rising; repeated with that moment's sun."""
    moment = noon
    for _ in range(3):
        half = _half_day(place, moment) or timedelta(0)
        moment = noon + side * min(half, timedelta(hours=12))
    return moment


def _half_day(place: Coordinates, moment: datetime) -> timedelta | None:
    """Half the day's length with the sun of `moment`; 12 h in polar day, None in polar night."""
    latitude, declination = radians(place.latitude), _declination(_century(moment))
    cosine = cos(_ZENITH) / (cos(latitude) * cos(declination)) - tan(latitude) * tan(declination)
    if cosine > 1:
        return None
    return timedelta(hours=degrees(acos(max(cosine, -1.0))) / 15)


def _century(moment: datetime) -> float:
    return (moment - _J2000) / timedelta(days=_DAYS_PER_CENTURY)


def _mean_longitude(t: float) -> float:
    return radians((280.46646 + t * (36000.76983 + t * 0.0003032)) % 360)


def _mean_anomaly(t: float) -> float:
    return radians(357.52911 + t * (35999.05029 - 0.0001537 * t))


def _obliquity(t: float) -> float:
    seconds = 21.448 - t * (46.815 + t * (0.00059 - t * 0.001813))
    return radians(23 + (26 + seconds / 60) / 60 + 0.00256 * cos(_node(t)))


def _node(t: float) -> float:
    return radians(125.04 - 1934.136 * t)


def _apparent_longitude(t: float) -> float:
    m = _mean_anomaly(t)
    centre = (
        sin(m) * (1.914602 - t * (0.004817 + 0.000014 * t))
        + sin(2 * m) * (0.019993 - 0.000101 * t)
        + sin(3 * m) * 0.000289
    )
    return _mean_longitude(t) + radians(centre - 0.00569 - 0.00478 * sin(_node(t)))


def _declination(t: float) -> float:
    return asin(sin(_obliquity(t)) * sin(_apparent_longitude(t)))


def _equation_of_time(moment: datetime) -> timedelta:
    """How far a sundial is ahead of the clock."""
    t = _century(moment)
    eccentricity = 0.016708634 - t * (0.000042037 + 0.0000001267 * t)
    y, longitude, m = tan(_obliquity(t) / 2) ** 2, _mean_longitude(t), _mean_anomaly(t)
    angle = (
        y * sin(2 * longitude)
        - 2 * eccentricity * sin(m)
        + 4 * eccentricity * y * sin(m) * cos(2 * longitude)
        - 0.5 * y * y * sin(4 * longitude)
        - 1.25 * eccentricity * eccentricity * sin(2 * m)
    )
    return timedelta(minutes=4 * degrees(angle))
