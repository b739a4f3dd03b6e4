"""Runs that are taken from a site that does not answer, a Part of the planner: forced moves, and what the old home tells after.

A person orders it, or the contract of the run does: after its horizon (and the margins of both clocks, and the time that agents'
leases take) the site has stopped deciding for the run, so the cloud gives it to another under the next epoch, from the replica.
When the old home is back, it still tells what it did under its epoch. Facts (an attempt was done, with this result) are told to
the present home; decisions are refused, and recorded. The site drops the run when it reads that it was superseded, and says so:
all that it wrote under the old epoch stands before that in its stream, so until then it is no home for the run again.
"""

from typing import TYPE_CHECKING, ClassVar, TypeVar

import msgspec

from cloud.contracts import contract_now
from cloud.moving.inputs import MoveRun
from cloud.moving.records import Superseded, Taken
from cloud.part import Fold, Hear, Part
from cloud.port import Problem
from cloud.runs import Run
from sync.conflicts.events import ConflictRecorded
from sync.inputs import FromPeer
from sync.values import Now, stream_writer
from workflow.attempts import LOCK_DELAY_MS
from workflow.contract import taken_after_ms
from workflow.event import Event
from workflow.events import FragmentEnded, RunCreated, RunEnded, TaskAssigned, TaskCompleted, TaskFailed, TaskLost
from workflow.facts import failure_of, refused_by_the_end, waits_for
from workflow.home_events import (
    DecisionRefused,
    FactFound,
    FactTold,
    FailureFound,
    FailureTold,
    FragmentDropped,
    FragmentMoved,
    FragmentSuperseded,
    FragmentTaken,
    HomeConfirmed,
    HomeDoubted,
)
from workflow.homes import following, verdict
from workflow.moving import STATE_BYTES_MAX, state_for, without_hands
from workflow.steering_events import ContractChanged
from workflow.tasks import Effect

if TYPE_CHECKING:
    from cloud.planner import Planner

T = TypeVar("T", FactTold, FailureTold)
REFUSED_MAX = 100
"""Decisions of one earlier home that are recorded one by one; all stand in its stream."""
RETRY_MS = 10_000
"""After which a run that no site could take is looked at again."""
FACTS = (TaskCompleted, TaskFailed, TaskLost, TaskAssigned, HomeDoubted, ConflictRecorded)


