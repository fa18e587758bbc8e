"""A zone's row and a moment in, what the clock and the sun say there out.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from meshlib.demo.sun import sun_times
from meshlib.demo.zones import Coordinates, clock_of


def city(zone: Mapping[str, Any], moment: datetime, *, sun: bool) -> dict[str, Any]:
    """What the backend answers about one zone of the database at an aware `moment`."""
    rules = clock_of(zone["zone"])
    local = moment.astimezone(rules)
    offset = local.utcoffset() or timedelta(0)
    told = {
        **found(zone),
        "time": local.isoformat(timespec="milliseconds"),
        "abbreviation": local.tzname(),
        "offset": _signed(offset),
        "offset_seconds": int(offset.total_seconds()),
        "dst": _daylight_saving(local),
    }
    if sun:
        told["sun"] = _sun(Coordinates(**zone["coordinates"]), local.date(), rules)
    return told


def found(zone: Mapping[str, Any]) -> dict[str, Any]:
    """The part that does not change with the clock."""
    return {
        "zone": zone["zone"],
        "city": zone["city"],
        "region": zone["region"],
        "country": zone["countries"][0],
        "countries": zone["countries"],
        "coordinates": zone["coordinates"],
    }


def _sun(place: Coordinates, day: date, rules: ZoneInfo) -> dict[str, Any]:
    times = sun_times(place, day, rules)

    def local(moment: datetime | None) -> str | None:
        return moment.astimezone(rules).isoformat(timespec="seconds") if moment else None

    return {
        "sunrise": local(times.sunrise),
        "noon": local(times.noon),
        "sunset": local(times.sunset),
        "day_length_seconds": round(times.day_length.total_seconds()),
        "polar": times.polar,
    }


def _daylight_saving(local: datetime) -> bool:
    """Whether the clocks are ahead of the year's other season.

    The flag in the tz database alone says otherwise for Ireland, whose law calls summer time the
    standard and winter time the exception.
    """
    seasons = [local.replace(month=month, day=1) for month in (1, 7)]
    behind = min(seasons, key=lambda season: season.utcoffset() or timedelta(0))
    ahead = (local.utcoffset() or timedelta(0)) > (behind.utcoffset() or timedelta(0))
    return ahead and local.dst() != behind.dst()


def _signed(offset: timedelta) -> str:
    """`+05:30`; whole minutes, as all offsets in use today are."""
    minutes = round(offset.total_seconds() / 60)
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"
