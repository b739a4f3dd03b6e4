"""What can happen at a sync point, as facts of its run."""

from sync.event import Event


class PointArrived(Event, frozen=True):
    """The agent is at the point, in the place of the party `place` if it is not its own. `arrival` names what it arrives for, so
    that the same arrival said again is no second one; `boot` is of the agent's process, `wait` the number of its wait in that.
    `opened_ms` is when the first of the generation came, `deadline_ms` when its time is over (UTC ms; 0: it has no end). An event
    of before these stood in it has 0 in both: it opened with who was there."""

    point: str
    generation: int
    agent: str
    at_ms: int
    arrival: str = ""
    place: str = ""
    boot: str = ""
    wait: int = 0
    opened_ms: int = 0
    deadline_ms: int = 0


class PartyWithdrew(Event, frozen=True):
    """The agent waits no longer. `crashed`: it did not say so, its process is gone. Then the time of the generation runs on, even
    with nobody there, or who crashes again and again would put the deadline off."""

    point: str
    generation: int
    agent: str
    crashed: bool = False


class PartyDied(Event, frozen=True):
    """The agent left its site, or its lease has ended (`unreachable`). `kept`: for how long nobody waits for it unless it comes
    back: for this `generation`, for all of them (`point`), or (empty) not at all, for another takes its place. `crashed` as of
    PartyWithdrew."""

    point: str
    generation: int
    agent: str
    reason: str
    at_ms: int
    kept: str = ""
    crashed: bool = False


class PartyReturned(Event, frozen=True):
    """The agent is at its site again. Where another has its place, it keeps it until the generation ends."""

    point: str
    generation: int
    agent: str


class PointReleased(Event, frozen=True):
    """These go on together. `following` is the generation that begins; 0: the point is over, and stays open to its parties."""

    point: str
    generation: int
    parties: list[str]
    reason: str
    at_ms: int
    following: int = 0


class PointBroken(Event, frozen=True):
    """Nobody goes on by this generation; who waits is told why. `following` as of PointReleased."""

    point: str
    generation: int
    code: str
    reason: str
    at_ms: int
    following: int = 0


class PointReset(Event, frozen=True):
    """A point that was over begins anew, with this generation."""

    point: str
    generation: int
    reason: str
    at_ms: int


PointEvent = PointArrived | PartyWithdrew | PartyDied | PartyReturned | PointReleased | PointBroken | PointReset
EVENTS = (PointArrived, PartyWithdrew, PartyDied, PartyReturned, PointReleased, PointBroken, PointReset)