class Taking(Part):
    """`superseded` are the sites that have not dropped a run yet that was taken from them: run -> site -> since which epoch.
    `_facts` are those that the present home has not been told."""

    name: ClassVar[str] = "taking"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self.superseded: dict[str, dict[str, Superseded]] = {}
        self._facts: dict[str, list[FactTold | FailureTold]] = {}
        self._horizons: dict[str, None] = {}  # Runs whose contract lets the cloud take them.
        self._silent: dict[str, int] = {}  # Since when (monotonic ms) sites are not heard.
        self._due: int | None = None

    def own_folds(self) -> dict[type, Fold]:
        return {
            RunCreated: lambda site, run, event, time_ms: self._watch(run),
            FragmentMoved: self._fold_moved,
            FragmentSuperseded: self._fold_told,
            FactTold: self._fold_fact_told,
            FailureTold: self._fold_fact_told,
            RunEnded: lambda site, run, event, time_ms: self._forget(run),
        }

    def site_folds(self) -> dict[type, Fold]:
        return {
            RunCreated: lambda site, run, event, time_ms: self._watch(run),
            ContractChanged: lambda site, run, event, time_ms: self._watch(run),
            FactFound: self._fold_found,
            FailureFound: self._fold_found,
        }

    def hears(self) -> dict[type, Hear]:
        return {
            FactFound: self._hear_home,
            FailureFound: self._hear_home,
            FragmentTaken: self._hear_home,
            HomeDoubted: self._hear_doubt,
            ContractChanged: self._hear_contract,
        }

    def restored(self, now: Now, out: list[object]) -> None:
        """The time that sites are silent is counted anew."""
        for run, known in self._planner.runs.looks():
            if taken_after_ms(contract_now(known)):
                self._horizons[run] = None
        self._silent = dict.fromkeys(map(str, self._planner.fleet.sites), now.mono_ms)
        self._look()

    def linked(self, site: str, now: Now, out: list[object]) -> None:
        """The site greets: it is told what is its no longer, and what still is."""
        self._silent.pop(site, None)
        self._look()
        if not self._planner.fleet.site(site).greeted:
            return
        for run in list(self.superseded):
            self._tell_superseded(run, site, now, out)
        for run in list(self._horizons):
            known = self._planner.runs.look(run)
            if known is None:
                del self._horizons[run]
            elif known.sites == [site] and (fragment := known.fragments[0]) is not None and not fragment.outcome:
                confirmed = HomeConfirmed(fragment.epoch)
                self._planner.emit(self._planner.site_stream(site), run, fragment.epoch, confirmed, now, out)
        for run in list(self._facts):
            self._tell_facts(run, now, out)

    def untell(self, site: str) -> None:
        for known in self.superseded.values():
            if site in known:
                known[site].is_told = False

    def lost(self, site: str, now: Now) -> None:
        """The site is not heard any more."""
        self._silent.setdefault(site, now.mono_ms)
        self._look()

    def barred(self, run: str) -> frozenset[str]:
        """Sites that may not be the run's home now: they may still write as what they were."""
        return frozenset(self.superseded.get(run, ()))

    def wake_mono_ms(self) -> int | None:
        """When the next run may be taken from its site."""
        return self._due

    def settle(self, now: Now, out: list[object]) -> None:
        if self._due is not None and now.mono_ms >= self._due:
            self._take_overdue(now, out)

    def save(self) -> bytes:
        if not self.superseded and not self._facts:
            return b""
        superseded = {run: dict(sorted(self.superseded[run].items())) for run in sorted(self.superseded)}
        return msgspec.msgpack.encode(Taken(superseded, self._untold(FactTold), self._untold(FailureTold)))

    def _untold(self, kind: type[T]) -> dict[str, list[T]]:
        found = ((run, [fact for fact in self._facts[run] if isinstance(fact, kind)]) for run in sorted(self._facts))
        return {run: facts for run, facts in found if facts}

    def restore(self, body: bytes) -> None:
        saved = _TAKEN.decode(body)
        self.superseded, self._facts = saved.superseded, {}
        for told in (saved.facts, saved.failures):
            for run, facts in told.items():
                self._facts.setdefault(run, []).extend(facts)

    # Taken ------------------------------------------------------------------------------------------------------------

    def take(self, run: Run, input: MoveRun, now: Now, out: list[object]) -> str | Problem:
        """Give the run to another site, whatever its home is doing. The order's id, or why not."""
        moving, fragment = self._planner.moving, run.fragments[0] if run.fragments else None
        if fragment is None or fragment.outcome:
            return Problem(409, "cannot_move", f"run {run.id} has no home that it could be taken from")
        if (known := moving.moves.get(run.id)) is not None and known.stage == "yielded":
            return Problem(409, "cannot_move", f"run {run.id} has been given up in order: {moving.words(run.id)}")
        found = moving.target(run, input.to)
        if isinstance(found, str):
            return Problem(409, "cannot_move", found)
        planner, old = self._planner, run.sites[0]
        epoch = following(max(fragment.epoch, run.epoch))
        why = f"{old} is home no longer ({input.reason}): it had this in hand when it was last heard"
        body = state_for(without_hands(fragment, why), found.id, epoch)
        if len(body) > STATE_BYTES_MAX:
            return Problem(409, "cannot_move", f"its state is too large to be sent ({len(body):,} bytes, compressed)")
        command = planner.ids.next("c")
        planner.acquaint(found.id, run.plan, now, out)
        moved = moving.moved(run, command, found.id, epoch, body, old)
        planner.emit(planner.site_stream(found.id), run.id, epoch, moved, now, out)
        planner.fleet.site(old).let_go(len(run.places))
        found.take_on(len(run.places))
        moving.send_on(run, found.id, epoch, now, out)
        self._tell_superseded(run.id, old, now, out)
        return command

    def _tell_superseded(self, run: str, site: str, now: Now, out: list[object]) -> None:
        known = self.superseded.get(run, {}).get(site)
        if known is None or known.is_told or not self._planner.fleet.site(site).greeted:
            return
        told = FragmentSuperseded(known.epoch, known.home)
        self._planner.emit(self._planner.site_stream(site), run, known.epoch, told, now, out)

    def _take_overdue(self, now: Now, out: list[object]) -> None:
        """All whose home is silent for longer than its horizon; those that no site can take are looked at again."""
        left = False
        for run in list(self._horizons):
            if (due := self._due_of(run)) is None or due > now.mono_ms:
                continue
            reason = f"nothing was heard of it for longer than its horizon of {self._horizon_s(run)} s"
            taken = self.take(self._planner.runs[run], MoveRun(0, run, "", reason, True), now, out)
            left = left or isinstance(taken, Problem)
        self._look()
        if left:
            self._due = now.mono_ms + RETRY_MS if self._due is None else max(self._due, now.mono_ms + RETRY_MS)

    def _due_of(self, run: str) -> int | None:
        known = self._planner.runs.look(run)
        if known is None or len(known.sites) != 1 or known.fragments[0] is None or known.fragments[0].outcome:
            return None
        since, after_ms = self._silent.get(known.sites[0]), taken_after_ms(contract_now(known))
        return since + after_ms + LOCK_DELAY_MS if since is not None and after_ms else None

    def _horizon_s(self, run: str) -> int:
        contract = contract_now(self._planner.runs[run])
        return contract.autonomy.horizon_ms // 1_000 if contract is not None else 0

    def _look(self) -> None:
        self._due = None
        if self._silent and self._horizons:
            self._due = min((due for run in self._horizons if (due := self._due_of(run)) is not None), default=None)

    # What the old home tells ------------------------------------------------------------------------------------------

    def is_late(self, site: str, run: str) -> bool:
        """Does the site write as an earlier home of the run?"""
        return site in self.superseded.get(run, ())

    def fold_late(self, site: str, run: str, event: object) -> None:
        """Fold what an earlier home tells: nothing of it changes the run by itself."""
        known = self.superseded[run][site]
        if isinstance(event, FragmentDropped):
            self._dropped(run, site)
        elif isinstance(event, TaskCompleted) and event.agent and event.task < known.tasks:
            self._note_fact(run, told_of(site, event, once=event.task in known.once))
        elif (failure := failure_of(event)) is not None and failure.task < known.tasks:
            self._note_failure(run, FailureTold(site, failure))
        elif not isinstance(event, FACTS):
            known.refused += 1

    def hear_late(self, input: FromPeer, now: Now, out: list[object]) -> bool:
        """The same for an event that has just come, and what follows from it. False if it is of no earlier home."""
        site, run, event = stream_writer(input.stream), input.run, input.event
        if not self.is_late(site, run):
            return False
        known = self.superseded[run][site]
        if isinstance(event, FragmentDropped) and (more := known.refused - REFUSED_MAX) > 0 and run in self._planner.runs:
            said = f"{more:,} decisions more", "they stand in its stream"
            refused = DecisionRefused(site, known.epoch - 1, known.home, known.epoch, *said)
            self._planner.emit(self._planner.stream, run, known.epoch, refused, now, out)
        self._planner.evolve(input.stream, run, event, input.time_ms)
        is_fact = isinstance(event, (*FACTS, FragmentDropped))
        if verdict(known.epoch - 1, known.epoch, is_fact=is_fact) == "refuse" and known.refused <= REFUSED_MAX:
            what = type(event).__name__
            told = f"{event.outcome}: {event.detail}" if isinstance(event, FragmentEnded) else ""
            refused = DecisionRefused(site, known.epoch - 1, known.home, known.epoch, what, told)
            if run in self._planner.runs:
                self._planner.emit(self._planner.stream, run, known.epoch, refused, now, out)
        self._tell_facts(run, now, out)
        if run in self._planner.runs:
            self._planner.touch(run)
        elif isinstance(event, TaskCompleted) and event.agent and event.task in known.once:
            refused_fact = refused_by_the_end(told_of(site, event, once=True))
            self._planner.emit(self._planner.stream, run, known.epoch, refused_fact, now, out)
        return True

    def _tell_facts(self, run: str, now: Now, out: list[object]) -> None:
        """Tell the present home, once it is there and while it stays."""
        known = self._planner.runs.get(run) if run in self._facts else None
        if known is None or run in self._planner.moving.moves or not known.sites:
            return
        site, fragment = known.sites[0], known.fragments[0]
        if fragment is None or not self._planner.fleet.site(site).greeted:
            return
        for fact in list(self._facts[run]):
            self._planner.emit(self._planner.site_stream(site), run, fragment.epoch, fact, now, out)

    def _hear_home(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        self._tell_facts(run, now, out)

    def _hear_doubt(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        """The present home was told of a later one by an agent. There is none, and it goes on by this word."""
        known = self._planner.runs.get(run)
        if known is not None and known.sites == [site] and (fragment := known.fragments[0]) is not None:
            confirmed = HomeConfirmed(fragment.epoch)
            self._planner.emit(self._planner.site_stream(site), run, fragment.epoch, confirmed, now, out)

    def _hear_contract(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        self._look()

    # Folding ----------------------------------------------------------------------------------------------------------

    def _watch(self, run: str) -> None:
        known = self._planner.runs.look(run)
        if known is not None and taken_after_ms(contract_now(known)):
            self._horizons[run] = None

    def _fold_moved(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, FragmentMoved)
        if event.taken_from:
            taken = self._planner.runs[run]
            kept, count, fragment = self.superseded.setdefault(run, {}), len(taken.states()), taken.fragments[0]
            once = [] if fragment is None else [n for n in range(count) if fragment.task(n).effect is not Effect.REPEATABLE]
            kept[event.taken_from] = Superseded(event.epoch, event.site, count, once=once)

    def _fold_told(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        if (known := self.superseded.get(run, {}).get(reader)) is not None:
            known.is_told = True

    def _dropped(self, run: str, site: str) -> None:
        del self.superseded[run][site]
        if not self.superseded[run]:
            del self.superseded[run]

    def _fold_found(self, site: str, run: str, event: Event, time_ms: int) -> None:
        if isinstance(event, FailureFound):
            self._note_failure(run, FailureTold(site, event.failure))
        else:
            assert isinstance(event, FactFound)
            self._note_fact(run, told_of(site, event, once=self._is_once(run, event.task)))

    def _is_once(self, run: str, task: int) -> bool:
        known = self._planner.runs.get(run)
        fragment = known.fragments[0] if known is not None and known.fragments else None
        return fragment is not None and task < len(fragment.states) and fragment.task(task).effect is not Effect.REPEATABLE

    def _note_failure(self, run: str, told: FailureTold) -> None:
        """Worth telling only where that attempt is waited for, as far as is known here."""
        known = self._planner.runs.get(run)
        fragment = known.fragments[0] if known is not None and known.fragments else None
        if fragment is not None and waits_for(fragment, told.failure.task, told.failure.attempt):
            self._note_fact(run, told)

    def _note_fact(self, run: str, fact: FactTold | FailureTold) -> None:
        if run in self._planner.runs:
            self._facts.setdefault(run, []).append(fact)

    def _fold_fact_told(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        left = [fact for fact in self._facts.get(run, ()) if fact != event]
        if left:
            self._facts[run] = left
        else:
            self._facts.pop(run, None)

    def _forget(self, run: str) -> None:
        self._facts.pop(run, None)
        self._horizons.pop(run, None)


def told_of(site: str, event: TaskCompleted | FactFound, *, once: bool) -> FactTold:
    """What a site tells of an attempt that was done there."""
    return FactTold(site, event.task, event.attempt, event.agent, event.output, event.blob, once)


_TAKEN = msgspec.msgpack.Decoder(Taken)
