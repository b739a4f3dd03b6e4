"""What of the planner is no run, in a snapshot."""

import msgspec

from cloud.intents import Intent
from cloud.schedule.core import SavedSchedules


class SavedNode(msgspec.Struct, array_like=True):
    """The fleet as its own bytes, the latest commands, the schedules, what each Part saves. Fields are only added at the end,
    with a default."""

    fleet: bytes
    commands: list[Intent]
    schedules: SavedSchedules = msgspec.field(default_factory=SavedSchedules)
    parts: dict[str, bytes] = {}


def save_node(fleet: bytes, commands: list[Intent], schedules: SavedSchedules, parts: dict[str, bytes]) -> bytes:
    """All of it as bytes."""
    return msgspec.msgpack.encode(SavedNode(fleet, commands, schedules, parts))


def load_saved_node(body: bytes) -> SavedNode:
    """Read what `save_node` wrote."""
    return _NODE.decode(body)


_NODE = msgspec.msgpack.Decoder(SavedNode)
