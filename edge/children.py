"""Runs that runs of this site ask for while it is cut off: begun here, if all of such a run can be done here.

While the site is linked, the cloud starts a child and places it; what was asked of it then stays the cloud's, whatever becomes of
the link. Cut off, the site says with the request that it starts the child itself (`ChildRequested.here`), and begins it in the
same commit as a schedule's run: `RunCreated` and `FragmentAdopted`, under the epoch of birth. So a child is started once, by
whom the log names. The site that began it also tells the task that waits of its end, and cancels it once it is not wanted.

Of a child that the cloud started and that is done here as a whole, a site that is cut off tells the end, too. When the cloud says
it again, it is refused, for nobody waits any more.
"""

from dataclasses import dataclass, field

import msgspec

from edge.definitions import Definitions
from edge.home import Home
from edge.part import Part
from sync.outputs import Append
from sync.values import Now, RunId
from workflow.children import (
    END,
    UNWANTING,
    ChildRefused,
    check_room,
    checked_inputs,
    depth_of,
    is_wanted,
    kin_of,
    plan_named,
    waits_for,
)
from workflow.commands import Cancel, Steer
from workflow.contract import inherited
from workflow.event import Event
from workflow.events import FragmentAdopted, RunCreated
from workflow.expression import ExpressionError
from workflow.fragment import Fragment
from workflow.looking import scope_of_run
from workflow.orders import EndChild, Terminate
from workflow.plan import Plan
from workflow.scope import Scope
from workflow.states import ELSEWHERE
from workflow.steering_events import ChildRequested, FragmentTerminated
from workflow.tasks import Graph, TaskPlan

BORN_EPOCH = 1
RUNS_MAX = 200_000
"""With so many runs under way a site leaves children to the cloud."""


