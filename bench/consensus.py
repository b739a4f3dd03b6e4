"""A group of three processes on one machine: what a commit costs, how many there are in a second, and how long nobody leads when
the leader is killed.

Each process has its own disk directory and syncs it; the commits are made in the process that leads, so what is measured is the
group: its log, its disks, its lines. `failover_ms` is from the kill -9 to the first commit of the next leader. All that was
acknowledged must be in the log of each member in the end, once, at the same place.
"""

import multiprocessing
import os
import signal
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from bench.disk import real_directory, scratch
from bench.errors import BenchFailed
from bench.latency import percentile
from bench.options import Options
from bench.replicas import SITE, run_member
from bench.system import note
from coordination.group.values import GroupConfig
from sync.log import inspect

NAMES = ("a", "b", "c")
SINGLE, WARM_UP = 1_000, 200
IN_FLIGHT = 1_000
LOADED = 200
"""Commits in flight while the leader is killed."""
WAIT_S = 60.0
BETWEEN_KILLS_S = 0.5
LOOK_S = 0.1


@dataclass(slots=True)
class Group:
    """Three members, and what they have said."""

    place: Path
    configs: dict[str, GroupConfig]
    processes: dict[str, SpawnProcess] = field(default_factory=dict)
    pipes: dict[str, Connection] = field(default_factory=dict)
    acked: Counter[tuple[int, int]] = field(default_factory=Counter)
    leader: str = ""
    term: int = 0
    serves_ns: int = 0
    heard: list[tuple[Any, ...]] = field(default_factory=list)

    def start(self, name: str) -> None:
        """Let a member run, from what is on its disk."""
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=run_member, args=(self.configs[name], self.path(name), theirs), daemon=True
        )
        process.start()
        theirs.close()
        self.processes[name], self.pipes[name] = process, ours

    def path(self, name: str) -> Path:
        """Its log."""
        return self.place / name / "edge.db"

    def listen(self, seconds: float) -> None:
        """Take in what the members say, for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.hear(left)

    def hear(self, within_s: float) -> None:
        """Take in the next words."""
        for pipe in wait(list(self.pipes.values()), within_s):
            assert isinstance(pipe, Connection)
            try:
                while pipe.poll():
                    self._take(pipe.recv())
            except (EOFError, OSError):
                self._gone(pipe)

    def _take(self, words: tuple[Any, ...]) -> None:
        if words[0] != "acks":
            self.heard.append(words)
            return
        _, name, term, numbers, first_ns = words
        self.acked.update((term, number) for number in numbers)
        if first_ns and term > self.term:
            self.leader, self.term, self.serves_ns = name, term, first_ns

    def _gone(self, pipe: Connection) -> None:
        name = next(name for name, known in self.pipes.items() if known is pipe)
        del self.pipes[name]
        if self.processes[name].exitcode not in (None, -signal.SIGKILL):
            raise BenchFailed(f"member {name} has ended by itself ({self.processes[name].exitcode})")

    def wait_for_leader(self, after_term: int) -> None:
        """Until one of a later term serves."""
        until = time.monotonic() + WAIT_S
        while self.term <= after_term:
            if time.monotonic() > until:
                raise BenchFailed(f"no leader after term {after_term} within {WAIT_S:g} s")
            self.hear(0.2)

    def load(self, in_flight: int, count: int) -> tuple[float, list[float]]:
        """Have the leader commit so many: seconds, and milliseconds of each."""
        self.heard.clear()
        self.pipes[self.leader].send(("load", in_flight, count))
        until = time.monotonic() + WAIT_S
        while not self.heard:
            if time.monotonic() > until:
                raise BenchFailed(f"{count} commits were not made within {WAIT_S:g} s")
            self.hear(0.2)
        _, took_ns, times = self.heard.pop()
        return took_ns / 1e9, [each / 1e6 for each in times]

    def kill_leader(self) -> float:
        """kill -9, and the milliseconds until another one has committed; the dead one is started anew."""
        name, term = self.leader, self.term
        self.pipes[name].send(("load", LOADED, 0))
        self.listen(BETWEEN_KILLS_S)
        process = self.processes[name]
        assert process.pid is not None
        killed_ns = time.monotonic_ns()
        os.kill(process.pid, signal.SIGKILL)
        self.wait_for_leader(term)
        process.join()
        self.hear(0)
        self.pipes.pop(name, None)
        took_ms = (self.serves_ns - killed_ns) / 1e6
        self.start(name)
        self.wait_until_whole()
        return took_ms

    def wait_until_whole(self) -> None:
        """Until all three have met: one box at a time is lost."""
        until = time.monotonic() + WAIT_S
        while len(found := self._ask_where()) < len(NAMES) or {words[3] for words in found} != {self.leader}:
            if time.monotonic() > until:
                raise BenchFailed(f"the members have not met within {WAIT_S:g} s")
            self.listen(LOOK_S)

    def stop(self) -> None:
        """End all, once all have applied the same."""
        until = time.monotonic() + WAIT_S
        while len({words[5] for words in self._ask_where()}) != 1 and time.monotonic() < until:
            time.sleep(0.1)
        for pipe in self.pipes.values():
            pipe.send(("stop",))
        for process in self.processes.values():
            process.join(10)

    def _ask_where(self) -> list[tuple[Any, ...]]:
        self.heard.clear()
        for pipe in self.pipes.values():
            pipe.send(("where",))
        until = time.monotonic() + WAIT_S
        while len(self.heard) < len(self.pipes) and time.monotonic() < until:
            self.hear(0.2)
        return [words for words in self.heard if words[0] == "where"]


def measure(options: Options) -> dict[str, object]:
    """`p50_ms` of one commit at a time, `commits_per_s` with 1,000 in flight, the time without a leader, and what was lost
    (0)."""
    with scratch(real_directory(options.data)) as place, running(place) as group:
        group.load(1, WARM_UP)
        _, single = group.load(1, SINGLE)
        group.load(IN_FLIGHT, IN_FLIGHT)
        took = [group.load(IN_FLIGHT, options.commits)[0] for _ in range(options.repeats)]
        note(f"commits/s of each repeat: {', '.join(f'{options.commits / each:,.0f}' for each in took)}")
        failovers = [group.kill_leader() for _ in range(options.kills)]
        group.stop()
        events, lost, twice = check(group)
        figures: dict[str, object] = {
            "p50_ms": round(statistics.median(single), 3),
            "p99_ms": round(percentile(single, 99), 3),
            "commits_per_s": round(options.commits / statistics.median(took)),
        }
        if failovers:
            figures["failover_p50_ms"] = round(statistics.median(failovers))
            figures["failover_p99_ms"] = round(percentile(failovers, 99))
            figures["failover_max_ms"] = round(max(failovers))
        settings = {"members": len(NAMES), "entry_bytes": 256, "in_flight": IN_FLIGHT, "kills": options.kills}
        return {**figures, "acknowledged": len(group.acked), "events": events, "lost": lost, "twice": twice, "settings": settings}


@contextmanager
def running(place: Path) -> Iterator[Group]:
    """A group of three processes that has a leader."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in NAMES]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        peers = {name: f"127.0.0.1:{each.getsockname()[1]}" for name, each in zip(NAMES, sockets, strict=True)}
    group = Group(place, {name: GroupConfig(SITE, name, peers) for name in NAMES})
    try:
        for name in NAMES:
            group.start(name)
        group.wait_for_leader(0)
        yield group
    finally:
        for process in group.processes.values():
            process.kill()
            process.join()


def check(group: Group) -> tuple[int, int, int]:
    """Events of the group's log; of what was acknowledged, how many are missing, or there twice. Raises BenchFailed if two
    members have not the same."""
    logs = {name: inspect(group.path(name), lambda reader: [row for page in reader.pages(0) for row in page]) for name in NAMES}
    first = logs[NAMES[0]]
    for name, rows in logs.items():
        if rows != first:
            raise BenchFailed(f"the logs of {NAMES[0]} ({len(first)} events) and {name} ({len(rows)}) are not the same")
    found = Counter(tuple(int(part) for part in row.payload.strip().split(b"/")) for row in first)
    lost = sum(1 for key in group.acked if not found[key])
    return len(first), lost, sum(1 for count in found.values() if count > 1)
