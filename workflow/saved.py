"""A fragment as bytes and back. Equal states give equal bytes, on every node and under every hash seed."""

from array import array
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from sync.values import RunId
from workflow import flow
from workflow.contract import Contract
from workflow.event import Blob
from workflow.extras import NO_ATTEMPTS, Attempt, Extras
from workflow.plan import Plan
from workflow.states import ABSENT, COMPLETED, ENDED, READY, RUNNING, SKIPPED

if TYPE_CHECKING:
    from workflow.fragment import Fragment


class Saved(msgspec.Struct, array_like=True):
    """A fragment's whole state, in the one order that makes equal states equal bytes."""

    definition: str
    site: str
    epoch: int
    version: int
    inputs: bytes
    states: bytes
    failures: list[tuple[int, int]]
    attempts: list[int]
    live: list[tuple[int, int, str, str, bytes]]
    past: list[tuple[int, int, str]]
    outputs: list[tuple[int, bytes, bytes, int]]
    due: list[tuple[int, int]]
    stopping: str
    outcome: str
    detail: str
    stamps: list[int] = []
    extras: Extras | None = None
    ending: str = ""
    priority: int = -1
    handed: list[int] = []
    labels: dict[str, str] = {}
    contract: Contract | None = None


def save(fragment: "Fragment") -> bytes:
    """The whole state."""
    outputs = fragment.outputs or {}
    return _encode(
        Saved(
            definition=fragment.plan.ref,
            site=fragment.site,
            epoch=fragment.epoch,
            version=fragment.version,
            inputs=fragment.inputs,
            states=bytes(fragment.states),
            failures=sorted((fragment.failures or {}).items()),
            attempts=fragment.attempts.tolist() if fragment.attempts is not None else [],
            live=[(t, a.number, a.agent, a.boot, a.parameters) for t, a in sorted(fragment.live.items())],
            past=sorted((t, n, agent) for (t, n), agent in (fragment.past or {}).items()),
            outputs=[_flat(task, outputs[task]) for task in sorted(outputs)],
            due=sorted((fragment.due or {}).items()),
            stopping=fragment.stopping,
            outcome=fragment.outcome,
            detail=fragment.detail,
            stamps=fragment.stamps.tolist() if fragment.stamps is not None else [],
            extras=_sorted(fragment.extras),
            ending=fragment.ending,
            priority=fragment.given_priority,
            handed=list(fragment.handed or ()),
            labels=_in_order(fragment.labels or {}),
            contract=fragment.contract,
        )
    )


def _sorted(extras: Extras | None) -> Extras | None:
    """The same with its mappings in order: bytes must not tell which key came first."""
    if extras is None:
        return None
    tidy = {name: _in_order(value) for name in extras.__struct_fields__ if isinstance(value := getattr(extras, name), dict)}
    return msgspec.structs.replace(extras, **tidy)


def _in_order(mapping: dict[Any, Any]) -> dict[Any, Any]:
    return {key: _in_order(value) if isinstance(value := mapping[key], dict) else value for key in sorted(mapping)}


def restore(kind: "type[Fragment]", run: RunId, plan: Plan, saved: Saved) -> "Fragment":
    """The fragment that `save` wrote; what follows from the states (needs still missing, open tasks) is counted anew."""
    states = bytearray(saved.states)
    count = len(plan.tasks)
    fragment = kind(
        run=run,
        plan=plan,
        site=saved.site,
        epoch=saved.epoch,
        inputs=saved.inputs,
        states=states[:count],
        missing=plan.first_missing(),
        open=0,
        attempts=array("I", saved.attempts) if saved.attempts else None,
        stamps=array("I", saved.stamps) if saved.stamps else None,
        failures=dict(saved.failures) or None,
        live={t: Attempt(n, agent, boot, parameters) for t, n, agent, boot, parameters in saved.live} or NO_ATTEMPTS,
        outputs={t: Blob(sha, size) if sha else output for t, output, sha, size in saved.outputs} or None,
        due=dict(saved.due) or None,
        past={(t, n): agent for t, n, agent in saved.past} or None,
        version=saved.version,
        stopping=saved.stopping,
        outcome=saved.outcome,
        detail=saved.detail,
        extras=saved.extras,
        ending=saved.ending,
        given_priority=saved.priority,
        handed=dict.fromkeys(saved.handed) or None,
        labels=saved.labels or None,
        contract=saved.contract,
    )
    _restore_copies(fragment, states)
    fragment.open = sum(state not in ENDED and state not in ABSENT for state in fragment.states)
    if fragment.is_plain() and SKIPPED not in fragment.states:
        fragment.missing = array("I", [sum(states[need] != COMPLETED for need in needs) for needs in plan.needs])
    else:
        fragment.recount(range(len(states)))
        for task, state in enumerate(fragment.states):
            if state == RUNNING and flow.is_composite(fragment.task(task).kind):
                flow.count(fragment, task)
    if not fragment.outcome:
        fragment.woken = [task for task, state in enumerate(fragment.states) if _wants_attention(fragment, task, state)] or None
    return fragment


def _wants_attention(fragment: "Fragment", task: int, state: int) -> bool:
    return state == READY or (state == RUNNING and task not in fragment.live)


def _restore_copies(fragment: "Fragment", states: bytearray) -> None:
    """Append the copies as they were made, then put every task in the state that it had."""
    attempts, stamps = fragment.attempts, fragment.stamps
    fragment.attempts = fragment.stamps = None
    for owner, number, item, is_void in fragment.extras.made if fragment.extras is not None else ():
        if owner >= 0:
            flow.append_copy(fragment, owner, number, item, starts=False).is_void = is_void
        else:
            assert fragment.extras is not None, "it holds what was made"
            flow.add_tasks(fragment, *fragment.extras.added[number], starts=False)
    assert len(fragment.states) == len(states), f"run {fragment.run}: saved with {len(states)} tasks, not {len(fragment.states)}"
    fragment.states[:] = states
    fragment.attempts, fragment.stamps = attempts, stamps


def load_saved(body: bytes) -> Saved:
    """Read what `save` wrote."""
    return _SAVED.decode(body)


def state_hash(body: bytes) -> bytes:
    """What two replicas of a fragment compare: SHA-256 of its saved state."""
    return sha256(body).digest()


_SAVED = msgspec.msgpack.Decoder(Saved)
_encode = msgspec.msgpack.Encoder().encode


def _flat(task: int, output: bytes | Blob) -> tuple[int, bytes, bytes, int]:
    if isinstance(output, Blob):
        return (task, b"", output.sha256, output.size)
    return (task, output, b"", 0)
