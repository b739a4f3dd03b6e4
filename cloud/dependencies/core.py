"""Dependencies between runs, at the planner: asked for, held back at the homes, settled when the awaited has ended.

Whatever is decided is an event of the run that waits, in the cloud's own stream. What had ended before somebody came to wait for
it is read from the log. A value that was handed over stands: a wait that is met stays met, even if the awaited goes on again.
"""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from cloud.dependencies import ends, values
from cloud.dependencies.circles import Circles
from cloud.dependencies.inputs import AddDependencies, RemoveDependency, Wait
from cloud.dependencies.records import (
    HOPELESS,
    LIFTED,
    MET,
    REFUSED,
    REMOVED,
    WAITING,
    Dependency,
    Records,
    hold_name,
    of_hold,
)
from cloud.dependencies.telling import HOLD, LIFT, Telling, asked_of, words
from cloud.outcomes import Outcome
from cloud.part import Fold, Hear, Part, Step
from cloud.port import Problem
from cloud.runs import Run
from sync.outputs import Reply
from sync.values import Now
from workflow.between import DEPENDENCIES_MAX, KINDS, Point
from workflow.between_events import DependencyAdded, DependencyRemoved, DependencySettled
from workflow.event import Blob, Event
from workflow.events import CommandAnswered, RunEnded, TaskCompleted
from workflow.orders import Hold, Lift, decode_order
from workflow.plan import Plan
from workflow.steering_events import ChildRequested, CommandRequested, FragmentReopened, HoldLifted

if TYPE_CHECKING:
    from cloud.planner import Planner

BORN_EPOCH = 1


