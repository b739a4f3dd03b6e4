"""Runs that have ended and are to go on: for an order, or because their site says so.

What has ended has left memory. So whatever needs such a run waits until the node has read its tombstone from the log (`Recall`,
answered by `Recalled`), and is then taken as if the run had been here. An order opens the run (`RunReopened`) and awaits its
homes; when they have answered and none has opened its fragment, the run ends again, as it had. Who only wants to know how a run
ended looks (`look`), and nothing is opened.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cloud.admission import Admission
from cloud.intents import Intent, Intents
from cloud.measures import Measures
from cloud.outcomes import Outcome, outcome_of
from cloud.port import Problem
from cloud.runs import Run, Runs, load_saved_run, restore_run
from sync.commit import Snapshot
from sync.inputs import FromPeer, Recalled
from sync.outputs import Append, Recall, Reply
from sync.values import Now, StreamId
from workflow.events import RunReopened
from workflow.plan import Plan
from workflow.steering_events import CommandRequested, FragmentReopened

BORN_EPOCH = 1

# (run, now, out): the run as it ended, or as it is if it goes on again; None if nothing is known of it.
Look = Callable[[Run | None, Now, list[object]], None]


class Asking(Protocol):
    """An input that somebody waits for."""

    @property
    def token(self) -> int: ...


class Planning(Protocol):
    """What reopening needs of the planner."""

    @property
    def stream(self) -> StreamId: ...
    @property
    def runs(self) -> Runs: ...
    @property
    def plans(self) -> dict[str, Plan]: ...
    @property
    def intents(self) -> Intents: ...
    @property
    def admission(self) -> Admission: ...
    @property
    def measures(self) -> Measures: ...
    def step(self, input: object, now: Now) -> list[object]: ...
    def end(self, run: Run, how: Outcome, now: Now, out: list[object]) -> None: ...
    def touch(self, run: str) -> None: ...


@dataclass(slots=True)
class Reopening:
    """What waits for runs that are not in memory; while the log is folded, the runs that had ended."""

    planner: Planning
    _waiting: dict[str, list[Asking | FromPeer]] = field(default_factory=dict)
    _looking: dict[str, list[Look]] = field(default_factory=dict)
    _ended: dict[str, Run] = field(default_factory=dict)
    _folding: bool = True

    def steps(self) -> dict[type, Callable[..., None]]:
        """What it takes of the planner's inputs."""
        return {Recalled: self._recalled}

    # Folding ----------------------------------------------------------------------------------------------------------

    def restore(self, tombstone: Snapshot) -> None:
        """A run had ended, and something of it comes later in the log."""
        self.keep(self._load(tombstone))

    def keep(self, run: Run) -> None:
        """It has ended; while the log is folded, only the rest of it knows whether it goes on."""
        if self._folding:
            self._ended[run.id] = run

    def folded(self) -> None:
        """The log ends here, and so have they."""
        self._folding = False
        self._ended.clear()

    def evolve(self, run: str, event: RunReopened) -> None:
        """It goes on, if what is known of it is its state at that end: a tombstone tells of the last end, not of those before."""
        known = self._ended.get(run)
        if run not in self.planner.runs and known is not None and known.version() == event.version:
            self._open(self._ended.pop(run))

    def evolve_site(self, run: str, site: str, event: FragmentReopened) -> Run | None:
        """The site says so by itself, as far as this log knows: the order is lost. The run, if that is its end."""
        known = self._ended.get(run)
        fragment = known.fragment(site) if known is not None else None
        if known is None or fragment is None or fragment.version != event.version:
            return None
        self._open(self._ended.pop(run))
        known.reopening = False
        return known

    def answered(self, command: str) -> None:
        """A home has answered an order; once all homes have answered all of the run's, it is what its fragments are."""
        intents = self.planner.intents.commands
        if (intent := intents.get(command)) is not None and (run := self.planner.runs.get(intent.run)) is not None:
            run.reopening = run.reopening and any(_is_awaited(i, run.id) for i in intents.values())

    def _open(self, run: Run) -> None:
        run.reopen()
        self.planner.runs[run.id] = run
        self.planner.admission.accept(run.id, run.priority, run.fairness_key)
        self.planner.admission.activate(run.id)
        self.planner.touch(run.id)

    # Deciding ---------------------------------------------------------------------------------------------------------

    def recall(self, run: str, input: Asking | FromPeer, out: list[object]) -> None:
        """Take the input again once the run is back in memory. Who asked about a run that never was gets Problem 404."""
        if run not in self._waiting and run not in self._looking:
            out.append(Recall(run))
        self._waiting.setdefault(run, []).append(input)

    def look(self, run: str, then: Look, out: list[object]) -> None:
        """Let `then` see how a run ended that is not in memory."""
        if run not in self._waiting and run not in self._looking:
            out.append(Recall(run))
        self._looking.setdefault(run, []).append(then)

    def asking(self) -> list[int]:
        """Who waits for an answer to what waits for a run."""
        return [each.token for waiting in self._waiting.values() for each in waiting if not isinstance(each, FromPeer)]

    def awaits(self, run: str, event: object) -> bool:
        """Must an event of a run that is not in memory wait for it?"""
        return run not in self.planner.runs and (type(event) is FragmentReopened or run in self._waiting)

    def heard(self, command: str, now: Now, out: list[object]) -> None:
        """A home's answer is folded. If nobody opens the run, it has ended after all."""
        intent = self.planner.intents.commands.get(command)
        run = self.planner.runs.get(intent.run) if intent is not None else None
        if run is not None:
            self.planner.end(run, outcome_of(run), now, out)

    def _recalled(self, input: Recalled, now: Now, out: list[object]) -> None:
        for then in self._looking.pop(input.run, ()):
            living = self.planner.runs.get(input.run)
            then(self._load(input.tombstone) if living is None and input.tombstone is not None else living, now, out)
        waiting = self._waiting.pop(input.run, [])
        if input.tombstone is None:
            detail = f"run {input.run} is not known here: look at GET /api/v1/workflows for those that are"
            out += [Reply(each.token, Problem(404, "run_unknown", detail)) for each in waiting if not isinstance(each, FromPeer)]
            return
        if not waiting or input.run in self.planner.runs:
            return
        run = self._load(input.tombstone)
        reopened = RunReopened(run.version())
        by_site = any(isinstance(each, FromPeer) for each in waiting)
        self.planner.measures.reopen(run)
        self._open(run)
        run.reopening = not by_site
        taken = [output for each in waiting for output in self.planner.step(each, now)]
        if by_site or any(type(each) is Append and isinstance(each.event, CommandRequested) for each in taken):
            out.append(Append(self.planner.stream, run.id, BORN_EPOCH, reopened))
        else:
            # Nothing was asked of anybody in the end: it has not been opened.
            run = self._load(input.tombstone)
            del self.planner.runs[run.id]
            self.planner.admission.forget(run.id)
            self.planner.measures.end(run)
        out += taken

    def _load(self, tombstone: Snapshot) -> Run:
        saved = load_saved_run(tombstone.body)
        return restore_run(tombstone.run, self.planner.plans[saved.definition], saved)


def _is_awaited(intent: Intent, run: str) -> bool:
    """Is it an order for homes of the run that have not all answered? A cancel opens nothing."""
    return intent.run == run and intent.is_open and bool(intent.targets)
