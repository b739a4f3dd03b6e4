"""What may begin just now of runs with a contract: the one place where level and autonomy say no.

A run that is held back is parked: its tasks keep their states, its timers are put off, and nothing is recorded of it, until the
link or the cloud's acknowledgement lets it go on. Runs without a contract are not looked at.
"""

from dataclasses import dataclass, field

from sync.inputs import Due
from sync.lag import Lag
from sync.outputs import SetTimer
from sync.values import Now
from workflow.contract import DEFAULT, Contract
from workflow.event import Event
from workflow.events import TaskAssigned
from workflow.fragment import Fragment
from workflow.tasks import Role

UNDOING = (Role.COMPENSATE, Role.CLEANUP, Role.RECONCILE)


@dataclass(slots=True)
class Cut:
    """Since when the cloud cannot be reached: UTC ms, and on this boot's monotonic clock. `versions` are those that runs with a
    contract had then: many events have the time of the cut, and only the later ones are of a site that was cut off."""

    since_ms: int
    mono_ms: int
    is_known: bool = True  # False of a site that has never been linked: it has nothing to wait for yet.
    versions: dict[str, int] = field(default_factory=dict)

    def is_before(self, run: str, version: int, time_ms: int) -> bool:
        """Did the log get this event (that made the run's version) before the cut?"""
        return time_ms < self.since_ms or version <= self.versions.get(run, 0)

    def lasted_ms(self, now: Now) -> int:
        """How long by now, by whichever clock says more: one may have been set back, the other begins with each boot."""
        return max(now.mono_ms - self.mono_ms, now.wall_ms - self.since_ms)


