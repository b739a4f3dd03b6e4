"""What the logs of a stopped system tell about attempts: when each was in an agent's hands. Read offline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync.clock import wall_ms
from sync.commit import Row
from sync.log import EventLog
from sync.values import NodeId, stream_writer
from tests.e2e.children import Kill
from workflow.events import TaskAssigned, TaskCancelled, TaskCompleted, TaskFailed, TaskLost, decode


@dataclass(slots=True)
class Held:
    """One attempt: in the agent's hands from `begin_ms` to `end_ms` (UTC), as its site saw it."""

    site: str
    run: str
    task: int
    attempt: int
    agent: str
    begin_ms: int
    end_ms: int = 2**62
    ended: str = ""
    output: bytes = b""

    def was_held_at(self, kill: Kill) -> bool:
        """May the kill have met it?"""
        return self.begin_ms <= kill.after_ms and self.end_ms >= kill.before_ms


def rows_of(path: Path, node: str) -> list[Row]:
    """All events that the log holds, its own and those of others, in the order of the log."""
    log = EventLog.open(path, NodeId(node))
    try:
        return [row for rows in log.read(lambda reader: list(reader.pages(0))).result() for row in rows]
    finally:
        log.close()


def attempts_of(path: Path, site: str) -> list[Held]:
    """Every attempt at a site."""
    held: dict[tuple[str, int], Held] = {}
    attempts: list[Held] = []
    for row in rows_of(path, site):
        if stream_writer(row.stream) != site:
            continue
        event: Any = decode(row.kind, row.payload)
        match event:
            case TaskAssigned(task, attempt, agent):
                held[row.run, task] = Held(site, row.run, task, attempt, agent, wall_ms(row.time))
                attempts.append(held[row.run, task])
            case TaskCompleted(task) | TaskFailed(task) | TaskLost(task) | TaskCancelled(task):
                if (known := held.pop((row.run, task), None)) is not None:
                    known.end_ms, known.ended = wall_ms(row.time), row.kind
                    known.output = getattr(event, "output", b"")
            case _:
                pass
    return attempts


def met(attempts: Sequence[Held], kills: Iterable[Kill]) -> dict[Kill, list[Held]]:
    """The attempts that were running at each kill: at its site, or anywhere if the cloud was killed."""
    return {k: [a for a in attempts if k.site in ("", a.site) and a.was_held_at(k)] for k in kills}
