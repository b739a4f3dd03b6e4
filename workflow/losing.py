"""What loses in a run, as a conflict: what an agent has done that the run does not take, and a cancel that came too late.

Only of what has an effect: a task that may be repeated may be done several times, and nothing is lost by that.
"""

from typing import TYPE_CHECKING

import msgspec

from sync.conflicts.events import ConflictRecorded, Side
from sync.conflicts.ids import conflict_id
from sync.values import Now
from workflow.commands import Complete
from workflow.event import Blob
from workflow.states import NAMES
from workflow.tasks import Effect, Role

if TYPE_CHECKING:
    from workflow.fragment import Fragment

PHYSICAL = "physical"
CANCEL_COMPLETE = "cancel_complete"
OVERTAKEN = "overtaken"
BLOB_KEY = "$blob"


def attempt_ref(run: str, task: int, attempt: int) -> str:
    """An attempt as it is given out: by the number of its task, for the names of copies come again when these begin anew."""
    return f"{run}/{task}/{attempt}"


def output_of(output: bytes, blob: Blob | None) -> bytes:
    """An output as a side's value; of a large one what it is kept as beside the log."""
    return output if blob is None else msgspec.json.encode({BLOB_KEY: blob.sha256.hex(), "size": blob.size})


def late_outcome(run: str, name: str, said: Complete, stands: Side, now: Now) -> ConflictRecorded:
    """An agent has done what was given out otherwise meanwhile, or is not wanted any more: it was done all the same."""
    ref = attempt_ref(run, said.task, said.attempt)
    loses = Side(stands.at, said.agent, ref, "completed", output_of(said.output, said.blob), now.wall_ms)
    number = conflict_id(run, "", stands.ref, ref)
    reason = f"{said.agent} was done with attempt {said.attempt} at {name} when it was {stands.what}"
    return ConflictRecorded(number, "outcome", name, "", stands, loses, PHYSICAL, "not_taken", reason, now.wall_ms)


def standing_of(fragment: "Fragment", task: int) -> Side:
    """How the task stands here, as a side."""
    held, attempt = fragment.live.get(task), fragment.attempt(task)
    ref = attempt_ref(fragment.run, task, attempt)
    state = NAMES[fragment.states[task]]
    return Side(fragment.site, held.agent if held is not None else "", f"{ref}:{state}", f"{state} (attempt {attempt})")


def outran(fragment: "Fragment", said: Complete, now: Now) -> list[ConflictRecorded]:
    """The agent was done before it heard that the attempt was to be stopped: that stands, and the cancel goes on without it."""
    extras, task = fragment.extras, said.task
    is_cancelled = fragment.stopping == "cancelled" or (extras is not None and task in extras.unwanted)
    plan = fragment.task(task)
    if not is_cancelled or plan.effect is Effect.REPEATABLE or plan.role is not Role.WORK:
        return []
    name = fragment.id_of(task)
    ref = attempt_ref(fragment.run, task, said.attempt)
    why = fragment.detail if fragment.stopping else "it is to be done anew"
    stands = Side(fragment.site, said.agent, ref, "completed", b"", now.wall_ms)
    loses = Side(fragment.site, "", f"{ref}:cancel", f"cancel: {why}" if why else "cancel")
    number = conflict_id(fragment.run, "", stands.ref, loses.ref)
    reason = f"{said.agent} was done with attempt {said.attempt} at {name} before it was stopped: its output is in the run"
    return [ConflictRecorded(number, "order", name, "", stands, loses, CANCEL_COMPLETE, "stands", reason, now.wall_ms)]
