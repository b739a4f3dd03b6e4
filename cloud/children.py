"""Runs that tasks of other runs ask for.

A task's home records ChildRequested with the child's id; the cloud starts the run under exactly this id in the commit in which it
hears of it, so it is started once. When the child ends, the parent's own record says so (ChildEnded), and the home of the task
that waits for it is told by an order, at once or at its greeting. A child that is no longer wanted is cancelled, unless its task
says that it is to be left alone.

While the task's site is cut off from the cloud, its children wait to be started and it waits for their ends.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from cloud.inputs import NewRun
from cloud.outcomes import Outcome
from cloud.runs import Child, Run
from sync.values import Now
from workflow.between_events import ChildEnded
from workflow.event import Event
from workflow.events import FragmentCancelling, FragmentEnded, TaskCancelled, TaskFailed
from workflow.fragment import Fragment
from workflow.orders import EndChild, Terminate, encode_order
from workflow.plan import InputError, Plan
from workflow.states import WAITING
from workflow.steering_events import (
    ChildRequested,
    CommandRequested,
    FragmentExpired,
    FragmentTerminated,
    RollbackEnded,
    TaskSkipped,
    TasksReset,
    TasksStopped,
)

if TYPE_CHECKING:
    from cloud.planner import Planner

BORN_EPOCH = 1
RELEASED_EPOCH = 2
DEPTH_MAX = 16
CHILDREN_MAX = 10_000

# After these a child may no longer be wanted.
_UNWANTING = (
    *(FragmentCancelling, FragmentEnded, FragmentExpired, FragmentTerminated),
    *(RollbackEnded, TaskCancelled, TaskFailed, TaskSkipped, TasksReset, TasksStopped),
)


class _Refused(Exception):
    """The child cannot be started; the text says why."""


@dataclass(slots=True)
class Children:
    """Parents and children among the planner's runs. What is known of a child is kept with its parent (`Run.children`)."""

    planner: "Planner"

    def evolve(self, run: Run, event: ChildEnded | CommandRequested) -> None:
        """Fold what the cloud recorded of a parent."""
        if isinstance(event, ChildEnded):
            child = run.children.get(event.child)
            if child is not None:
                child.outcome, child.detail, child.output = event.outcome, event.detail, event.output
        elif (child := run.children.get(event.command.removeprefix(_END))) is not None:
            child.is_told, child.output = True, b""

    def hear(self, name: str, run: Run | None, site: str, event: Event, now: Now, out: list[object]) -> None:
        """A site tells of the run `name`, which has left memory if `run` is None."""
        if isinstance(event, ChildRequested):
            self._request(name, run, event, now, out)
        elif run is not None and run.children and type(event) in _UNWANTING:
            self._review(run, site, event, now, out)

    def _request(self, name: str, run: Run | None, asked: ChildRequested, now: Now, out: list[object]) -> None:
        if asked.child in self.planner.runs:
            return
        depth = run.depth + 1 if run is not None else asked.child.count(".") // 2
        try:
            plan, inputs = self._checked(run, asked, depth)
        except _Refused as refusal:
            self._record(run, asked.child, Outcome("failed", str(refusal)), now, out)
            return
        priority, key = (run.priority, run.fairness_key) if run is not None else (plan.priority, "")
        self.planner.begin(asked.child, plan.ref, NewRun(inputs, {}, priority, key, name, depth), now, out)

    def _checked(self, run: Run | None, asked: ChildRequested, depth: int) -> tuple[Plan, bytes]:
        """What is to be started, and with which inputs. Raises _Refused."""
        if depth > DEPTH_MAX:
            raise _Refused(f"run {asked.child} would be {depth} runs deep; allowed: {DEPTH_MAX}")
        if run is not None and len(run.children) > CHILDREN_MAX:
            raise _Refused(f"run {run.id} has asked for {len(run.children):,} runs; allowed: {CHILDREN_MAX:,}")
        if (full := self.planner.admission.refusal(1)) is not None:
            raise _Refused(full.detail)
        ref = asked.definition if "@" in asked.definition else self.planner.latest.get(asked.definition, asked.definition)
        plan = self.planner.plans.get(ref)
        if plan is None:
            raise _Refused(f"definition {asked.definition} is not registered")
        try:
            return plan, msgspec.json.encode(plan.check_inputs(msgspec.json.decode(asked.inputs)))
        except InputError as error:
            raise _Refused(f"the inputs do not fit {plan.ref}: {error}") from None

    # Ends -------------------------------------------------------------------------------------------------------------

    def end(self, child: Run, how: Outcome, now: Now, out: list[object]) -> None:
        """A run has ended: its parent hears of it."""
        if child.parent:
            self._record(self.planner.runs.get(child.parent), child.id, how, now, out)

    def _record(self, parent: Run | None, child: str, how: Outcome, now: Now, out: list[object]) -> None:
        if parent is None or child not in parent.children:
            return  # It has ended, and nobody waits.
        ended = ChildEnded(child, how.outcome, how.detail, how.output)
        self.planner.emit(self.planner.stream, parent.id, BORN_EPOCH, ended, now, out)
        self.planner.changed[parent.id] = None
        self._tell(parent, child, now, out)

    def greet(self, run: Run, site: str, now: Now, out: list[object]) -> None:
        """The site may be written to from now on."""
        for name, child in run.children.items():
            if child.site == site:
                self._tell(run, name, now, out)

    def _tell(self, run: Run, name: str, now: Now, out: list[object]) -> None:
        """Tell the home of the task that waits."""
        child = run.children[name]
        fragment = run.fragment(child.site)
        gone = fragment is not None and fragment.outcome
        if not child.outcome or child.is_told or not child.waits or gone or not self.planner.fleet.site(child.site).greeted:
            return
        output = msgspec.Raw(child.output) if child.output else None
        order = EndChild(name, child.outcome, output, child.detail)
        told = CommandRequested(f"{_END}{name}", "end_child", encode_order(order))
        self.planner.emit(self.planner.site_stream(child.site), run.id, RELEASED_EPOCH, told, now, out)

    # No longer wanted -------------------------------------------------------------------------------------------------

    def _review(self, run: Run, site: str, event: Event, now: Now, out: list[object]) -> None:
        """Cancel what the event has made unwanted; a parent that is terminated takes its children along as it went."""
        fragment = run.fragment(site)
        if fragment is None:
            return
        for name, child in list(run.children.items()):
            known = self.planner.runs.get(name)
            if known is None or child.site != site or is_wanted(fragment, name, child):
                continue
            if not known.cancelling:
                self.planner.stop(known, f"run {run.id} wants it no longer", now, out)
            if isinstance(event, FragmentTerminated):
                self._terminate(known, f"run {run.id} was terminated", now, out)

    def _terminate(self, run: Run, reason: str, now: Now, out: list[object]) -> None:
        request = CommandRequested(self.planner.ids.next("c"), "terminate", encode_order(Terminate(reason)))
        for site, fragment in zip(run.sites, run.fragments, strict=True):
            if (fragment is None or not fragment.outcome) and self.planner.fleet.site(site).greeted:
                self.planner.emit(self.planner.site_stream(site), run.id, RELEASED_EPOCH, request, now, out)


def is_wanted(fragment: Fragment, name: str, child: Child) -> bool:
    """Is the child to go on? One that nobody waits for goes on unless its parent is cancelled; `on_cancel: leave` is for both."""
    plan = fragment.task(child.task).child if child.task >= 0 else None
    if plan is None or not plan.cancels:
        return True
    if not child.waits:
        return fragment.stopping != "cancelled"
    asked = fragment.extras.children if fragment.extras is not None else {}
    return asked.get(child.task) == name and fragment.states[child.task] == WAITING


_END = "end/"
