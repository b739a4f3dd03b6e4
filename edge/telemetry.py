"""What a site tells the cloud by the way: how busy its agents are, how far their work is. Of the moment, never events."""

from itertools import islice

import msgspec

from edge.cache import ResultCache
from edge.coordinating.seeker import Negotiation
from edge.executor import Executor
from edge.roster import Roster, Slot
from edge.vigil import Report
from sync.values import Now
from tiercel.v1 import sync_pb2

NEGOTIATIONS_MAX = 100


def loads_of(executor: Executor, now: Now) -> sync_pb2.AgentLoads:
    """How busy the site is now."""
    coordinating = executor.dispatch.coordinating
    return sync_pb2.AgentLoads(
        agents=[_load(executor.roster, slot) for _, slot in sorted(executor.roster.slots.items())],
        ready=executor.ready_tasks(),
        running=sum(len(s.held) for s in executor.roster.slots.values()),
        cache=_cache_load(executor.cache),
        negotiations=map(_negotiation, islice(coordinating.negotiations(now), NEGOTIATIONS_MAX)) if coordinating.sought else (),
        refused=coordinating.refused(),
    )


def _negotiation(told: Negotiation) -> sync_pb2.Negotiation:
    return sync_pb2.Negotiation(
        run=told.run,
        task=told.task,
        protocol=told.protocol,
        phase=told.phase,
        why=told.why,
        round=told.round,
        since_ms=told.since,
        until_ms=told.until,
        invited=told.invited,
        given=msgspec.json.encode(told.given) if told.given else b"",
    )


def _cache_load(cache: ResultCache) -> sync_pb2.CacheLoad:
    return sync_pb2.CacheLoad(entries=len(cache.entries), bytes=cache.held_bytes, hits=cache.hits, misses=cache.misses)


def report_of(run: str, task: int, report: Report) -> sync_pb2.TaskReport:
    attempt, fraction, note, at_ms = report
    return sync_pb2.TaskReport(run=run, task=task, attempt=attempt, fraction=fraction, note=note, at_ms=at_ms)


def _load(roster: Roster, slot: Slot) -> sync_pb2.AgentLoad:
    health, until_ms = roster.health.view(slot.agent)
    health = "" if health == "ok" else health  # Nearly always, so it costs nothing on the wire.
    return sync_pb2.AgentLoad(agent=slot.agent, running=len(slot.held), health=health, open_until_ms=until_ms)
