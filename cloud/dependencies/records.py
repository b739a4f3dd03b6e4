"""What is known of dependencies between runs: those of all runs that have not ended, also when they are settled."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import msgspec

from workflow.between import Kind, Point
from workflow.between_events import DependencyAdded
from workflow.terms import Terms

K = TypeVar("K")

WAITING, MET, HOPELESS, REFUSED, VOID, REMOVED = "waiting", "met", "hopeless", "refused", "void", "removed"
LIFTED = "lifted"


class Dependency(msgspec.Struct, array_like=True):
    """`run` (its `task`, or all of it) waits for `on_run` (its `on_task`, or the end of it).

    `terms` are what else it asks, and `value` (JSON) what its task is to be given, until its home has been told.

    `hold` is what the run's homes know it by. `told` are the homes whose streams carry the Hold, `held` and `refused` those that
    answered it, `lifted` those whose streams carry the Lift.
    """

    id: str
    run: str
    task: str
    on_run: str
    on_task: str
    kind: Kind
    since_ms: int
    hold: str
    state: str = WAITING
    detail: str = ""
    settled_ms: int = 0
    told: list[str] = msgspec.field(default_factory=list)
    held: list[str] = msgspec.field(default_factory=list)
    refused: list[str] = msgspec.field(default_factory=list)
    lifted: list[str] = msgspec.field(default_factory=list)
    terms: Terms | None = None
    value: bytes = b""

    @property
    def into(self) -> str:
        """The parameter or input that it gives a value; empty: none."""
        return self.terms.into if self.terms is not None else ""

    @property
    def waiting(self) -> Point:
        """Who waits."""
        return Point(self.run, self.task)

    @property
    def awaited(self) -> Point:
        """For whom."""
        return Point(self.on_run, self.on_task)

    @property
    def is_unanswered(self) -> bool:
        """Has a home been told, or is it to be told, that has not said whether it holds?"""
        return not set(self.told) <= {*self.held, *self.refused}


def hold_name(id: str, kind: str, awaited: Point, task: str, terms: Terms | None = None) -> str:
    """What homes call it: enough to know it again by, should its record be lost."""
    name = f"{id} {kind} {awaited}" + ("" if task else " run")
    return name if terms is None else f"{name}{_TERMS}{msgspec.json.encode(terms).decode()}"


class Made(NamedTuple):
    """What the name of a hold tells of the dependency that made it."""

    id: str
    kind: str
    awaited: Point
    is_whole: bool
    terms: Terms | None

    def again(self, id: str, run: str, task: str, time_ms: int, hold: str) -> Dependency:
        """The dependency of the run as it was recorded."""
        what = (id, run, task, self.awaited.run, self.awaited.task, self.kind, time_ms, hold)
        return Dependency(*what, terms=self.terms)  # type: ignore[arg-type]

    def added(self, id: str, task: str, hold: str, site: str) -> DependencyAdded:
        """The record anew, of a dependency whose hold is at the site."""
        return DependencyAdded(id, task, self.awaited.run, self.awaited.task, self.kind, hold, [site], self.terms)


def of_hold(hold: str) -> Made | None:
    """None of a hold that no dependency has made."""
    name, _, terms = hold.partition(_TERMS)
    id, _, rest = name.partition(" ")
    kind, _, awaited = rest.partition(" ")
    point, whole, _ = awaited.partition(" run")
    if not id.startswith("d") or not kind.startswith("after_") or not point:
        return None
    run, _, task = point.partition("/")
    return Made(id, kind, Point(run, task), bool(whole), msgspec.json.decode(terms, type=Terms) if terms else None)


_TERMS = " terms="


@dataclass(slots=True)
class Records:
    """All of them, by id, by who waits and by who is awaited. `watched` counts, by run, the waits for which single tasks of it
    matter: of all other runs only the end does."""

    known: dict[str, Dependency] = field(default_factory=dict)
    watched: dict[str, int] = field(default_factory=dict)
    _of: dict[str, dict[str, Dependency]] = field(default_factory=dict)
    _on: dict[str, dict[str, Dependency]] = field(default_factory=dict)
    _open: dict[Point, dict[str, Dependency]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.known)

    def add(self, new: Dependency) -> None:
        """One more, in whatever state."""
        self.known[new.id] = new
        self._of.setdefault(new.run, {})[new.id] = new
        self._on.setdefault(new.on_run, {})[new.id] = new
        if new.state == WAITING:
            self._watch(new, 1)
            for point in (new.awaited, new.waiting):
                self._open.setdefault(point, {})[new.id] = new

    def close(self, known: Dependency, state: str, detail: str, time_ms: int) -> None:
        """It waits no longer."""
        if known.state == WAITING:
            self._watch(known, -1)
            for point in (known.awaited, known.waiting):
                _take(self._open, point, known.id)
        known.state, known.detail, known.settled_ms = state, detail, time_ms

    def forget(self, run: str) -> None:
        """The run has ended: it waits for nothing."""
        for known in list(self.of(run)):
            if known.state == WAITING:
                self.close(known, VOID, f"{run} has ended", 0)
            del self.known[known.id]
            _take(self._on, known.on_run, known.id)
        self._of.pop(run, None)

    def of(self, run: str) -> Iterator[Dependency]:
        """What the run waits for, or did."""
        return iter(self._of.get(run, {}).values())

    def on(self, run: str) -> Iterator[Dependency]:
        """Those who wait for the run or a task of it, or did."""
        return iter(self._on.get(run, {}).values())

    def at(self, point: Point) -> list[Dependency]:
        """Those that wait, by which the point waits or is awaited."""
        return list(self._open.get(point, {}).values())

    def between(self, waiting: Point, awaited: Point) -> list[Dependency]:
        """Those that wait and tie these two: one for each parameter or input that it gives a value, and one that gives none."""
        return [each for each in self.at(waiting) if each.waiting == waiting and each.awaited == awaited]

    def find(self, waiting: Point, awaited: Point, into: str = "") -> Dependency | None:
        """The one of them with this `into`."""
        return next((each for each in self.between(waiting, awaited) if each.into == into), None)

    def held_by(self, run: str, hold: str) -> list[Dependency]:
        """Those of the run that wait and that its homes know by this name."""
        return [each for each in self.of(run) if each.hold == hold and each.state == WAITING]

    def give(self, run: str, hold: str) -> None:
        """Nothing of the run is held by this name any more: what its task was to be given went there with the order."""
        for each in self.of(run):
            if each.hold == hold:
                each.value = b""

    def runs(self) -> list[str]:
        """The runs that wait, or did."""
        return list(self._of)

    def save(self) -> bytes:
        """All of them as bytes; none if there is nothing."""
        return msgspec.msgpack.encode(list(self.known.values())) if self.known else b""

    @classmethod
    def load(cls, body: bytes) -> "Records":
        """What `save` wrote."""
        records = cls()
        for known in _SAVED.decode(body):
            records.add(known)
        return records

    def _watch(self, known: Dependency, change: int) -> None:
        for run, task in (known.waiting, known.awaited):
            if task:
                self.watched[run] = self.watched.get(run, 0) + change
                if not self.watched[run]:
                    del self.watched[run]


_SAVED = msgspec.msgpack.Decoder(list[Dependency])


def _take(index: dict[K, dict[str, Dependency]], key: K, id: str) -> None:
    found = index.get(key, {})
    found.pop(id, None)
    if not found:
        index.pop(key, None)
