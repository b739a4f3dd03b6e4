"""What an agent's result says, as a command to the run's fragment."""

import msgspec

from edge.inputs import Outcome, Outrun
from tiercel.v1 import agent_pb2
from workflow.commands import CancelDone, Complete, Decline, Fail
from workflow.events import Blob
from workflow.homes import home_of

INLINE_BYTES_MAX = 64 * 1024
BLOB_AWAY = "blob_away"
NOT_BEGUN = frozenset(("not_started", BLOB_AWAY))
"""Failures that say that the capability was not called: the attempt is given out again, and does not count as one that failed."""


def outcome_of(agent: str, item: agent_pb2.TaskResult) -> Outcome:
    key = item.key
    match item.WhichOneof("outcome"):
        case "output":
            if not (failed := _refusal_of(output := item.output)):
                return Outcome(key.run, Complete(key.task, key.attempt, agent, output, None))
        case "blob":
            blob = Blob(item.blob.sha256, item.blob.size)
            return Outcome(key.run, Complete(key.task, key.attempt, agent, b"", blob))
        case "cancelled":
            return Outcome(key.run, CancelDone(key.task, key.attempt, agent))
        case "failure" if later := item.failure.superseded_by:
            outrun = Outrun(key.task, key.attempt, agent, home_of(key.epoch), later, item.failure.message[:4_096])
            return Outcome(key.run, outrun)
        case "failure" if item.failure.code in NOT_BEGUN:
            blames = item.failure.code != BLOB_AWAY
            return Outcome(key.run, Decline(key.task, key.attempt, agent, item.failure.message[:4_096], blames))
        case "failure":
            said = item.failure
            failed = said.code, said.message[:4_096], said.retryable, said.recoverable or said.retryable, said.retry_after_ms
        case _:
            failed = "no_outcome", "a result without an outcome", False, False, 0
    return Outcome(key.run, Fail(key.task, key.attempt, agent, *failed))


def _refusal_of(output: bytes) -> tuple[str, str, bool, bool, int] | None:
    """Why an inline result cannot be taken. Once it is in the log, expressions and the API rely on its being JSON."""
    if len(output) > INLINE_BYTES_MAX:
        return (
            "result_too_large",
            f"a result of {len(output)} bytes; above {INLINE_BYTES_MAX} it must be sent as a blob",
            False,
            False,
            0,
        )
    try:
        msgspec.json.decode(output)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return "invalid_output", f"the result is not JSON: {error}", False, False, 0
    return None
