"""What a run is in the middle of, told from its fragments: where it is in its life, and what stands in its way."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from cloud.runs import Run
from cloud.views import ApprovalView, ConditionView, HoldView, IncidentView
from workflow.flow import is_composite
from workflow.fragment import Fragment
from workflow.run_machine import run_place
from workflow.states import COMPLETED, ELSEWHERE, ENDED, FAILED, NAMES, PENDING, READY, SKIPPED, SLEEPING, VOID, WAITING
from workflow.tasks import Kind, Role

_HIDDEN = bytes((ELSEWHERE, SLEEPING, VOID))


class Located(NamedTuple):
    """A task at its own site."""

    fragment: Fragment
    site: str
    task: int


def located(run: Run) -> Iterator[Located]:
    """Every task that counts, at the site that does it; copies and added tasks follow those of the definition."""
    for number, (site, fragment) in enumerate(zip(run.sites, run.fragments, strict=True)):
        if fragment is None:
            continue
        for task, state in enumerate(fragment.states):
            if state not in _HIDDEN and (task >= len(run.places) or run.places[task] == number):
                yield Located(fragment, site, task)


def is_current(fragment: Fragment, task: int) -> bool:
    """Has the task begun, and not ended?"""
    return fragment.states[task] not in (*ENDED, PENDING, READY)


def path_of(run: Run) -> str:
    """Where the run is in its life, as `workflow.run_machine` names it: `active.executing.step_validation`."""
    living = [fragment for fragment in run.fragments if fragment is not None and not fragment.outcome]
    if run.outcome or not any(run.fragments):
        return run.outcome or "pending"
    if living and all(f.extras is not None and f.extras.paused for f in living):
        return "paused"
    names: set[str] = set()
    live: list[Role] = []
    under_way: list[Kind] = []
    for fragment, _, task in located(run):
        plan = fragment.task(task)
        if fragment.states[task] in ENDED or is_composite(plan.kind):
            continue
        names.add(NAMES[fragment.states[task]])
        if task in fragment.live:
            live.append(plan.role)
        if task in fragment.live or fragment.states[task] == WAITING:
            under_way.append(plan.kind)
    cleaning = bool(live) and all(role is Role.CLEANUP for role in live)
    synchronizing = bool(under_way) and all(kind is Kind.SYNC for kind in under_way)
    return run_place(names, cleaning=cleaning, synchronizing=synchronizing)


def condition(run: Run) -> ConditionView:
    """All of it."""
    view = ConditionView(path_of(run))
    for site, fragment in zip(run.sites, run.fragments, strict=True):
        extras = fragment.extras if fragment is not None else None
        if fragment is None or extras is None:
            continue
        view.stage = extras.stage or view.stage
        view.paused = extras.paused or view.paused
        view.kept += [fragment.id_of(task) for task in extras.kept]
        view.paused_tasks += [fragment.id_of(task) for task in extras.paused_tasks]
        for task, incident in extras.incidents.items():
            view.incidents.append(IncidentView(fragment.id_of(task), site, incident.code, incident.message))
        for task, asked in extras.approvals.items():
            by, given = asked.by, sorted(asked.given)
            request = msgspec.Raw(asked.request)
            view.approvals.append(ApprovalView(fragment.id_of(task), site, by, request, asked.hash, asked.asked_ms, given))
        for task, holds in extras.holds.items():
            view.holds += [HoldView(fragment.id_of(task), site, hold, reason) for hold, reason in holds.items()]
    view.stage = view.stage or next(iter(run.plan.stages), "")  # A run begins in the first one.
    view.missing = missing(run)
    return view


def missing(run: Run) -> list[str]:
    """Tasks that failed although the run goes on, or is complete, without them."""
    found = []
    for fragment, _, task in located(run):
        if fragment.states[task] == FAILED and fragment.task(task).role is Role.WORK:
            found.append(fragment.id_of(task))
    return found


def members(fragment: Fragment, task: int) -> tuple[int, int]:
    """How many are inside a group (of a map: items; of a repeat: rounds so far), and how many of these are done."""
    plan = fragment.task(task)
    if plan.body is None:
        inside = fragment.members_of(task)
        return len(inside), sum(fragment.states[member] in (COMPLETED, SKIPPED, FAILED) for member in inside)
    body = plan.body
    copies = [copy for copy in fragment.copies_of(task) if not copy.is_void]
    done = sum(all(fragment.states[copy.base + member] in ENDED for member in body.members) for copy in copies)
    return max(len(copies), len(fragment.split_items(task))), done
