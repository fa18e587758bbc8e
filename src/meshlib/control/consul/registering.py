"""What an instance looks like to Consul.  Pure; `registrar` sends it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from meshlib.control.registry import Registration

CHECK_NAME = "kept alive by its process (meshlib)"
CRITICAL_FOR = "10m"
"""After which Consul forgets an instance nobody keeps alive: longer than a reboot takes.  Consul's
least is a minute, and it looks every 30 s."""
PASSING, CRITICAL = "passing", "critical"


def check_id(registration: Registration) -> str:
    """The id of the instance's TTL check."""
    return f"meshlib:{registration.id}"


def body(registration: Registration, *, ttl: float, passing: bool) -> dict[str, Any]:
    """For `PUT /v1/agent/service/register`: a Connect-native service with a TTL check.

    Consul decodes strictly, and refuses `Weights.Passing` of 0: an instance that wants no traffic
    is put into maintenance instead.  One that listens on all addresses is found at its node's.
    """
    it, place = registration, registration.locality
    said = {"region": place.region, "zone": place.zone}
    meta = {**it.meta, **{name: value for name, value in said.items() if value}}
    return {
        "ID": it.id,
        "Name": it.service,
        "Address": "" if _everywhere(it.host) else it.host,
        "Port": it.port,
        "Tags": sorted({"meshlib", *(v for k, v in it.meta.items() if k == "version")}),
        "Meta": meta,
        "Weights": {"Passing": max(1, it.weight), "Warning": 1},
        "Connect": {"Native": True},
        "Checks": [
            {
                "CheckID": check_id(it),
                "Name": CHECK_NAME,
                "Notes": _notes(it),
                "TTL": f"{ttl:g}s",
                "Status": PASSING if passing else CRITICAL,
                "DeregisterCriticalServiceAfter": CRITICAL_FOR,
            }
        ],
    }


def _notes(it: Registration) -> str:
    """How it is called: who watches the checks of everybody sees there that this has changed."""
    return f"{it.host}:{it.port}, weight {it.weight}"


def _everywhere(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def health(*, passing: bool, note: str) -> dict[str, str]:
    """For `PUT /v1/agent/check/update/:id`.

    A note that changes by itself wakes no watcher: Consul defers those for minutes.
    """
    return {"Status": PASSING if passing else CRITICAL, "Output": note}