class Dependencies(Part):
    """All dependencies of runs that have not ended."""

    name = "dependencies"

    def __init__(self, planner: "Planner", dependencies_max: int = DEPENDENCIES_MAX) -> None:
        self.planner = planner
        self.dependencies_max = dependencies_max
        self.records = Records()
        self.telling = Telling(planner)
        self._circles: Circles | None = None
        self._hopeless: dict[str, str] = {}
        self._unknown: dict[str, None] = {}
        self._unsure: dict[str, None] = {}

    def steps(self) -> dict[type, Step]:
        return {AddDependencies: self._add, RemoveDependency: self._remove}

    def own_folds(self) -> dict[type, Fold]:
        return {
            DependencyAdded: self._fold_added,
            DependencySettled: self._fold_settled,
            DependencyRemoved: self._fold_removed,
            CommandRequested: self._fold_told,
            RunEnded: self._fold_ended,
        }

    def site_folds(self) -> dict[type, Fold]:
        return {CommandAnswered: self._fold_answered, HoldLifted: self._fold_lifted}

    def hears(self) -> dict[type, Hear]:
        return {
            CommandAnswered: self._hear_answer,
            HoldLifted: self._hear_lifted,
            ChildRequested: self._hear_child,
            FragmentReopened: self._hear_reopened,
        }

    def save(self) -> bytes:
        return self.records.save()

    def restore(self, body: bytes) -> None:
        self.records = Records.load(body)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_added(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, DependencyAdded)
        self.planner.ids.note(event.dependency)
        assert event.after in KINDS, f"{event.after!r} is no kind of dependency"
        what = (event.dependency, run, event.of_task, event.on_run, event.on_task, event.after, time_ms, event.hold)
        homes = list(event.homes)
        self.records.add(Dependency(*what, told=homes, held=list(homes), terms=event.terms))  # type: ignore[arg-type]
        if not event.of_task:
            self.planner.admission.bind(run)

    def _fold_settled(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, DependencySettled)
        if (known := self.records.known.get(event.dependency)) is not None:
            self._close(known, event.state, event.detail, time_ms)
            if event.value and known.task:
                known.value = event.value
            elif event.value and (waiting := self.planner.runs.get(run)) is not None:
                values.give(waiting, known.into, event.value)

    def _fold_removed(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, DependencyRemoved)
        if (known := self.records.known.get(event.dependency)) is not None:
            self._close(known, REMOVED, event.reason, time_ms)

    def _close(self, known: Dependency, state: str, detail: str, time_ms: int) -> None:
        was_open = known.state == WAITING
        self.records.close(known, state, detail, time_ms)
        if self._circles is not None and was_open and not self.records.between(known.waiting, known.awaited):
            self._circles.remove(known.waiting, known.awaited)
        if not known.task and not any(each.state in (WAITING, HOPELESS) and not each.task for each in self.records.of(known.run)):
            self.planner.admission.free(known.run)

    def _fold_told(self, site: str, run: str, event: Event, time_ms: int) -> None:
        """A stream that is kept for a site carries a Hold or a Lift. Of one that is not known here the record is lost: the stream
        came back from the site."""
        assert isinstance(event, CommandRequested)
        verb, _, id = event.command.partition("/")
        if not site or not id or verb not in (HOLD, LIFT):
            return
        order = decode_order(event.arguments)
        known = self.records.known.get(id)
        if isinstance(order, Hold) and known is None and run in self.planner.runs and (made := of_hold(order.hold)) is not None:
            self.planner.ids.note(id)
            self.records.add(known := made.again(id, run, order.task, time_ms, order.hold))
        if known is None:
            return
        if isinstance(order, Hold) and site not in known.told:
            known.told.append(site)
        if isinstance(order, Lift):
            known.lifted.append(site)
            if known.state == WAITING:
                self._close(known, MET if order.met else HOPELESS, "its home was told so", time_ms)

    def _fold_answered(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, CommandAnswered)
        if (known := self._of_hold(event.command)) is not None:
            answers = known.held if event.accepted else known.refused
            if site not in answers:
                answers.append(site)

    def _fold_lifted(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, HoldLifted)
        self.records.give(run, event.hold)

    def untell(self, site: str) -> None:
        self.telling.untell(self.records, site)

    def _fold_ended(self, site: str, run: str, event: Event, time_ms: int) -> None:
        self.records.forget(run)
        if self._circles is not None:
            self._circles.end(run)

    def _of_hold(self, command: str) -> Dependency | None:
        verb, _, id = command.partition("/")
        return self.records.known.get(id) if verb == HOLD else None

    # Asked for --------------------------------------------------------------------------------------------------------

    def unknown(self, waits: Iterable[Wait], recalled: Iterable[Run]) -> str:
        """A run that is waited for, and that has to be looked up in the log first; empty if none has."""
        found = {run.id for run in recalled}
        missing = (w.awaited.run for w in waits if w.awaited.run not in self.planner.runs and w.awaited.run not in found)
        return next(missing, "")

    def _add(self, input: AddDependencies, now: Now, out: list[object]) -> None:
        if missing := self.unknown(input.waits, input.recalled):

            def again(found: Run | None, now: Now, out: list[object]) -> None:
                if found is None:
                    out.append(Reply(input.token, ends.unknown_run(missing)))
                else:
                    self._add(input._replace(recalled=(*input.recalled, found)), now, out)

            self.planner.reopening.look(missing, again, out)
            return
        run = self.planner.runs.get(input.run)
        try:
            if run is None:
                raise ends.not_waiting(input.run)
            answer: object = self._accept(run, input.waits, input.recalled, now, out)
        except Problem as problem:
            answer = problem
        out.append(Reply(input.token, answer))

    def _accept(self, run: Run, waits: tuple[Wait, ...], recalled: tuple[Run, ...], now: Now, out: list[object]) -> list[str]:
        """Record them all, or raise Problem and nothing has changed."""
        ended = _by_id(recalled)
        for wait in waits:
            ends.check_waiting(run, wait.task)
            values.check_unreleased(run, wait)
            self._check_awaited(run.plan, wait, ended)
        if problem := self.refusal(len(waits)):
            raise problem
        self._close_no_circle(run, waits, ended)
        return [self._record(run, wait, ended, now, out) for wait in waits]

    def refusal(self, count: int) -> Problem | None:
        """Why no `count` more can be kept; None if they can."""
        if len(self.records) + count <= self.dependencies_max:
            return None
        detail = (
            f"{len(self.records):,} dependencies between runs are kept, at most {self.dependencies_max:,}: nothing was added; "
            "try again when some of the runs that wait have ended"
        )
        return Problem(503, "dependencies_full", detail)

    def start_refusal(self, plan: Plan, waits: list[Wait], recalled: tuple[Run, ...]) -> Problem | None:
        """Why runs of this plan cannot begin with these waits; None if they can."""
        ended = _by_id(recalled)
        try:
            for wait in waits:
                ends.check_task(plan, wait.task)
                self._check_awaited(plan, wait, ended)
        except Problem as problem:
            return problem
        return self.refusal(len(waits))

    def _check_awaited(self, plan: Plan, wait: Wait, ended: dict[str, Run]) -> None:
        awaited = self.planner.runs.get(wait.awaited.run) or ended[wait.awaited.run]
        ends.check_awaited(awaited, wait.awaited.task)
        values.check(plan, wait, awaited)

    def _outcome(self, wait: Wait, ended: dict[str, Run]) -> str:
        """How what is awaited has ended; empty if it has not, or nobody has looked yet."""
        run = self.planner.runs.get(wait.awaited.run) or ended.get(wait.awaited.run)
        return ends.outcome_of(run, wait.awaited.task) if run is not None else ""

    def _close_no_circle(self, run: Run, waits: tuple[Wait, ...], ended: dict[str, Run]) -> None:
        """All of them go into the graph. Raises Problem (409) if one would close a circle, or contradicts one that there is."""
        if self._circles is None:
            self._circles = Circles(self.planner, self.records.known.values())
        pairs: dict[tuple[Point, Point], None] = {}
        for wait in waits:
            waiting = Point(run.id, wait.task)
            known = self.records.find(waiting, wait.awaited, wait.into)
            if known is not None and (known.kind, known.terms) != (wait.kind, wait.terms):
                detail = f"{waiting} waits for {wait.awaited} already, {asked_of(known)} ({known.id}): remove that one first"
                raise Problem(409, "dependency_exists", detail)
            if not self.records.between(waiting, wait.awaited) and not self._outcome(wait, ended):
                pairs[waiting, wait.awaited] = None
        self._circles.enter(pairs)

    def begin(self, run: str, waits: tuple[Wait, ...], recalled: tuple[Run, ...], now: Now, out: list[object]) -> None:
        """A run that was created just now waits; nobody but its parent waits for it yet. What is awaited has been checked, or is
        looked up now."""
        known, ended = self.planner.runs[run], _by_id(recalled)
        if waits and known.parent:
            self._enter_child(known.parent, run)
        for wait in waits:
            circle = ""
            if self._circles is not None and not self._outcome(wait, ended):
                circle = self._circles.refusal(Point(run, wait.task), wait.awaited)
            id = self._record(known, wait, ended, now, out)
            if circle:
                self._conclude(self.records.known[id], HOPELESS, circle, now, out)
            elif wait.awaited.run not in self.planner.runs and wait.awaited.run not in ended:
                self._unsure[wait.awaited.run] = None

    def _enter_child(self, parent: str, child: str) -> None:
        self._circles = self._circles or Circles(self.planner, self.records.known.values())
        if (run := self.planner.runs.get(parent)) is not None and (asked := run.children.get(child)) is not None and asked.waits:
            self._circles.add_child(run, asked.site, asked.task, child)

    def _record(self, run: Run, wait: Wait, ended: dict[str, Run], now: Now, out: list[object]) -> str:
        if (there := self.records.find(Point(run.id, wait.task), wait.awaited, wait.into)) is not None:
            return there.id
        id = self.planner.ids.next("d")
        hold = hold_name(id, wait.kind, wait.awaited, wait.task, wait.terms)
        added = DependencyAdded(id, wait.task, wait.awaited.run, wait.awaited.task, wait.kind, hold, terms=wait.terms)
        self._emit(run.id, added, now, out)
        known = self.records.known[id]
        if outcome := self._outcome(wait, ended):
            awaited = self.planner.runs.get(wait.awaited.run) or ended[wait.awaited.run]
            self._settle(known, outcome, values.output_of(awaited, wait.awaited.task), now, out)
        else:
            self.telling.tell(known, now, out)
        return id

    def _remove(self, input: RemoveDependency, now: Now, out: list[object]) -> None:
        known = self.records.known.get(input.dependency)
        problem = values.removal_refusal(known, input, self.planner.runs.get(input.run))
        if known is None or problem is not None:
            out.append(Reply(input.token, problem))
            return
        self._emit(known.run, DependencyRemoved(known.id, input.reason or "removed by a person"), now, out)
        self.telling.tell(known, now, out)
        out.append(Reply(input.token, known.id))

    # Ends -------------------------------------------------------------------------------------------------------------

    def ended(self, run: Run, how: Outcome, now: Now, out: list[object]) -> None:
        for known in list(self.records.on(run.id)):
            if known.state == WAITING:
                output = values.output_of(run, known.on_task) if known.on_task else how.output or None
                self._settle(known, ends.task_outcome(run, known.on_task) or how.outcome, output, now, out)

    def look(self, run: Run, site: str, event: Event, now: Now, out: list[object]) -> None:
        """A site has told of a run of which single tasks matter: which of them have ended by it?"""
        fragment = run.fragment(site)
        if fragment is None:
            return
        for task in dict.fromkeys(ends.ended_by(fragment, event)):
            name = fragment.id_of(task)
            output = event.blob or event.output if isinstance(event, TaskCompleted) and event.task == task else None
            for known in self.records.at(Point(run.id, name)):
                if known.awaited == (run.id, name) and (outcome := ends.task_outcome(run, name)):
                    self._settle(known, outcome, output, now, out)

    def _settle(self, known: Dependency, outcome: str, output: bytes | Blob | None, now: Now, out: list[object]) -> None:
        """What it waits for has ended. A run that waits as a whole for what cannot come is cancelled, at the end of the batch: it
        may be one of a long chain."""
        is_met, detail, value = values.concluded(known, self.planner.runs.get(known.run), outcome, output)
        self._conclude(known, MET if is_met else HOPELESS, detail, now, out, value)

    def _conclude(self, known: Dependency, state: str, detail: str, now: Now, out: list[object], value: bytes = b"") -> None:
        self._emit(known.run, DependencySettled(known.id, state, detail, value), now, out)
        self._fail(known)
        self.telling.tell(known, now, out)

    def _fail(self, known: Dependency) -> None:
        if known.state == HOPELESS and not known.task:
            self._hopeless.setdefault(known.run, f"it was to begin {words(known.kind)} of {known.awaited}, but {known.detail}")

    def settle(self, now: Now, out: list[object]) -> None:
        while self._hopeless:
            name, reason = self._hopeless.popitem()
            if (run := self.planner.runs.get(name)) is not None and not run.cancelling:
                self.planner.stop(run, reason, now, out)
        for name in self._unknown:
            self.planner.reopening.look(name, self._found, out)
        self._unknown.clear()
        for name in self._unsure:
            self.planner.reopening.look(name, partial(self._looked_up, name), out)
        self._unsure.clear()

    # From the sites ---------------------------------------------------------------------------------------------------

    def _hear_answer(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        """Once all homes have refused to hold, nothing is held, and everybody may see that."""
        assert isinstance(event, CommandAnswered)
        known = self._of_hold(event.command)
        if known is None or event.accepted or not (known.state in (WAITING, HOPELESS) or (known.state == MET and known.into)):
            return
        if set(known.told) <= set(known.refused):
            self._emit(known.run, DependencySettled(known.id, REFUSED, event.detail), now, out)

    def _hear_lifted(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        """Somebody has lifted a hold of ours. Of a run that waits as a whole it counts once nothing of it is held any more."""
        assert isinstance(event, HoldLifted)
        waiting = self.planner.runs.get(run)
        for known in self.records.held_by(run, event.hold):
            if waiting is not None and not ends.is_held(waiting, event.hold):
                self._conclude(known, LIFTED, f"its hold was lifted at {site}", now, out)

    def _hear_child(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        assert isinstance(event, ChildRequested)
        parent = self.planner.runs.get(run)
        if self._circles is None or parent is None or not event.waits:
            return
        if (child := parent.children.get(event.child)) is not None and not child.outcome:
            self._circles.add_child(parent, site, event.task, event.child)

    def _hear_reopened(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        """What it was held for when it ended, it is held for still."""
        if (known := self.planner.runs.get(run)) is not None:
            self._know_again(known, site, now, out)

    def _know_again(self, run: Run, site: str, now: Now, out: list[object]) -> None:
        """Holds of ours that the site has, and of which nothing is known here (any more)."""
        fragment = run.fragment(site)
        extras = fragment.extras if fragment is not None else None
        if fragment is None or extras is None or fragment.outcome:
            return
        ours = {known.hold for known in self.records.of(run.id)}
        for task, holds in extras.holds.items():
            for hold in sorted(holds):
                made = of_hold(hold)
                if made is None or hold in ours:
                    continue
                ours.add(hold)
                name = "" if made.is_whole else fragment.id_of(task)
                added = made.added(self.planner.ids.next("d"), name, hold, site)
                self._emit(run.id, added, now, out)
                self._review(self.records.known[added.dependency], now, out)

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        for _, run in self.planner.runs.whole():
            if site in run.sites:
                self._know_again(run, site, now, out)
        for name in self.records.runs():
            run_known = self.planner.runs.look(name)
            if run_known is None or site not in run_known.sites:
                continue
            for known in list(self.records.of(name)):
                self._review(known, now, out)

    def released(self, run: str, now: Now, out: list[object]) -> None:
        """The run has got its homes: what was asked for its tasks before goes there with it."""
        for known in list(self.records.of(run)):
            self.telling.tell(known, now, out)

    def restored(self, now: Now, out: list[object]) -> None:
        for known in list(self.records.known.values()):
            if not known.task and known.state in (WAITING, HOPELESS):
                self.planner.admission.bind(known.run)
            self._review(known, now, out)

    def _review(self, known: Dependency, now: Now, out: list[object]) -> None:
        """What may have happened while nobody looked: the awaited has ended, a home has not been told."""
        if known.state == WAITING:
            awaited = self.planner.runs.look(known.on_run)
            if awaited is None:
                self._unknown[known.on_run] = None
            elif outcome := ends.outcome_of(awaited, known.on_task):
                self._settle(known, outcome, values.output_of(awaited, known.on_task), now, out)
                return
        self._fail(known)
        self.telling.tell(known, now, out)

    def _found(self, run: Run | None, now: Now, out: list[object]) -> None:
        """The log tells how a run ended that is waited for. Of one that it does not know a site may still tell."""
        if run is not None and run.outcome:
            self.ended(run, Outcome(run.outcome, run.detail, run.output), now, out)

    def _looked_up(self, name: str, run: Run | None, now: Now, out: list[object]) -> None:
        """The log tells of a run that one which has begun waits for; if it does not, nobody ever had that name."""
        self._found(run, now, out)
        for known in list(self.records.on(name)) if run is None else ():
            if known.state == WAITING:
                self._conclude(known, HOPELESS, f"{name} is not known here", now, out)

    def _emit(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        self.planner.emit(self.planner.stream, run, BORN_EPOCH, event, now, out)
        self.planner.changed[run] = None


def _by_id(runs: Iterable[Run]) -> dict[str, Run]:
    return {run.id: run for run in runs}