@dataclass(slots=True)
class Gate:
    """`cut` is None while the site is linked; `begun` counts the attempts that runs have begun while it is cut off. `parked` are
    the runs that are held back: since when (monotonic ms), and why."""

    lag: Lag
    cut: Cut | None = None
    silent_ms: int = 0  # How long the cloud had been silent when that was noticed.
    begun: dict[str, int] = field(default_factory=dict)
    parked: dict[str, tuple[int, str]] = field(default_factory=dict)
    deferred: dict[str, list[Due]] = field(default_factory=dict)
    # By run, the additions (their places among all of the run) that were made while the site is cut off.
    grown: dict[str, list[int]] = field(default_factory=dict)
    # Runs whose horizon passed while the site was cut off: the cloud may have given them to another. They wait for its word.
    unconfirmed: dict[str, None] = field(default_factory=dict)
    # Runs of which an agent has had orders from a later home: they, too, wait for the cloud's word, with a contract or without.
    doubted: dict[str, None] = field(default_factory=dict)

    def watch(self, fragment: Fragment) -> None:
        """A run with a contract lives here."""
        contract = fragment.contract
        assert contract is not None, f"run {fragment.run} has a contract"
        if contract.level.kind == "eventual":
            self.lag.end(fragment.run)
        else:
            self.lag.watch(fragment.run, strong=contract.level.kind == "strong")

    def forget(self, run: str) -> None:
        """The run has ended here."""
        self.lag.end(run)
        for known in (self.begun, self.parked, self.deferred, self.grown, self.unconfirmed, self.doubted):
            known.pop(run, None)

    def is_strong(self, run: str) -> bool:
        """Does nothing of the run leave before the cloud holds it?"""
        return run in self.lag.strong

    def decided(self, run: str, event: Event) -> None:
        """An event of a run with a contract was decided."""
        if run in self.lag.watched:
            is_begun = type(event) is TaskAssigned
            self.lag.decide(run, (event.task, event.attempt) if is_begun else None)  # type: ignore[attr-defined]

    def note_begun(self, run: str) -> None:
        """An attempt of a run with a contract begins; of those while the site is cut off there may be a budget."""
        if self.cut is not None:
            self.begun[run] = self.begun.get(run, 0) + 1

    # Whether it may go on ---------------------------------------------------------------------------------------------

    def bar(self, fragment: Fragment, now: Now, *, role: Role = Role.WORK, events: int = 1) -> str:
        """Why nothing that would record so many events may begin in the run just now; empty if it may."""
        contract = fragment.contract
        assert contract is not None, f"run {fragment.run} has a contract"
        level = contract.level
        if fragment.run in self.unconfirmed:
            return "unconfirmed"
        if level.kind == "strong":
            return "strong" if self.cut is not None else ""
        if level.kind == "bounded" and (reason := self._beyond(fragment.run, contract, now, events)):
            return reason
        if self.cut is None:
            return ""
        if (then := self.autonomy(fragment.run, contract, now)) == "compensate" and role in UNDOING:
            return ""
        return "autonomy" if then in ("hold", "compensate") else ""

    def _beyond(self, run: str, contract: Contract, now: Now, events: int) -> str:
        """Is the cloud as far behind as it may be? What alone is more than the bound goes when nothing else is in the way."""
        level, lag = contract.level, self.lag
        count = lag.count(run)
        if level.versions and (lag.is_blind(run) or (count and count + events > level.versions)):
            return "versions"
        oldest_ms = lag.oldest_ms(run) if level.time_ms else None
        return "time" if oldest_ms is not None and now.mono_ms - oldest_ms > level.time_ms else ""

    def autonomy(self, run: str, contract: Contract, now: Now) -> str:
        """What the run does now that the site is cut off: continue, finish_released, hold or compensate."""
        autonomy, cut = contract.autonomy, self.cut
        assert cut is not None, "a linked site needs no autonomy"
        spent = 0 < autonomy.budget_tasks <= self.begun.get(run, 0)
        late = autonomy.horizon_ms > 0 and autonomy.gives_up_ms() <= cut.lasted_ms(now)
        return autonomy.then if spent or late else autonomy.when_cut

    def bars(self, fragment: Fragment, now: Now, *, role: Role = Role.WORK, events: int = 1) -> bool:
        """Must the run wait? Then it is parked."""
        reason = self.bar(fragment, now, role=role, events=events)
        if not reason:
            return False
        since_ms, _ = self.parked.get(fragment.run, (now.mono_ms, ""))
        self.parked[fragment.run] = since_ms, reason
        return True

    def doubts(self, run: str, now: Now) -> bool:
        """Must the run wait, for it may have another home by now? Then it is parked."""
        if run not in self.doubted:
            return False
        since_ms, _ = self.parked.get(run, (now.mono_ms, ""))
        self.parked[run] = since_ms, "doubted"
        return True

    def bars_added(self, fragment: Fragment, task: int, now: Now) -> bool:
        """Must the task wait for the link because it was added meanwhile? Then its run is parked."""
        if not self.waits_as_added(fragment, task, now):
            return False
        since_ms, _ = self.parked.get(fragment.run, (now.mono_ms, ""))
        self.parked[fragment.run] = since_ms, "added"
        return True

    def waits_as_added(self, fragment: Fragment, task: int, now: Now) -> bool:
        """Was the task added to the run while the site is cut off, and is the run to finish what was released and no more?"""
        grown = self.grown.get(fragment.run)
        if grown is None or self.cut is None or self.autonomy(fragment.run, fragment.contract or DEFAULT, now) == "continue":
            return False
        copy = fragment.copy_around(task)
        while copy is not None and copy.owner >= 0:
            copy = fragment.copy_around(copy.owner)
        return copy is not None and copy.number in grown

    def defers(self, fragment: Fragment, due: Due, now: Now) -> bool:
        """Must what falls due wait, too? It stays in the log, and falls due again when the run goes on."""
        is_barred = self.doubts(fragment.run, now) or (fragment.contract is not None and self.bars(fragment, now))
        if not is_barred:
            return False
        self.deferred.setdefault(fragment.run, []).append(due)
        return True

    def release(self, run: str) -> list[SetTimer]:
        """The run goes on. Gives what had fallen due meanwhile."""
        self.parked.pop(run, None)
        return [SetTimer(*due) for due in self.deferred.pop(run, ())]
