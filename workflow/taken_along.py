"""What a part of a run does when other sites have gone back: what came after their tasks is done anew, now or when it goes on."""

from typing import TYPE_CHECKING

from sync.values import Now
from workflow import rollback
from workflow.event import Event
from workflow.events import FragmentCancelling
from workflow.orders import Anew
from workflow.states import CANCELLED
from workflow.steering_events import FragmentReopened, RollbackBegun
from workflow.tasks import Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def anew(fragment: "Fragment", order: Anew, command: str, now: Now) -> list[Event]:
    """What other sites do anew. One that has been told of nothing, and was not cancelled, has nothing to do."""
    tasks = (fragment.plan.index.get(name, -1) for name in order.tasks)
    elsewhere = [task for task in tasks if task >= 0 and not fragment.is_own(task)]
    if (fragment.stopping and not fragment.outcome) or (fragment.outcome and not order.opens):
        return _noted(fragment, elsewhere, command, order.reason) if elsewhere else []
    is_cancelled = fragment.outcome == "cancelled"
    if not elsewhere and not is_cancelled:
        return []
    cancelled = work_in(fragment, (CANCELLED,)) if is_cancelled else []
    return [*reopened(fragment, command, "anew"), rollback.begin_after(fragment, elsewhere, cancelled, command, order.reason)]


def _noted(fragment: "Fragment", elsewhere: list[int], command: str, reason: str) -> list[Event]:
    """The part is being stopped, or has ended with a run that is: nothing is undone now. It ends as it had; only what was
    completed is not, for it was made of what counts no more."""
    noted = RollbackBegun(command, fragment.version, reason, [], [], [], elsewhere)
    if not fragment.outcome:
        return [noted]
    outcome = "failed" if fragment.outcome == "failed" else "cancelled"
    return [*reopened(fragment, command, "anew"), FragmentCancelling(command, fragment.detail or reason, outcome), noted]


def made_up(fragment: "Fragment", command: str) -> list[Event]:
    """A part that goes on undoes what it did after tasks that other sites did anew while it was being stopped."""
    withdrawn = withdrawn_of(fragment)
    return [rollback.begin_after(fragment, withdrawn, [], command, "other sites have gone back")] if withdrawn else []


def withdrawn_of(fragment: "Fragment") -> list[int]:
    """Of a part that has ended: tasks of other sites that began anew while it was being stopped."""
    return fragment.extras.withdrawn if fragment.outcome and fragment.extras is not None else []


def work_in(fragment: "Fragment", states: tuple[int, ...]) -> list[int]:
    """The site's own work in these states."""
    found = (task for task, state in enumerate(fragment.states) if state in states and fragment.is_own(task))
    return [task for task in found if fragment.task(task).role is Role.WORK]


def reopened(fragment: "Fragment", command: str, reason: str) -> list[Event]:
    """It goes on, if it had ended."""
    return [FragmentReopened(command, reason, fragment.version)] if fragment.outcome else []
