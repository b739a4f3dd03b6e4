"""What has been decided under each mandate of a site's hierarchical runs, a Part of the executor.

A mandate is what a run's definition delegates to the site, the site to a group, and whoever chooses an agent to that agent: so
many tasks, at such a cost, so long, and what holds while the level above cannot be heard. That it was given is an event with its
end, which a timer keeps over restarts and clocks that are set; what was spent follows from the awards. A run that comes from
another site begins anew, under the next epoch of its home.
"""

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

import msgspec

from coordination.hierarchy import Delegation, Loss, Mandate, Refusal, Wanted
from edge.home import Home
from edge.part import Elapse, Fold, Part
from sync.inputs import Due
from sync.outputs import ClearTimer, SetTimer
from sync.values import Now
from workflow.coordination_events import MandateEnded, MandateGiven
from workflow.event import Event
from workflow.events import FragmentEnded
from workflow.fragment import Fragment
from workflow.home_events import FragmentDropped, FragmentTaken, FragmentYielded
from workflow.mandates import FOLDED, Path, Spending, renews
from workflow.tasks import LevelPlan

TIMER = "mandate"


@dataclass(slots=True)
class Mandates(Part):
    """By run what was spent. `freed` are runs to which something was given back, or of whose mandates one
    has ended, since the protocol looked last."""

    name: ClassVar[str] = "spending"
    home: Home
    spent: dict[str, Spending] = field(default_factory=dict)
    freed: set[str] = field(default_factory=set)
    _over: list[ClearTimer] = field(default_factory=list)  # Timers of runs that are gone.

    def folds(self) -> dict[type, Fold]:
        gone: dict[type, Fold] = dict.fromkeys((FragmentEnded, FragmentYielded, FragmentDropped), self._forget)
        return {**dict.fromkeys(FOLDED, self._fold), **gone}

    def timers(self) -> dict[str, Elapse]:
        return {TIMER: self._elapse}

    def restored(self, now: Now, out: list[object]) -> None:
        """The log's timers hold them, unless the events were lost and fetched back."""
        for run, spending in self.spent.items():
            for path, standing in spending.levels.items():
                if standing.until_ms and not standing.is_over:
                    out.append(SetTimer(run, _key(spending.epoch, path), standing.until_ms))

    def settle(self, now: Now, out: list[object]) -> None:
        out += self._over
        self._over.clear()

    def save(self) -> bytes:
        return msgspec.msgpack.encode(dict(sorted(self.spent.items()))) if self.spent else b""

    def restore(self, body: bytes) -> None:
        self.spent = _SPENT.decode(body)

    # Deciding ---------------------------------------------------------------------------------------------------------

    def give(self, fragment: Fragment, level: LevelPlan, path: Path, now: Now, out: list[object]) -> None:
        """The level is about to decide for the first time: from now on its time counts, and everybody can see by what it is
        bound."""
        spending = self.spending(fragment)
        known = spending.level(path)
        if not level.is_bounded or (known.is_given and (known.until_ms or not level.expires_ms)):
            return
        until_ms = now.wall_ms + level.expires_ms if level.expires_ms else 0
        bounds = level.budget, level.cost_max, until_ms, level.capabilities, level.names, level.on_loss
        self._record(fragment, MandateGiven(level.level, path, spending.epoch, *bounds), out)
        if until_ms:
            out.append(SetTimer(fragment.run, _key(spending.epoch, path), until_ms))

    def mandate(self, fragment: Fragment, level: LevelPlan, path: Path, *, is_cut: bool = False) -> Mandate:
        """As it stands. `is_cut`: the level above has nobody who decides."""
        spending = self.spending(fragment)
        standing = spending.level(path)
        given = Delegation(
            level=level.level,
            to=path[-1] if path else level.level,
            epoch=spending.epoch,
            capabilities=level.capabilities,
            runs=(fragment.run,),
            names=level.names,
            tasks_max=level.budget,
            cost_max=level.cost_max if level.cost_max >= 0 else inf,
            on_loss=Loss(level.on_loss),
        )
        runs = {str(fragment.run): None} if standing.spent.tasks else {}
        is_cut = is_cut or (len(path) == 1 and self.home.gate.cut is not None)
        return Mandate(given, standing.spent, runs, is_cut, standing.is_over and level.expires_ms > 0)

    def refusal(self, fragment: Fragment, task: int, level: LevelPlan, path: Path, cost: float = 0.0) -> Refusal | None:
        """Why the level may not decide the task at this cost; None if it may."""
        mandate = self.mandate(fragment, level, path)
        return mandate.refusal(Wanted(fragment.run, task, fragment.task(task).capability, cost))

    def spending(self, fragment: Fragment) -> Spending:
        """Of the run under its present home; nothing if that has decided nothing yet."""
        found = self.spent.get(fragment.run)
        return found if found is not None and found.home == fragment.epoch else Spending(fragment.epoch)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _record(self, fragment: Fragment, event: Event, out: list[object]) -> None:
        self.home.fold(fragment, [event], out)
        self.home.changed[fragment.run] = None

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        if is_own and isinstance(event, FragmentTaken):
            self.spent.pop(run, None)
            if event.spent is not None:
                self.spent[run] = Spending(event.epoch)
                self.spent[run].fold(event, self.home.site)
            return
        fragment = self.home.fragments.look(run) if is_own else None
        if fragment is None:
            return
        known = self.spent.get(run)
        if renews(event):
            self.spent[run] = Spending(fragment.epoch, fragment.version)
            self.freed.add(run)
        elif known is None or known.home != fragment.epoch:
            known = Spending(fragment.epoch)
            known.fold(event, self.home.site)
            if known.levels or known.delegated:  # Else it concerns no level.
                self.spent[run] = known
        elif known.fold(event, self.home.site):
            self.freed.add(run)

    def _forget(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        gone = self.spent.pop(run, None) if is_own else None
        if gone is not None:
            self._over += [ClearTimer(run, _key(gone.epoch, path)) for path, each in gone.levels.items() if each.until_ms]
            self.freed.discard(run)

    def _elapse(self, input: Due, now: Now, out: list[object]) -> None:
        out.append(ClearTimer(input.run, input.key))
        _, epoch, path = input.key.split("/", 2)
        fragment, spending = self.home.fragments.get(input.run), self.spent.get(input.run)
        if fragment is None or spending is None or spending.epoch != int(epoch):
            return  # Of a home, or a mandate, of before.
        self._record(fragment, MandateEnded(_PATH.decode(path), spending.epoch), out)
        self.freed.add(input.run)
        if not fragment.live:
            self.home.fragments.rest(input.run)


def _key(epoch: int, path: Path) -> str:
    return f"{TIMER}/{epoch}/{msgspec.json.encode(path).decode()}"


_SPENT = msgspec.msgpack.Decoder(dict[str, Spending])
_PATH = msgspec.json.Decoder(Path)
