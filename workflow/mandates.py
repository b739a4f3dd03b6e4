"""What the levels of a hierarchy have spent of what was delegated to them, folded from a run's events: alike at its home, which
decides by it, and at the cloud, which shows it. What counts for the cloud goes along when the run moves.

A mandate's epoch grows with every home of the run, and with everything that gives new mandates: a person's order for the whole
run, and that a run which had ended goes on. What was spent counts under one epoch.
"""

import msgspec

from sync.accounts import Account
from workflow.coordinating import WHOLE_RUN
from workflow.coordination_events import (
    CoordinationChanged,
    MandateEnded,
    MandateGiven,
    TaskAwarded,
    TaskDelegated,
)
from workflow.event import Event
from workflow.events import TaskLost
from workflow.home_events import FragmentMoved, FragmentTaken
from workflow.homes import attempt_of
from workflow.steering_events import FragmentReopened

HIERARCHICAL = "hierarchical"
FOLDED = (FragmentTaken, TaskDelegated, TaskAwarded, TaskLost, MandateGiven, MandateEnded, CoordinationChanged, FragmentReopened)
Path = tuple[str, ...]
"""Names from the site on: (harbour), (harbour, north), (harbour, north, anna). Of the cloud, above them all: ()."""
_HOME_BITS = 32


class Standing(msgspec.Struct, array_like=True):
    """Of one level: what it has spent; until when its mandate lasts, as it was told (UTC ms; 0: for ever); whether it is over."""

    spent: Account = msgspec.field(default_factory=Account)
    is_given: bool = False
    until_ms: int = 0
    is_over: bool = False


class Awarded(msgspec.Struct, array_like=True, frozen=True):
    """The latest award of a task: for which attempt (its token), by whom, at what cost."""

    token: int
    path: Path
    cost: float


class Spending(msgspec.Struct, array_like=True):
    """Of one run at one home: under the epoch of that home, since the version `since` of its fragment."""

    home: int = 0
    since: int = 0
    levels: dict[Path, Standing] = {}
    awarded: dict[int, Awarded] = {}
    delegated: dict[int, str] = {}

    @property
    def epoch(self) -> int:
        """The epoch of its mandates."""
        return self.home << _HOME_BITS | self.since

    def level(self, path: Path) -> Standing:
        """How the level stands; it has spent nothing if it is not known."""
        return self.levels.get(path) or Standing()

    def fold(self, event: Event, site: str) -> bool:
        """One event of the run at its home. True if something was given back."""
        match event:
            case FragmentTaken(spent=Account() as spent) | FragmentMoved(spent=Account() as spent):
                self.levels[()] = Standing(Account(dict(spent.awards), spent.cost))
            case MandateGiven(path=path, until_ms=until_ms):
                known = self._at(path)
                known.is_given, known.until_ms, known.is_over = True, until_ms, False
            case MandateEnded(path=path):
                self._at(path).is_over = True
            case TaskDelegated(task=task, to=to):
                self.delegated[task] = to
            case TaskAwarded():
                self._award(event, site)
            case TaskLost(begun=False):
                return self._give_back(event)
            case _:
                pass
        return False

    def _at(self, path: Path) -> Standing:
        return self.levels.setdefault(path, Standing())

    def _award(self, event: TaskAwarded, site: str) -> None:
        group = self.delegated.pop(event.task, "")
        if event.protocol != HIERARCHICAL or not event.agent:
            return
        why = _AWARD.decode(event.detail)
        path = why.path or ((site, group) if group else (site,))  # Events of before did not tell it.
        for depth in range(len(path) + 1):
            self._at(path[:depth]).spent.spend(event.task, why.cost)
        self.awarded[event.task] = Awarded(event.epoch, path, why.cost)

    def _give_back(self, event: TaskLost) -> bool:
        award = self.awarded.get(event.task)
        if award is None or attempt_of(award.token) != event.attempt:
            return False
        del self.awarded[event.task]
        for depth in range(len(award.path) + 1):
            self._at(award.path[:depth]).spent.give_back(event.task, award.cost)
        return True


def renews(event: Event) -> bool:
    """Does it give all levels new mandates?"""
    return isinstance(event, FragmentReopened) or (isinstance(event, CoordinationChanged) and event.task == WHOLE_RUN)


class _Told(msgspec.Struct):
    """Of an award's detail, what counts here."""

    cost: float = 0.0
    path: Path = ()


_AWARD = msgspec.json.Decoder(_Told)
