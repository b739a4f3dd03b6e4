"""What can happen to a site as a whole, as facts: an operator pauses it, and it goes on."""

from workflow.events import Event, register


class SitePauseOrdered(Event, frozen=True):
    """An intent of the cloud: at the site nothing new is to start, or (`paused` is false) it is to go on. In the stream for the
    site it holds from the moment the site has it."""

    site: str
    command: str
    paused: bool
    reason: str
    at_ms: int


class SitePauseTaken(Event, frozen=True):
    """The site has done what was ordered under `command`."""

    command: str
    paused: bool
    at_ms: int


register(SitePauseOrdered, SitePauseTaken)
