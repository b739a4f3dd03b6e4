"""Runs begin: as many as one request asks for, in one commit."""

from typing import TYPE_CHECKING

from cloud.answers import encode_answer
from cloud.inputs import StartRuns
from cloud.port import Started
from sync.commit import Answer
from sync.outputs import Remember, Reply
from sync.values import Now

if TYPE_CHECKING:
    from cloud.planner import Planner


def start(planner: "Planner", input: StartRuns, now: Now, out: list[object]) -> None:
    """Create the runs of a request, all or none, and remember what was answered under the client's key."""
    started: list[Started] = []
    if (refusal := planner.admission.refusal(len(input.runs))) is not None:
        out.append(Reply(input.token, refusal))
        return
    for new in input.runs:
        run = planner.ids.next("r")
        planner.begin(run, input.definition, new, now, out)
        started.append(Started(run, "pending", input.definition))
    if input.idempotency is not None:
        key, body_sha256 = input.idempotency
        out.append(Remember(Answer(key, body_sha256, encode_answer(started, input.refused), now.wall_ms)))
    out.append(Reply(input.token, started))
