"""What happens to a task that others wait for in a circle."""

from workflow.event import Event
from workflow.events import register


class VictimWounded(Event, frozen=True):
    """The task gives way in the circle `deadlock`, for the `wounds`th time: what it has done is undone, and it begins again. If
    it has done so too often, or would only come to the same again, it `gives_up`: a person decides.

    With `yields_to` there was no circle yet: it gives way to that one, which is older or more urgent (wound-wait). `wounds`
    counts these by themselves then, and no person is asked for their sake."""

    command: str
    task: int
    deadlock: str
    reason: str
    wounds: int
    gives_up: bool = False
    yields_to: str = ""


register(VictimWounded)
