"""What a site tells the cloud by the way: how busy its agents are, how far their work is. Of the moment, never events."""

from itertools import islice

import msgspec

from coordination.presence import Change
from edge.cache import ResultCache
from edge.coordinating.seeker import Negotiation
from edge.executor import Executor
from edge.presence import seen_of
from edge.roster import Roster, Slot
from edge.vigil import Report
from sync.values import Now
from tiercel.v1 import sync_pb2

NEGOTIATIONS_MAX = 100
SEEN_EVERY_MS = 10_000
"""How often it is told when agents were last seen, if nothing else has changed."""


def loads_of(executor: Executor, now: Now) -> sync_pb2.AgentLoads:
    """How busy the site is now."""
    coordinating = executor.dispatch.coordinating
    return sync_pb2.AgentLoads(
        agents=_loads(executor.roster, now),
        ready=executor.ready_tasks(),
        running=sum(len(s.held) for s in executor.roster.slots.values()),
        cache=_cache_load(executor.cache),
        negotiations=map(_negotiation, islice(coordinating.negotiations(now), NEGOTIATIONS_MAX))
        if coordinating.sought or coordinating.home.polls.open
        else (),
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


def _loads(roster: Roster, now: Now) -> list[sync_pb2.AgentLoad]:
    presences = roster.presences.look(roster, now)
    return [_load(roster, slot, presences[name].changes[-1], now) for name, slot in sorted(roster.slots.items())]


def _load(roster: Roster, slot: Slot, present: Change, now: Now) -> sync_pb2.AgentLoad:
    health, until_ms = roster.health.view(slot.agent)
    health = "" if health == "ok" else health  # Nearly always, so it costs nothing on the wire.
    seen = seen_of(roster, slot, now)
    return sync_pb2.AgentLoad(
        agent=slot.agent,
        running=len(slot.held),
        health=health,
        open_until_ms=until_ms,
        state=present.state,
        since_ms=present.at_ms,
        why=present.why,
        seen_ms=seen.at_ms,
        lease_ms=seen.lease_ms,
        epoch=seen.epoch,
        load=slot.load(),
    )


class Telling:
    """What the cloud was told last. When agents were seen changes all the time: that alone is told now and then."""

    def __init__(self) -> None:
        self._told, self._at_ms = b"", 0

    def forget(self) -> None:
        """The peer may have forgotten it."""
        self._told = b""

    def news(self, loads: sync_pb2.AgentLoads, now: Now) -> bool:
        """Is there anything that the cloud should be told now?"""
        bare = sync_pb2.AgentLoads()
        bare.CopyFrom(loads)
        for load in bare.agents:
            load.seen_ms = load.lease_ms = 0
        encoded = bare.SerializeToString(deterministic=True)
        if encoded == self._told and now.mono_ms - self._at_ms < SEEN_EVERY_MS:
            return False
        self._told, self._at_ms = encoded, now.mono_ms
        return True
