"""What a site records of the leases on its resources: under which epoch each was given to whom, and whose holder was lost."""

import msgspec

from sync.event import Event


class Hold(msgspec.Struct, array_like=True, frozen=True):
    """What a holder (task `task` of a run) has, since an acquisition with the epoch `since`: so many units of each resource."""

    task: int
    since: int
    needs: list[tuple[str, int]]


class ResourcesLeased(Event, frozen=True):
    """Task `task` of `run` holds these resources from here on, under an epoch above all before it. With `since` it has held them
    from that epoch on, and goes on under another."""

    run: str
    task: int
    epoch: int
    resources: list[str]
    since: int = 0


class ResourcesLocked(Event, frozen=True):
    """An attempt was given up without its agent's word, and the agent may still act on what its task held, itself or by groups
    around it (`holds`). These resources cannot check epochs, so nobody gets them before `delay_ms` are over after its lease."""

    run: str
    task: int
    attempt: int
    agent: str
    holds: list[Hold]
    delay_ms: int
    name: str = ""
    left_ms: int | None = None  # So long the agent's lease lasted from there on; of events of earlier versions it is not known.


class ResourcesUnlocked(Event, frozen=True):
    """The lock-delay is over, or the agent has spoken after all."""

    run: str
    task: int
    attempt: int
    reason: str


EVENTS = (ResourcesLeased, ResourcesLocked, ResourcesUnlocked)
