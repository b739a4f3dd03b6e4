"""Runs that tasks of other runs ask for.

A task's home records ChildRequested with the child's id; the cloud starts the run under exactly this id in the commit in which it
hears of it, so it is started once. When the child ends, the parent's own record says so (ChildEnded), and the home of the task
that waits for it is told by an order, at once or at its greeting. A child that is no longer wanted is cancelled, unless its task
says that it is to be left alone.

A site that is cut off starts a child itself if all of it can be done there, and says so with the request (`here`). Such a child
is the site's: it tells the parent of the end, and cancels what is no longer wanted. The cloud takes it in when it hears of it.
For all others a site that is cut off waits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from cloud.contracts import contract_now
from cloud.dependencies.defined import defined_now
from cloud.dependencies.inputs import Wait
from cloud.inputs import NewRun
from cloud.outcomes import Outcome
from cloud.port import Problem
from cloud.runs import Run
from sync.values import Now
from workflow.between_events import ChildEnded
from workflow.children import (
    DEFINITIONS_MAX,
    END,
    UNWANTING,
    ChildRefused,
    check_room,
    checked_inputs,
    depth_of,
    is_wanted,
    named_by,
    plan_named,
    waits_for,
)
from workflow.contract import inherited
from workflow.event import Event
from workflow.orders import EndChild, Terminate, encode_order
from workflow.plan import Plan
from workflow.steering_events import ChildRequested, CommandRequested, FragmentTerminated

if TYPE_CHECKING:
    from cloud.planner import Planner

BORN_EPOCH = 1
RELEASED_EPOCH = 2


@dataclass(slots=True)
class Children:
    """Parents and children among the planner's runs. What is known of a child is kept with its parent (`Run.children`)."""

    planner: "Planner"
    _named: dict[str, tuple[str, ...]] = field(default_factory=dict)  # By definition: those that it may start.

    def evolve(self, run: Run, event: ChildEnded | CommandRequested) -> None:
        """Fold what the cloud recorded of a parent."""
        if isinstance(event, ChildEnded):
            child = run.children.get(event.child)
            if child is not None:
                child.outcome, child.detail, child.output = event.outcome, event.detail, event.output
        elif (child := run.children.get(event.command.removeprefix(END))) is not None:
            child.is_told, child.output = True, b""

    def hear(self, name: str, run: Run | None, site: str, event: Event, now: Now, out: list[object]) -> None:
        """A site tells of the run `name`, which has left memory if `run` is None."""
        if isinstance(event, ChildRequested):
            self._request(name, run, event, now, out)
        elif run is not None and run.children and type(event) in UNWANTING:
            self._review(run, site, event, now, out)

    def _request(self, name: str, run: Run | None, asked: ChildRequested, now: Now, out: list[object]) -> None:
        if asked.here or asked.child in self.planner.runs:
            return
        depth = run.depth + 1 if run is not None else depth_of(asked.child)
        try:
            plan, inputs, waits = self._checked(run, asked, depth)
        except ChildRefused as refusal:
            self._record(run, asked.child, Outcome("failed", str(refusal)), now, out)
            return
        priority, key = (run.priority, run.fairness_key) if run is not None else (plan.priority, "")
        contract = inherited(plan.contract, contract_now(run) if run is not None else None, says_itself=plan.says_contract)
        self.planner.begin(asked.child, plan.ref, NewRun(inputs, {}, priority, key, name, depth, contract=contract), now, out)
        self.planner.dependencies.begin(asked.child, waits, (), now, out)

    def _checked(self, run: Run | None, asked: ChildRequested, depth: int) -> tuple[Plan, bytes, tuple[Wait, ...]]:
        """What is to be started, with which inputs, and for whom it waits. Raises ChildRefused."""
        if run is not None:
            check_room(run.id, asked.child, depth, len(run.children))
        else:
            check_room("", asked.child, depth, 0)
        if (full := self.planner.admission.refusal(1)) is not None:
            raise ChildRefused(full.detail)
        plan = plan_named(asked.definition, self.planner.plans, self.planner.latest)
        if plan is None:
            raise ChildRefused(f"definition {asked.definition} is not registered")
        inputs = checked_inputs(plan, asked)
        try:
            return plan, inputs, defined_now(self.planner.dependencies, plan, inputs)
        except Problem as refusal:
            raise ChildRefused(refusal.detail) from None

    def started_by(self, plan: Plan) -> Iterator[Plan]:
        """What runs of the plan may start, and what these may, as it is registered now; each once, DEFINITIONS_MAX at most: a
        site that is cut off waits for the cloud with the rest."""
        found, stack = {plan.ref: plan}, [plan]
        while stack:
            for name in self._names(stack.pop()):
                child = plan_named(name, self.planner.plans, self.planner.latest)
                if child is None or child.ref in found:
                    continue
                if len(found) > DEFINITIONS_MAX:
                    return
                found[child.ref] = child
                stack.append(child)
                yield child

    def _names(self, plan: Plan) -> tuple[str, ...]:
        if (names := self._named.get(plan.ref)) is None:
            names = self._named[plan.ref] = named_by(plan)
        return names

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
        if not parent.children[child].here:
            self._tell(parent, child, now, out)  # Else its site has, and only if it lost that it hears it at its greeting.

    def greet(self, run: Run, site: str, now: Now, out: list[object]) -> None:
        """The site may be written to from now on."""
        for name, child in run.children.items():
            if child.site == site:
                self._tell(run, name, now, out)

    def _tell(self, run: Run, name: str, now: Now, out: list[object]) -> None:
        """Tell the home of the task that waits."""
        child = run.children[name]
        fragment = run.fragment(child.site)
        if not child.outcome or child.is_told or not child.waits or not self.planner.fleet.site(child.site).greeted:
            return
        if fragment is not None and not waits_for(fragment, child.task, name):
            return  # It is over, is done anew, or has been told by its own site.
        output = msgspec.Raw(child.output) if child.output else None
        order = EndChild(name, child.outcome, output, child.detail)
        told = CommandRequested(f"{END}{name}", "end_child", encode_order(order))
        self.planner.emit(self.planner.site_stream(child.site), run.id, RELEASED_EPOCH, told, now, out)

    # No longer wanted -------------------------------------------------------------------------------------------------

    def _review(self, run: Run, site: str, event: Event, now: Now, out: list[object]) -> None:
        """Cancel what the event has made unwanted; a parent that is terminated takes its children along as it went."""
        fragment = run.fragment(site)
        if fragment is None:
            return
        for name, child in list(run.children.items()):
            known = self.planner.runs.get(name)
            if known is None or child.site != site or child.here or is_wanted(fragment, child.task, name):
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
