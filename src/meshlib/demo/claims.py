"""
What `meshlib demo --once` claims, and what would prove it wrong.

Every claim is judged here, from evidence collected elsewhere, by a pure function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from meshlib.demo.chance import LEAST_P, chi_square, survival

Evidence: TypeAlias = Mapping[str, Any]

SERVICES = frozenset({"frontend", "backend", "database"})


class Counts(Protocol):
    """What a load saw."""

    requests: int
    failures: int
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence about the mesh, whether it held, and why one may believe it."""

    name: str
    says: str
    holds: bool
    evidence: Evidence = field(default_factory=dict)

    def said(self) -> dict[str, Any]:
        """As it stands in the JSON of `--once`."""
        return {"holds": self.holds, "says": self.says, **self.evidence}


def split(name: str, weights: Mapping[str, float], seen: Mapping[str, int]) -> Claim:
    """Calls were split as the percentages say.  `seen` is requests by version."""
    statistic = chi_square(seen, {version: share / 100 for version, share in weights.items()})
    chance, total = survival(statistic), sum(seen.values())
    set_to = "/".join(f"{share:g}" for share in weights.values())
    shares = {v: round(100 * seen.get(v, 0) / total, 2) if total else 0.0 for v in weights}
    got = "/".join(f"{share:g}" for share in shares.values())
    return Claim(
        name,
        f"a split set to {set_to} was seen as {got} in {total} requests (p = {chance:.3f})",
        holds=total > 0 and chance > LEAST_P,
        evidence={"set": dict(weights), "seen": dict(seen), "percent": shares, "p": chance},
    )


def refused(name: str, who: str, received: Mapping[str, int], member: Mapping[str, int]) -> Claim:
    """A stranger got nothing where a member of the mesh got an answer.

    Both are application bytes by instance of the backend.
    """
    total = sum(received.values())
    asked = bool(received) and received.keys() == member.keys() and all(member.values())
    return Claim(
        name,
        f"{who} got {total} bytes of answer from {len(received)} instances of backend"
        + ("" if asked else ", and a member of the mesh got none either"),
        holds=asked and total == 0,
        evidence={"bytes": total, "by_instance": dict(received), "member_bytes": dict(member)},
    )


def survived_kill(victim: str, code: int, served: int, after: int, counts: Counts) -> Claim:
    """`kill -9` of an instance that was at work cost no request; more were sent afterwards."""
    sentence = f"kill -9 of {victim}, which had answered {served}, cost {_cost(counts)}"
    return Claim(
        "kill_9",
        sentence + _unless({"it was not killed": code == -9, **_at_work(served, after)}),
        holds=counts.failures == 0 and code == -9 and served > 0 and after > 0,
        evidence=_under_load(victim, code, served, after, counts),
    )


def survived_drain(victim: str, code: int, served: int, after: int, counts: Counts) -> Claim:
    """SIGTERM of an instance that was at work cost no request, and it left by itself."""
    sentence = f"SIGTERM of {victim}, which had answered {served}, cost {_cost(counts)}"
    return Claim(
        "drain",
        sentence + _unless({f"it left with code {code}": code == 0, **_at_work(served, after)}),
        holds=counts.failures == 0 and code == 0 and served > 0 and after > 0,
        evidence=_under_load(victim, code, served, after, counts),
    )


def survived_agent(code: int, after: int, newcomer: int, counts: Counts) -> Claim:
    """`kill -9` of the Consul agent cost no request, and the mesh learned anew when it was back.

    `after` is requests while it was gone, `newcomer` those that an instance answered which was
    started after its return.
    """
    sentence = f"kill -9 of the Consul agent cost {_cost(counts)}, {after} of them without it"
    reasons = {
        "it was not killed": code == -9,
        "nothing was asked while it was gone": after > 0,
        "nobody found what was registered afterwards": newcomer > 0,
    }
    return Claim(
        "consul_kill_9",
        sentence + _unless(reasons),
        holds=counts.failures == 0 and all(reasons.values()),
        evidence={
            "exit_code": code,
            "requests": counts.requests,
            "requests_without_it": after,
            "answered_by_a_newcomer": newcomer,
            "failures": counts.failures,
            "problems": counts.problems,
        },
    )


def one_trace(trace_id: str, spans: Sequence[Mapping[str, Any]]) -> Claim:
    """One request made one trace: one root, every other span has its parent in it, all services."""
    known = {span["span_id"] for span in spans}
    roots = [span["name"] for span in spans if not span["parent_id"]]
    lost = [span["name"] for span in spans if span["parent_id"] and span["parent_id"] not in known]
    services = sorted({span["service"] for span in spans})
    joined = bool(trace_id) and len(roots) == 1 and not lost
    return Claim(
        "one_trace",
        f"one request made {len(roots)} trace(s) with {len(spans)} spans of"
        f" {len(services)} services" + (f"; without a parent: {', '.join(lost)}" if lost else ""),
        holds=joined and set(services) >= SERVICES,
        evidence={"trace_id": trace_id, "services": services, "spans": [_named(s) for s in spans]},
    )


def nothing_failed(counts: Counts) -> Claim:
    """No request of the whole story failed."""
    return Claim(
        "no_failures",
        f"the whole story cost {_cost(counts)}",
        holds=counts.requests > 0 and counts.failures == 0,
        evidence={"requests": counts.requests, "failures": counts.failures},
    )


def summary(claims: Sequence[Claim], counts: Counts, seconds: float) -> dict[str, Any]:
    """The JSON object that `--once` ends with."""
    return {
        "ok": bool(claims) and all(claim.holds for claim in claims),
        "total": {"requests": counts.requests, "failures": counts.failures},
        "seconds": round(seconds, 1),
        "claims": {claim.name: claim.said() for claim in claims},
    }


def _cost(counts: Counts) -> str:
    first = f" (the first: {counts.problems[0]})" if counts.problems else ""
    return f"{counts.failures} failures in {counts.requests} requests{first}"


def _at_work(served: int, after: int) -> dict[str, bool]:
    return {
        "it had not been at work": served > 0,
        "nothing was asked after it had gone": after > 0,
    }


def _unless(reasons: Mapping[str, bool]) -> str:
    return "".join(f", but {reason}" for reason, fine in reasons.items() if not fine)


def _under_load(victim: str, code: int, served: int, after: int, counts: Counts) -> Evidence:
    return {
        "instance": victim,
        "exit_code": code,
        "answered_before": served,
        "requests_after": after,
        "requests": counts.requests,
        "failures": counts.failures,
        "problems": counts.problems,
    }


def _named(span: Mapping[str, Any]) -> str:
    return f"{span['service']}: {span['kind']} {span['name']}"
