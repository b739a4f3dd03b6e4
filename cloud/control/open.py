"""What is open in a run and wants a person: requests for a decision, incidents, attempts whose outcome nobody knows."""

from collections.abc import Iterator

import msgspec

from cloud.control.views import ApprovalView, IncidentView
from cloud.runs import Run
from workflow.fragment import Fragment
from workflow.states import NAMES, RECONCILE, STUCK, WAITING
from workflow.tasks import Role

UNKNOWN = "the outcome of the last attempt is unknown, and it may not be repeated"


def open_approvals(run: Run) -> Iterator[ApprovalView]:
    """The requests of the run that nobody has decided yet."""
    for fragment in _steered(run):
        assert fragment.extras is not None
        for task, asked in fragment.extras.approvals.items():
            plan = fragment.task(task).approval
            if fragment.states[task] != WAITING or plan is None:
                continue
            yield ApprovalView(
                run=run.id,
                definition=run.plan.ref,
                task=fragment.id_of(task),
                site=fragment.site,
                request=msgspec.Raw(asked.request or b"null"),
                hash=asked.hash,
                asked=asked.asked_ms,
                by=asked.by,
                count=plan.count,
                given=sorted(asked.given),
                level=asked.level,
                deadline=(fragment.due or {}).get(task, 0),
            )


def open_incidents(run: Run) -> Iterator[IncidentView]:
    """The tasks of the run that go on only when a person says how."""
    for fragment in run.fragments:
        if fragment is None or fragment.outcome:
            continue
        for task, state in enumerate(fragment.states):
            if state == RECONCILE or (state == STUCK and _has_incident(fragment, task)):
                yield _incident(run, fragment, task)


def _steered(run: Run) -> Iterator[Fragment]:
    return (f for f in run.fragments if f is not None and f.extras is not None and not f.outcome)


def _has_incident(fragment: Fragment, task: int) -> bool:
    """What has failed and is only being recovered is no incident."""
    return fragment.extras is not None and task in fragment.extras.incidents


def _incident(run: Run, fragment: Fragment, task: int) -> IncidentView:
    state = fragment.states[task]
    known = fragment.extras.incidents.get(task) if fragment.extras is not None else None
    if state == RECONCILE:
        code, message, allowed = "outcome_unknown", UNKNOWN, ["settle", "skip", "rollback", "cancel", "terminate"]
    else:
        assert known is not None
        # While the run goes back, only the compensation that failed can be dealt with.
        is_back = fragment.task(task).role is Role.COMPENSATE
        again = [] if is_back else ["rerun", "rollback"]
        code, message, allowed = known.code, known.message, ["retry", "skip", "settle", *again, "cancel", "terminate"]
    who = run.id, run.plan.ref, fragment.id_of(task), fragment.site
    return IncidentView(*who, NAMES[state], code, message, fragment.attempt(task), allowed)
