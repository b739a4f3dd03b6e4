"""What a site asks of a sync point whose home is another site, and what it is told: facts of the asker's stream and of the
cloud's for it. Neither is a fact of the point: what has happened there, its home alone records."""

from sync.event import Event
from sync.points.showing import PointView

GONE = "gone"
"""The point's home counts the agent for gone, or an answer was lost: if it still waits, it arrives anew."""


class PointAsked(Event, frozen=True):
    """An agent of this site is at the point of the run, or (`withdraws`) what was asked under this name is taken back; `crashed`:
    for its process is gone. The other fields are as of ArriveAt (workflow.orders)."""

    ask: str
    run: str
    point: str
    agent: str
    arrival: str = ""
    generation: int = 0
    boot: str = ""
    wait: int = 0
    withdraws: bool = False
    crashed: bool = False


class PointTold(Event, frozen=True):
    """What became of it: how the point stands with the agent there (`view`), how the agent's generation has ended, or (a `code`)
    why it is not there. Only after the first of these is more to come."""

    ask: str
    run: str
    point: str
    agent: str
    view: PointView | None = None
    code: str = ""
    reason: str = ""

    @property
    def is_end(self) -> bool:
        """Is nothing more to come?"""
        return bool(self.code) or (self.view is not None and self.view.state != "waiting")
