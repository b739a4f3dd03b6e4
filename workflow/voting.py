"""A task whose question agents decide: asking, and what follows from the result."""

from typing import TYPE_CHECKING

from sync.values import Now
from workflow.attempts import failure
from workflow.commands import AskVote, CloseVote, Fail
from workflow.event import Event
from workflow.events import TaskCompleted
from workflow.states import WAITING
from workflow.steering_events import TaskSkipped
from workflow.success import follow_success
from workflow.tasks import Kind
from workflow.voting_events import VoteAsked, VoteClosed

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def vote(fragment: "Fragment", command: AskVote | CloseVote, now: Now) -> list[Event]:
    """Ask anew, or take a result. Nothing if the task does not wait for votes."""
    match command:
        case AskVote(task, what, voters):
            # Each asking is an event, so the version that it makes is above those of all askings before, over any restart.
            return [VoteAsked(task, fragment.version + 1, what, list(voters))]
        case CloseVote(task) if fragment.states[task] == WAITING and fragment.task(task).kind is Kind.VOTE:
            return _close(fragment, command, now)
        case _:
            return []


def _close(fragment: "Fragment", command: CloseVote, now: Now) -> list[Event]:
    task, plan = command.task, fragment.task(command.task).vote
    assert plan is not None, f"task {task} asks nothing"
    closed = VoteClosed(task, command.epoch, command.option, command.result)
    if not command.option and plan.on_reject == "skip":
        return [closed, TaskSkipped(task, command.message)]
    if not command.option and plan.on_reject == "fail":
        failed = Fail(task, fragment.attempt(task), "", "rejected", command.message, False)
        return [closed, *failure(fragment, failed, now, 0.0)]
    return [closed, TaskCompleted(task, 0, "", command.result, source="vote"), *follow_success(fragment, task)]
