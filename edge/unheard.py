"""What the cloud had said and our log does not answer: left over only when events came back after a loss. Of our own, the request
for a child that was to begin here is among it, until the child begins or is refused, and a firing until its runs have begun.

While a log is folded, what the cloud said is noted, and what we then wrote answers it. It is kept beside the events, too, for the
floor of the snapshots may move past what is not answered yet.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from coordination.leading import TransferRequested
from workflow.children import END
from workflow.events import (
    CancelRequested,
    CommandAnswered,
    Event,
    FragmentAdopted,
    FragmentEnded,
    FragmentReleased,
    RunCreated,
    ValueHanded,
    decode,
    encode,
)
from workflow.home_events import (
    FragmentDropped,
    FragmentMoved,
    FragmentSuperseded,
    FragmentTaken,
    FragmentYielded,
    FragmentYielding,
    YieldRequested,
)
from workflow.schedule_events import ScheduleEvent, ScheduleFired
from workflow.steering_events import ChildRequested, CommandRequested, RollbackBegun

UNHEARD = "unheard"
_ASKED = CancelRequested | CommandRequested | TransferRequested
_OF_RUNS = FragmentReleased, CancelRequested, CommandRequested, FragmentMoved, YieldRequested, FragmentSuperseded
ANSWERED = frozenset((*_OF_RUNS, TransferRequested))
"""What the cloud says of runs, and of groups, and is answered by an event of this site, whatever else there is."""
_OURS = (ChildRequested, RunCreated, ScheduleFired)


@dataclass(slots=True)
class Unheard:
    """Events of the cloud by run, in their order."""

    said: dict[str, list[Event]] = field(default_factory=dict)
    _saved: bytes = b""

    @classmethod
    def load(cls, saved: bytes) -> "Unheard":
        """Begin from what the log keeps beside its events."""
        unheard = cls(_saved=saved)
        for run, kind, payload in _SAVED.decode(saved) if saved else ():
            unheard.note(run, decode(kind, payload))
        return unheard

    def note(self, run: str, event: Event) -> None:
        """The cloud said this."""
        said = self.said.setdefault(run, [])
        if event not in said:  # Kept beside the events and folded again from them: it was said once.
            said.append(event)

    def answer(self, run: str, event: Event) -> None:
        """Our own event may answer something."""
        match event:
            case CommandAnswered(command):
                # It may have been answered without a run: after its end.
                for name in list(self.said):
                    self._drop(name, lambda said: isinstance(said, _ASKED) and said.command == command)
                self._drop(command.removeprefix(END), lambda said: isinstance(said, ChildRequested))
            case FragmentAdopted():
                self._drop(run, lambda said: isinstance(said, FragmentReleased | ChildRequested | RunCreated))
            case RunCreated() if any(isinstance(said, ScheduleFired) for said in self.said.get(run, ())):
                self._drop(run, lambda said: isinstance(said, ScheduleFired))
                self.note(run, event)  # Until its adoption, which follows it.
            case ValueHanded(task):
                self._drop(run, lambda said: isinstance(said, ValueHanded) and said.task == task)
            case RollbackBegun(elsewhere=tasks) if tasks:
                # It was of what begins anew there; what is said after that is handed over again.
                self._drop(run, lambda said: isinstance(said, ValueHanded) and said.task in tasks)
            case FragmentEnded():
                # Not what was asked: that is answered by its own answer alone. It may have been asked after this end, for what
                # the cloud had said comes back first.
                self._drop(run, lambda said: not isinstance(said, _ASKED))
            case FragmentYielded() | FragmentDropped():
                self.said.pop(run, None)
            case FragmentYielding(command):
                self._drop(run, lambda said: isinstance(said, YieldRequested) and said.command == command)
            case FragmentTaken():
                self._drop(run, lambda said: isinstance(said, FragmentMoved))
            case ScheduleEvent():
                self._drop(run, lambda said: isinstance(said, ScheduleEvent) and said.word() == event.word())

    def told_anew(self) -> None:
        """The cloud's stream begins anew: what it said before and we have not answered, it says again."""
        for run in list(self.said):
            self._drop(run, lambda said: not isinstance(said, _OURS))

    def begin_anew(self, *, keeps_told: bool) -> None:
        """Our stream begins anew: of what we said ourselves nothing is left to do; nor of what the cloud said before it began
        to tell us anew, unless we have read that already (`keeps_told`)."""
        for run in list(self.said):
            self._drop(run, lambda said: not keeps_told or isinstance(said, _OURS))

    def take(self) -> list[tuple[str, Event]]:
        """All of it, to be acted upon; nothing is left."""
        said, self.said = self.said, {}
        return [(run, event) for run, events in said.items() for event in events]

    def save(self) -> bytes | None:
        """What `load` reads; None if that is what the log keeps already."""
        events = [(run, event.kind, encode(event)) for run, said in self.said.items() for event in said]
        saved = msgspec.msgpack.encode(events) if events else b""
        if saved == self._saved:
            return None
        self._saved = saved
        return saved

    def _drop(self, run: str, is_answered: Callable[[Event], bool]) -> None:
        if run in self.said:
            left = [said for said in self.said[run] if not is_answered(said)]
            if left:
                self.said[run] = left
            else:
                del self.said[run]


_SAVED = msgspec.msgpack.Decoder(list[tuple[str, str, bytes]])
