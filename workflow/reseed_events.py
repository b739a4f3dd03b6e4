"""A stream goes on in a new incarnation, because its reader lacks events of the last one that nobody keeps any more."""

from workflow.events import Event, register


class StreamBegun(Event, frozen=True):
    """The first event of a stream's incarnation. What only stands in the one `before` it was said to nobody: its reader held that
    up to event `held`, and it was cut up to `cut`. What holds at present is told anew from here on."""

    incarnation: int
    before: str
    held: int
    cut: int
    reason: str
    at_ms: int


class StateTold(Event, frozen=True):
    """All that held when this incarnation began has been told in it. Standing rules and agents' tokens (their SHA-256) that are
    not named here were taken back meanwhile."""

    incarnation: int
    rules: list[str]
    tokens: list[str]


class StateTaken(Event, frozen=True):
    """The reader has read all of it, in its own stream."""

    incarnation: int


register(StreamBegun, StateTold, StateTaken)
