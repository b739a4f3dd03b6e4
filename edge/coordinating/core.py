"""The tasks of a site that a protocol finds an agent for, and which protocol that is."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from edge.coordinating.seeker import Lot, Negotiation, Seeker
from edge.home import Home
from edge.part import Fold, Part, Step
from sync.taking import apart, together
from sync.values import Now
from workflow.fragment import Fragment
from workflow.tasks import CoordinationPlan


@dataclass(slots=True)
class Coordinating(Part):
    """All Seekers as one. A site that does not know the protocol that is asked for hands the task out directly."""

    name: ClassVar[str] = "coordinating"
    home: Home
    seekers: Sequence[Seeker]
    sought: dict[Lot, Seeker] = field(default_factory=dict)
    _by_name: dict[str, Seeker] = field(init=False)
    _capabilities: dict[Lot, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._by_name = {seeker.protocol: seeker for seeker in self.seekers}

    def steps(self) -> dict[type, Step]:
        return apart(seeker.steps() for seeker in self.seekers)

    def folds(self) -> dict[type, Fold]:
        return {kind: _all(folds) for kind, folds in together(seeker.folds() for seeker in self.seekers).items()}

    # The dispatch's side ----------------------------------------------------------------------------------------------

    def seek(self, fragment: Fragment, task: int, plan: CoordinationPlan, now: Now, out: list[object]) -> bool:
        """The task is ready and wants an agent by this plan; False if nobody here knows the protocol."""
        seeker, lot = self._by_name.get(plan.protocol), Lot(fragment.run, task)
        self.renounce(fragment, task, out, seeker)
        if seeker is None:
            return False
        self.sought[lot], self._capabilities[lot] = seeker, fragment.task(task).capability
        seeker.seek(fragment, task, plan, now, out)
        return True

    def renounce(self, fragment: Fragment, task: int, out: list[object], stays: Seeker | None = None) -> None:
        """No protocol finds its agent any more, or only `stays` does."""
        lot = Lot(fragment.run, task)
        if self.sought.get(lot) is not stays:
            self.withdraw(lot)
        for seeker in self.seekers:
            if seeker is not stays:
                seeker.renounce(fragment, task, out)

    def withdraw(self, lot: Lot) -> None:
        """It is sought for no longer."""
        if (seeker := self.sought.pop(lot, None)) is not None:
            del self._capabilities[lot]
            seeker.withdraw(lot)

    def hand_out(self, now: Now, out: list[object]) -> None:
        """Let every protocol award what it has decided."""
        for seeker in self.seekers:
            seeker.settle(now, out)

    # Looking ----------------------------------------------------------------------------------------------------------

    def wake_mono_ms(self) -> int | None:
        """While the site is paused nobody is found."""
        if self.home.paused or not self.sought:
            return None
        return min((due for seeker in self.seekers if (due := seeker.wake_mono_ms()) is not None), default=None)

    def wanted(self) -> Counter[str]:
        """How many tasks are sought for, by capability."""
        return Counter(self._capabilities.values())

    def negotiations(self, now: Now) -> Iterator[Negotiation]:
        """What is under way, the oldest runs first."""
        for lot in sorted(self.sought):
            if (found := self.sought[lot].explain(lot, now)) is not None:
                yield found
        yield from self.home.polls.shown(now)

    def refused(self) -> dict[str, int]:
        """How many bids and votes were refused since the start, by code."""
        total: Counter[str] = Counter()
        for seeker in self.seekers:
            total.update(seeker.counts())
        return dict(sorted(total.items()))


def _all(folds: Sequence[Fold]) -> Fold:
    def fold(is_own: bool, run: str, event: object, time_ms: int) -> None:
        for each in folds:
            each(is_own, run, event, time_ms)  # type: ignore[arg-type]

    return fold
