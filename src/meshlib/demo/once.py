"""
The scripted story of `meshlib demo --once`: it proves what the README says, and ends.

Each step prints what it found and returns claims; the last line is one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping

from meshlib.demo import claims, tracing
from meshlib.demo.agent import Agent
from meshlib.demo.claims import Claim
from meshlib.demo.fleet import Fleet, Member, Program
from meshlib.demo.stage import Options, Stage, staged
from meshlib.demo.strangers import STRANGERS, knock, with_member_certificate
from meshlib.demo.traffic import Tally

SAMPLE = 1000
"""Requests a split is judged by: enough to tell 90 % from 87 % with p < 0.001."""
BEFORE, AFTER = 150, 450
"""Requests before an instance is ended and after it has gone."""
WORKERS = 8
STORY_LIMIT = 100.0
"""Seconds after which the story is given up; it takes some 20."""
CITY = "Europe/Berlin"


async def once(options: Options, fleet_made: Callable[[Fleet], None]) -> int:
    """Play the story; returns the exit code."""
    begun = time.monotonic()
    print("starting five processes, each with an identity of its own", flush=True)
    async with asyncio.timeout(STORY_LIMIT), staged(options, fleet_made) as stage:
        _say(f"ready after {time.monotonic() - begun:.1f} s; page: http://{stage.edge}/")
        found, trace_id = await _play(stage)
        await stage.fleet.close()  # so that every span is written
        found.append(_tell(claims.one_trace(trace_id, tracing.read(stage.home, trace_id))))
        found.append(_tell(claims.nothing_failed(stage.total)))
    result = claims.summary(found, stage.total, time.monotonic() - begun)
    broken = [claim.name for claim in found if not claim.holds]
    print(f"not true: {', '.join(broken)}" if broken else "all of it holds", flush=True)
    print(json.dumps(result), flush=True)
    return 1 if broken else 0


async def _play(stage: Stage) -> tuple[list[Claim], str]:
    """The steps in order; and the id of a trace to look at when all spans are written."""
    found = [await _split(stage, {"v1": 90.0, "v2": 10.0})]
    found += await _strangers(stage)
    trace_id = await _one_request(stage)
    found.append(await _split(stage, {"v1": 50.0, "v2": 50.0}))
    found.append(await _kill(stage, "backend-v1-b"))
    await stage.start(Program("backend", "v1", "backend-v1-c"))
    _say("backend-v1-c took its place")
    found.append(await _drain(stage, "backend-v1-a"))
    if stage.agent is not None:
        found.append(await _without_consul(stage, stage.agent))
    return found, trace_id


async def _split(stage: Stage, weights: Mapping[str, float]) -> Claim:
    await stage.split(weights)
    claim = await _split_seen(stage, weights)
    if not claim.holds:
        _say(f"{claim.says}: what chance does once in a thousand times; a second sample decides")
        claim = await _split_seen(stage, weights)
    return _tell(claim)


async def _split_seen(stage: Stage, weights: Mapping[str, float]) -> Claim:
    tally = Tally()
    async with stage.as_a_member(tally) as load, load.running(WORKERS):
        await tally.reached(SAMPLE)
    name = "_".join(["split", *(f"{share:g}" for share in weights.values())])
    return claims.split(name, weights, tally.versions("backend"))


async def _strangers(stage: Stage) -> list[Claim]:
    """Three who must get nothing, and one who shows that there was something to get."""
    worth_claiming = stage.control.spiffe_id("frontend")
    member = await _knock_all(stage, with_member_certificate(stage.mesh.credentials.value))
    found = []
    for name, (who, context_for) in STRANGERS.items():
        received = await _knock_all(stage, context_for(worth_claiming))
        found.append(_tell(claims.refused(name, who, received, member)))
    return found


async def _knock_all(stage: Stage, context: ssl.SSLContext | None) -> dict[str, int]:
    """Application bytes by instance of the backend."""
    endpoints = stage.endpoints("backend")
    encounters = await asyncio.gather(
        *(asyncio.to_thread(knock, e.address, context, f"/cities/{CITY}") for e in endpoints)
    )
    pairs = zip(endpoints, encounters, strict=True)
    return {endpoint.id: len(encounter.received) for endpoint, encounter in pairs}


async def _one_request(stage: Stage) -> str:
    """The id of the trace that one request through the edge made."""
    async with stage.through_the_edge() as load:
        told = await load.ask(CITY)
    return str(told.get("trace_id", ""))


async def _kill(stage: Stage, instance: str) -> Claim:
    """`kill -9` of the whole process group, workers and all."""

    async def act(victim: Member) -> int:
        victim.kill()
        return await victim.ended()

    return _tell(claims.survived_kill(instance, *await _under_load(stage, instance, act)))


async def _drain(stage: Stage, instance: str) -> Claim:
    """SIGTERM, as an orchestrator would send it."""
    seen = await _under_load(stage, instance, stage.fleet.stop)
    return _tell(claims.survived_drain(instance, *seen))


async def _without_consul(stage: Stage, agent: Agent) -> Claim:
    """`kill -9` of the control plane under load; then it returns, and somebody new comes."""
    tally, newcomer = Tally(), Program("backend", "v1", "backend-v1-d")
    async with (
        stage.as_a_member(tally) as inside,
        stage.through_the_edge(tally) as outside,
        inside.running(WORKERS - 2),
        outside.running(2),
    ):
        await tally.reached(BEFORE)
        code = await agent.kill()
        gone = tally.requests
        await tally.reached(gone + AFTER)
        without = tally.requests - gone
        await agent.start()
        await stage.start(newcomer)
        await tally.reached(tally.requests + AFTER)
    seen = tally.of_instance(newcomer.instance)
    return _tell(claims.survived_agent(code, without, seen, tally))


async def _under_load(
    stage: Stage, instance: str, act: Callable[[Member], Awaitable[int]]
) -> tuple[int, int, int, Tally]:
    """End an instance while requests run, some of them through the edge.

    Returns its exit code, what it had answered, the requests after it had gone, and the counts.
    """
    tally, victim = Tally(), stage.fleet.members[instance]
    async with (
        stage.as_a_member(tally) as inside,
        stage.through_the_edge(tally) as outside,
        inside.running(WORKERS - 2),
        outside.running(2),
    ):
        await tally.reached(BEFORE)
        served = tally.of_instance(instance)
        code = await act(victim)
        gone = tally.requests
        await tally.reached(gone + AFTER)
    return code, served, tally.requests - gone, tally


def _tell(claim: Claim) -> Claim:
    _say(f"{'holds' if claim.holds else 'DOES NOT HOLD'}: {claim.says}")
    return claim


def _say(sentence: str) -> None:
    print(f"  {sentence}", flush=True)
