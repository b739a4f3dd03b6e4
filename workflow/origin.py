"""Where a forked run comes from, and what it has taken over: a value, part of the events that begin it."""

import msgspec

from workflow.event import Blob


class Seed(msgspec.Struct, array_like=True, frozen=True):
    """A task of the definition that the other run had done, or skipped, and in which state and with which output it was left."""

    task: int
    state: int
    output: bytes = b""
    blob: Blob | None = None


class Origin(msgspec.Struct, array_like=True, frozen=True):
    """The run that this one was forked from, the task with which it begins (empty: at the beginning), the stage that was reached
    by then, what was done until then, and what a person should know of it."""

    run: str
    begins_at: str = ""
    stage: str = ""
    seeds: tuple[Seed, ...] = ()
    note: str = ""

    def without_seeds(self) -> "Origin":
        """What is left to tell once they are sown."""
        return msgspec.structs.replace(self, seeds=())
