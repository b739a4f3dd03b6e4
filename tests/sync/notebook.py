"""A core small enough to see through: pages of lines. It uses every output that the Driver knows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import msgspec

from sync.commit import Answer, Snapshot
from sync.inputs import Due, FromPeer, PeerLinked
from sync.outputs import Append, ClearTimer, Persist, Remember, Reply, Save, SetTimer
from sync.values import Now, StreamId


class Noted(msgspec.Struct, frozen=True, array_like=True):
    """A line was written on the run's page."""

    kind: ClassVar[str] = "Noted"
    text: str


class Rang(msgspec.Struct, frozen=True, array_like=True):
    """The run's alarm went off."""

    kind: ClassVar[str] = "Rang"
    key: str


class Torn(msgspec.Struct, frozen=True, array_like=True):
    """The run's page was torn out: it has ended."""

    kind: ClassVar[str] = "Torn"


HARBOUR = StreamId("harbour@1")
KINDS: dict[str, type[Noted] | type[Rang] | type[Torn]] = {"Noted": Noted, "Rang": Rang, "Torn": Torn}


class Note(NamedTuple):
    """Input: write a line, and answer with the number of lines on the page."""

    token: int
    run: str
    text: str


class Wake(NamedTuple):
    """Input: set the run's alarm."""

    run: str
    key: str
    due_ms: int


class Tear(NamedTuple):
    """Input: end the run."""

    token: int
    run: str


class Look(NamedTuple):
    """Input: how many lines? Changes nothing."""

    token: int
    run: str


class Keep(NamedTuple):
    """Input: keep bytes beside the events, and an answer under an idempotency key."""

    key: str
    value: bytes


class Stumble(NamedTuple):
    """Input: a broken belief."""


class Shown(NamedTuple):
    """Effect: the world sees the page's line count."""

    run: str
    lines: int


@dataclass(slots=True)
class Notebook:
    """Pages by run; what peers wrote is kept apart. `stream` is the one that it writes."""

    stream: StreamId = HARBOUR
    pages: dict[str, list[str]] = field(default_factory=dict)
    heard: dict[str, list[str]] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    unsaved: set[str] = field(default_factory=set)
    settled: int = 0
    tell: Callable[[str], None] = lambda said: None

    def step(self, input: object, now: Now) -> list[object]:
        match input:
            case Note(token, run, text):
                noted = self._decide(run, Noted(text))
                lines = len(self.pages[run])
                return [noted, Shown(run, lines), Reply(token, lines)]
            case Wake(run, key, due_ms):
                return [SetTimer(run, key, due_ms)]
            case Due(run, key, _):
                return [ClearTimer(run, key), self._decide(run, Rang(key)), Shown(run, len(self.pages[run]))]
            case Tear(token, run):
                torn = self._decide(run, Torn())
                return [torn, Save(run, True, "torn", b""), Reply(token, 0)]
            case Look(token, run):
                return [Reply(token, len(self.pages.get(run, [])))]
            case Keep(key, value):
                self.kept[key] = value
                return [Persist(key, value), Remember(Answer(key, b"h" * 32, value, now.wall_ms))]
            case FromPeer(stream, run, event, time_ms):
                self.evolve(stream, run, event, time_ms)
                return [Shown(run, len(self.heard[stream]))]
            case PeerLinked(peer):
                self.tell(f"linked with {peer}")
                return []
            case Stumble():
                raise AssertionError("a belief is broken")
            case _:
                return []

    def _decide(self, run: str, event: Noted | Rang | Torn) -> Append:
        self.evolve(self.stream, run, event, 0)
        return Append(self.stream, run, 1, event)

    def settle(self, now: Now) -> list[object]:
        self.settled += 1
        return []

    def evolve(self, stream: StreamId, run: str, event: object, time_ms: int) -> None:
        if stream != self.stream:
            self.heard.setdefault(stream, []).append(f"{run}: {event}")
            self.unsaved.add("")
            return
        self.unsaved.add(run)
        match event:
            case Noted(text):
                self.pages.setdefault(run, []).append(text)
            case Rang(key):
                self.pages.setdefault(run, []).append(f"rang: {key}")
            case Torn():
                self.pages.pop(run, None)

    def restore(self, snapshots: Sequence[Snapshot], persisted: dict[str, bytes]) -> None:
        self.kept = dict(persisted)
        for snapshot in snapshots:
            if snapshot.ended:
                continue  # A page that is closed is never opened again.
            if snapshot.run:
                self.pages[snapshot.run] = msgspec.msgpack.decode(snapshot.body, type=list[str])
            else:
                self.heard = msgspec.msgpack.decode(snapshot.body, type=dict[str, list[str]])

    def restored(self, now: Now) -> list[object]:
        return []

    def saves(self) -> list[Save]:
        unsaved, self.unsaved = sorted(self.unsaved - {""}), set()
        node = Save("", False, "node", msgspec.msgpack.encode(self.heard))
        pages = [Save(run, False, "open", msgspec.msgpack.encode(self.pages[run])) for run in unsaved if run in self.pages]
        return [node, *pages]

    def holds(self, run: str) -> bool:
        return run == "" or run in self.pages

    def is_span(self, run: str, key: str) -> bool:
        return not key.startswith("on ")

    def asking(self) -> list[int]:
        return []

    def wake_mono_ms(self) -> int | None:
        return None

    def encode(self, event: object) -> bytes:
        return msgspec.msgpack.encode(event)

    def decode(self, kind: str, payload: bytes) -> object:
        return msgspec.msgpack.decode(payload, type=KINDS[kind])

    def state(self) -> bytes:
        """The whole state: equal states give equal bytes."""
        return msgspec.msgpack.encode([self.pages, self.heard, self.kept], order="sorted")