@dataclass(slots=True)
class SiteChildren(Part):
    """`living` are the children that were begun here and have not ended, by parent. What was asked for, and what has ended, waits
    in memory for the end of the turn, which is one commit."""

    home: Home
    definitions: Definitions
    runs_max: int = RUNS_MAX
    is_linked: bool = False
    living: dict[str, dict[str, None]] = field(default_factory=dict)
    _asked: list[tuple[Fragment, ChildRequested]] = field(default_factory=list)
    _ended: list[Fragment] = field(default_factory=list)

    def lost(self, now: Now, out: list[object]) -> None:
        """The site is cut off."""
        self.is_linked = False

    def linked(self, now: Now, out: list[object]) -> None:
        """Who was wanted no longer is cancelled, for events may have been lost."""
        self.is_linked = True
        for name in list(self.living):
            if (parent := self.home.fragments.get(name)) is not None:
                self._cancel_unwanted(parent, False, now, out)

    def note(self, fragment: Fragment) -> None:
        """A fragment is under way here; perhaps it is a child that was begun here."""
        if fragment.epoch == BORN_EPOCH and (kin := kin_of(fragment.run)) is not None:
            self.living.setdefault(kin.parent, {})[fragment.run] = None

    # Asking -----------------------------------------------------------------------------------------------------------

    def claim(self, fragment: Fragment, asked: ChildRequested) -> ChildRequested:
        """The request as it is to be recorded: with `here` if the child is begun here, at the end of this turn."""
        if self.is_linked or len(self.home.fragments) + len(self._asked) >= self.runs_max or not self._can_do(asked):
            return asked
        asked = msgspec.structs.replace(asked, here=True)
        self._asked.append((fragment, asked))
        return asked

    def _can_do(self, asked: ChildRequested) -> bool:
        """Is it known here what the child is, and can this site do all of it? What cannot be started at all is refused here."""
        plan = plan_named(asked.definition, self.home.plans, self.definitions.latest)
        if plan is None or plan.awaits:  # Only the cloud knows all runs.
            return False
        try:
            scope = Scope(msgspec.json.decode(checked_inputs(plan, asked)))
        except ChildRefused:
            return asked.task >= 0
        return self._offers(plan.tasks) and all(self._is_here(task, scope) for task in plan.tasks)

    def _offers(self, tasks: tuple[TaskPlan, ...]) -> bool:
        for task in tasks:
            if task.body is not None:
                graph: Graph = task.body.graph
                if not self._offers(graph.tasks):
                    return False
            if (task.capability or task.agent) and not self.home.roster.offers(task.capability, task.agent):
                return False
        return True

    def _is_here(self, task: TaskPlan, scope: Scope) -> bool:
        if task.site is None:
            return True
        try:
            rendered = task.site.constant if task.site.constant is not None else task.site.render(scope)
        except ExpressionError:
            return False  # The cloud says so.
        return str(msgspec.json.decode(rendered)) == self.home.site

    # The end of a turn ------------------------------------------------------------------------------------------------

    def finish(self, now: Now, out: list[object]) -> bool:
        """Begin what was asked for, and tell parents of what has ended. False if there was nothing."""
        asked, self._asked = self._asked, []
        ended, self._ended = self._ended, []
        for fragment, request in asked:
            self._begin(self.home.fragments.get(fragment.run, fragment), request, now, out)
        for child in ended:
            self._tell(child, now, out)
        return bool(asked or ended)

    def resume(self, child: str, request: ChildRequested, now: Now, out: list[object]) -> None:
        """Events came back after a loss, the request among them, and the child's beginning not: it is begun now."""
        kin = kin_of(child)
        if kin is not None and child not in self.home.fragments:
            self._begin(self.home.fragments.get(kin.parent), request, now, out)

    def _begin(self, parent: Fragment | None, asked: ChildRequested, now: Now, out: list[object]) -> None:
        if asked.task >= 0 and (parent is None or not is_wanted(parent, asked.task, asked.child)):
            return
        try:
            plan, inputs = self._checked(parent, asked)
        except ChildRefused as refusal:
            self._end_task(asked.child, EndChild(asked.child, "failed", None, str(refusal)), now, out)
            return
        home, site, run = self.home, self.home.site, asked.child
        priority = parent.priority() if parent is not None else plan.priority
        name = parent.run if parent is not None else ""
        contract = inherited(plan.contract, parent.contract if parent is not None else None, says_itself=plan.says_contract)
        created = RunCreated(plan.ref, inputs, {}, now.wall_ms, priority, "", name, depth_of(run), contract=contract)
        places = bytes(len(plan.tasks))
        adopted = FragmentAdopted(plan.ref, inputs, site, [site], places, BORN_EPOCH, priority, contract=contract)
        out += (Append(home.stream, run, BORN_EPOCH, event) for event in (created, adopted))
        fragment = home.fragments[run] = Fragment.adopt(RunId(run), plan, adopted)
        self.note(fragment)
        home.adopt(fragment, adopted, now, out)

    def _checked(self, parent: Fragment | None, asked: ChildRequested) -> tuple[Plan, bytes]:
        known = len(parent.extras.children) if parent is not None and parent.extras is not None else 0
        check_room(parent.run if parent is not None else "", asked.child, depth_of(asked.child), known)
        plan = plan_named(asked.definition, self.home.plans, self.definitions.latest)
        if plan is None:
            raise ChildRefused(f"definition {asked.definition} is not known at {self.home.site}")
        return plan, checked_inputs(plan, asked)

    # Ends -------------------------------------------------------------------------------------------------------------

    def end(self, fragment: Fragment) -> None:
        """A fragment has ended here."""
        kin = kin_of(fragment.run)
        if kin is None:
            return
        if fragment.epoch == BORN_EPOCH and (left := self.living.get(kin.parent)) is not None:
            left.pop(fragment.run, None)
            if not left:
                del self.living[kin.parent]
        if fragment.epoch == BORN_EPOCH or (not self.is_linked and _is_whole(fragment)):
            self._ended.append(fragment)

    def _tell(self, child: Fragment, now: Now, out: list[object]) -> None:
        outcome, detail, output = child.outcome, child.detail, None
        if outcome == "completed" and child.plan.outputs is not None:
            reads = ((task, child) for task in child.plan.outputs.reads)
            try:
                output = msgspec.Raw(child.plan.outputs.render(scope_of_run(child.run, child.inputs, reads)))
            except ExpressionError as error:
                outcome, detail = "failed", f"outputs: {error}"
        self._end_task(child.run, EndChild(child.run, outcome, output, detail), now, out)

    def _end_task(self, child: str, order: EndChild, now: Now, out: list[object]) -> None:
        kin = kin_of(child)
        parent = self.home.fragments.get(kin.parent) if kin is not None else None
        if kin is not None and parent is not None and waits_for(parent, kin.task, child):
            self.home.decide(parent, Steer(f"{END}{child}", order), now, out)

    # No longer wanted -------------------------------------------------------------------------------------------------

    def review(self, parent: Fragment, events: list[Event], now: Now, out: list[object]) -> None:
        """Cancel what the events have made unwanted; a parent that is terminated takes its children along as it went."""
        if any(type(event) in UNWANTING for event in events):
            self._cancel_unwanted(parent, any(type(event) is FragmentTerminated for event in events), now, out)

    def _cancel_unwanted(self, parent: Fragment, is_terminated: bool, now: Now, out: list[object]) -> None:
        for name in list(self.living.get(parent.run, ())):
            kin, child = kin_of(name), self.home.fragments.get(name)
            assert kin is not None, f"run {name} is nobody's child"
            if child is None or is_wanted(parent, kin.task, name) or (child.stopping and not is_terminated):
                continue
            command = f"unwanted/{name}"
            if is_terminated:
                self.home.decide(child, Steer(command, Terminate(f"run {parent.run} was terminated")), now, out)
            else:
                self.home.decide(child, Cancel(command, f"run {parent.run} wants it no longer"), now, out)


def _is_whole(fragment: Fragment) -> bool:
    """Is all of the run done at this site?"""
    return fragment.handed is None and ELSEWHERE not in fragment.states
