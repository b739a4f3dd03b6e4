"""Runs begin: as many as one request asks for, in one commit."""

from typing import TYPE_CHECKING

from cloud.answers import encode_answer
from cloud.dependencies.defined import with_defined
from cloud.dependencies.ends import unknown_run
from cloud.inputs import StartRuns
from cloud.port import Problem, Started
from cloud.runs import Run
from sync.commit import Answer
from sync.outputs import Remember, Reply
from sync.values import Now
from workflow.origin import Origin

if TYPE_CHECKING:
    from cloud.planner import Planner


def start(planner: "Planner", input: StartRuns, now: Now, out: list[object]) -> None:
    """Create the runs of a request, all or none, and remember what was answered under the client's key."""
    try:
        _start(planner, with_defined(planner, input), now, out)
    except Problem as refusal:
        out.append(Reply(input.token, refusal))


def _start(planner: "Planner", input: StartRuns, now: Now, out: list[object], recalled: tuple[Run, ...] = ()) -> None:
    """`recalled` are runs that have ended, that the new ones are to wait for, and that were read from the log for it."""
    waits = [wait for new in input.runs for wait in new.after]
    if waits and (missing := planner.dependencies.unknown(waits, recalled)):
        said = next(wait.said for wait in waits if wait.awaited.run == missing)

        def again(found: Run | None, now: Now, out: list[object]) -> None:
            if found is None:
                out.append(Reply(input.token, unknown_run(missing, said)))
            else:
                _start(planner, input, now, out, (*recalled, found))

        planner.reopening.look(missing, again, out)
        return
    if (refusal := _refusal(planner, input, recalled)) is not None:
        out.append(Reply(input.token, refusal))
        return
    started: list[Started] = []
    for new in input.runs:
        run = planner.ids.next("r")
        planner.begin(run, input.definition, new, now, out)
        planner.dependencies.begin(run, new.after, recalled, now, out)
        started.append(told(run, input.definition, new.origin))
    if input.idempotency is not None:
        key, body_sha256 = input.idempotency
        out.append(Remember(Answer(key, body_sha256, encode_answer(started, input.refused), now.wall_ms)))
    out.append(Reply(input.token, started))


def _refusal(planner: "Planner", input: StartRuns, recalled: tuple[Run, ...]) -> Problem | None:
    waits = [wait for new in input.runs for wait in new.after]
    if (refusal := planner.admission.refusal(len(input.runs))) is not None or not waits:
        return refusal
    return planner.dependencies.start_refusal(planner.plans[input.definition], waits, recalled)


def told(run: str, definition: str, origin: Origin | None) -> Started:
    """What whoever has started the run is told."""
    if origin is None:
        return Started(run, "pending", definition)
    return Started(run, "pending", definition, origin.run, origin.begins_at, len(origin.seeds), origin.note)
