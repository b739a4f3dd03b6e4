"""Assignments as the wire has them: what is the same for every run of a task is encoded once."""

from functools import lru_cache

from edge.inputs import Assigned, AttemptKey
from tiercel.v1 import agent_pb2

MESSAGE_BYTES_MAX = 1 << 20


def assignment_messages(items: list[Assigned]) -> list[agent_pb2.EdgeMessage]:
    """Assignments in messages of at most about 1 MiB.

    What is the same for every run of a task is encoded once: in the wire format, a message is the concatenation of its
    fields. The whole is then parsed as any message would be, which costs a tenth of setting the fields one by one.
    """
    messages: list[agent_pb2.EdgeMessage] = []
    batch: list[bytes] = []
    size = 0
    for item in items:
        run, task, attempt, epoch = item.key
        key = agent_pb2.AttemptKey(run=run, task=task, attempt=attempt, epoch=epoch).SerializeToString()
        times = item.timeout_ms, item.generation, item.heartbeat_ms
        fixed = _fixed_fields(item.task_name, item.capability, item.parameters, item.effect, *times)
        if item.leases:
            fixed += agent_pb2.Assignment(leases=dict(item.leases)).SerializeToString()
        # Field 1 of Assignment is its key; a key is shorter than 128 bytes unless the run's id is absurd.
        encoded = b"".join((b"\x0a", _varint(len(key)), key, fixed))
        batch += (b"\x0a", _varint(len(encoded)), encoded)
        size += len(encoded)
        if size > MESSAGE_BYTES_MAX:
            messages.append(_assignments(batch))
            batch, size = [], 0
    if batch:
        messages.append(_assignments(batch))
    return messages


def _assignments(encoded: list[bytes]) -> agent_pb2.EdgeMessage:
    return agent_pb2.EdgeMessage(assignments=agent_pb2.Assignments.FromString(b"".join(encoded)))


@lru_cache(maxsize=4_096)
def _fixed_fields(
    task_name: str, capability: str, parameters: bytes, effect: int, timeout_ms: int, generation: int, heartbeat_ms: int
) -> bytes:
    return agent_pb2.Assignment(
        task_name=task_name,
        capability=capability,
        parameters=parameters,
        effect=agent_pb2.Effect.ValueType(effect),
        timeout_ms=timeout_ms,
        generation=generation,
        heartbeat_ms=heartbeat_ms,
    ).SerializeToString()


def _varint(value: int) -> bytes:
    """A length in the wire format."""
    if value < 128:
        return _SMALL[value]
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_SMALL = [bytes((value,)) for value in range(128)]


def key_message(key: AttemptKey) -> agent_pb2.AttemptKey:
    run, task, attempt, epoch = key
    return agent_pb2.AttemptKey(run=run, task=task, attempt=attempt, epoch=epoch)
