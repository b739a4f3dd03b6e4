"""What the cloud knows, kept up to date over its WebSocket in a thread: runs, sites, and how far the work has got."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tiercel.answers import Frame, RunSummary, ServerUnreachable, Site, SiteGroup
from tiercel.client import Client

if TYPE_CHECKING:
    from deploy.nodes import Change

ENDED = frozenset(("completed", "failed", "cancelled"))
RATE_WINDOW_S = 3.0
RECONNECT_S = 0.5


class Watcher:
    """Follows all runs from `start` to `stop`. `runs` and `sites` are replaced, never changed, so they may be read anywhere."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.runs: Mapping[str, RunSummary] = {}
        self.sites: Mapping[str, Site] = {}
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(RuntimeError):  # The loop has ended by itself.
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        following = asyncio.create_task(self._follow())
        await self._ended.wait()
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following

    async def _follow(self) -> None:
        """A server that goes away comes back: its first frame is the whole picture."""
        while True:
            with contextlib.suppress(ServerUnreachable):
                async for frame in self._client.watch():
                    if frame is not None:
                        self._note(frame)
            await asyncio.sleep(RECONNECT_S)

    def _note(self, frame: Frame) -> None:
        # A snapshot holds the newest runs only, so what is known of older ones stays.
        self.runs = {**self.runs, **{run["id"]: run for run in frame["runs"]}}
        self.sites = {**self.sites, **{site["id"]: site for site in frame["sites"]}}


class Leaders:
    """Which box leads a site of several, as the cloud was told."""

    def __init__(self, boxes: Mapping[str, frozenset[str]] | None = None) -> None:
        """`boxes`: those that were started, by site."""
        self._terms: dict[str, int] = {}
        self._boxes = dict(boxes or {})
        self._gone: set[tuple[str, str]] = set()

    def news(self, groups: Mapping[str, SiteGroup | None]) -> list[str]:
        """A line for each site with a later leader than at the last call, and for each box that has been removed."""
        lines = []
        for site, group in groups.items():
            if group is not None and group["term"] > self._terms.get(site, 0):
                self._terms[site] = group["term"]
                lines.append(f"{site}: box {group['leader']} leads, in term {group['term']}")
            if group is not None:
                lines += self._removed(site, group)
        return lines

    def _removed(self, site: str, group: SiteGroup) -> list[str]:
        """Its process goes on, for only an operator knows what is to become of its disk."""
        here = {member["node"] for member in group["members"]}
        gone = [box for box in sorted(self._boxes.get(site, ())) if here and box not in here and (site, box) not in self._gone]
        self._gone |= {(site, box) for box in gone}
        return [f"{site}: box {box} is no member of its group any more: it decides nothing, and gets no work" for box in gone]


class Restarts:
    """What is said of nodes that have died; of one that ends again and again, once."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._ailing: set[str] = set()

    def words(self, change: "Change") -> str:
        """Empty if it has been said."""
        if not change.pid and not change.again:
            return f"does not start: {change.reason}; trying again"
        if change.again:
            said = change.node in self._ailing
            self._ailing.add(change.node)
            why = self._logs / f"{change.node.replace(' ', '-')}.log"
            return "" if said else f"ends again and again, and Ray goes on starting it; {why} says why"
        self._ailing.discard(change.node)
        return f"process {change.pid_before} died; Ray restarted it as {change.pid}, and it went on from its log"


@dataclass(frozen=True, slots=True)
class Share:
    """How many tasks of a site are done, and how many there are to do."""

    done: int
    total: int

    @property
    def part(self) -> float:
        """From 0 to 1."""
        return self.done / self.total if self.total else 1.0


def shares(places: Mapping[str, Sequence[str]], runs: Mapping[str, RunSummary]) -> dict[str, Share]:
    """For each site. `places` are the sites of each run's tasks, in order. A run that failed leaves nothing more to do."""
    done: dict[str, int] = {}
    total: dict[str, int] = {}
    for run, sites in places.items():
        known = runs.get(run)
        completed = known["completed"] if known else 0
        ended = known is not None and known["state"] in ENDED
        for number, site in enumerate(sites):
            done[site] = done.get(site, 0) + (number < completed)
            total[site] = total.get(site, 0) + (number < completed or not ended)
    return {site: Share(done[site], total[site]) for site in sorted(done)}


class Rate:
    """Tasks per second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, done: int) -> float:
        """`done` is how many there are now; how many more there are per second."""
        now = time.monotonic()
        self._seen.append((now, done))
        while now - self._seen[0][0] > RATE_WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        since, before = self._seen[0]
        return (done - before) / (now - since) if now > since else 0.0
