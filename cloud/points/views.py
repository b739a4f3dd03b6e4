"""Sync points as the cloud shows them: as of when, and how sure."""

import msgspec

from cloud.views import LinkView
from sync.points.showing import PointView


class SyncPointView(PointView, omit_defaults=True, kw_only=True):
    """A point of a run, as the replica of its home has it. `command`: an arrival that its home has not answered yet."""

    run: str
    home: str
    as_of: int
    staleness_ms: int
    link: LinkView | None = None
    command: str = ""


class WaitView(msgspec.Struct, omit_defaults=True):
    """One who waits at a point, with the tasks of the run that are in its hands, and for whom (of a counted point `lacking`)."""

    agent: str
    point: str
    since: int
    parties: list[str]
    lacking: int
    tasks: list[str]


class SyncPointsView(msgspec.Struct):
    """All points of a run, and who waits there for whom."""

    run: str
    items: list[SyncPointView]
    waits: list[WaitView]
