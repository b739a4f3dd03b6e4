"""A stream goes on in a new incarnation, because its reader lacks events of the last one that nobody keeps any more."""

from workflow.events import Event, register


class StreamBegun(Event, frozen=True):
    """The first event of a stream's incarnation. What only stands in the one `before` it was said to nobody: its reader held that
    up to event `held`, and it was cut up to `cut`. What holds at present is told anew from here on.

    `ended` is the site's own stream, if that cannot go on: the site has lost events of it that nobody keeps. The cloud had read
    it up to `ended_at`, and had cut it up to `ended_cut`. What the site had is given back to it."""

    incarnation: int
    before: str
    held: int
    cut: int
    reason: str
    at_ms: int
    ended: str = ""
    ended_at: int = 0
    ended_cut: int = 0


class SiteStreamBegun(Event, frozen=True):
    """The first event of an incarnation of a site's own stream: that `before` it is ended, and all that the site had by it is
    nothing any more. `told_in`: the incarnation of the cloud's stream for the site in which it is given back."""

    incarnation: int
    before: str
    told_in: int
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


register(StreamBegun, SiteStreamBegun, StateTold, StateTaken)
