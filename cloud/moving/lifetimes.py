"""Since when the whole time of each run counts, for its `timeout`: a Part of the planner.

A run that moves takes it along, so that a new home is not a new life. The timer at its home is what ends a run; this is only what
the next home is told.
"""

from typing import TYPE_CHECKING, ClassVar

import msgspec

from cloud.part import Fold, Part
from workflow.event import Event
from workflow.events import FragmentAdopted, RunEnded
from workflow.home_events import FragmentMoved
from workflow.steering_events import FragmentReopened

if TYPE_CHECKING:
    from cloud.planner import Planner


class Lifetimes(Part):
    """`_begun`: UTC ms by run, of living runs of one site that have a timeout."""

    name: ClassVar[str] = "lifetimes"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self._begun: dict[str, int] = {}

    def begun_ms(self, run: str) -> int:
        """By the clock of the home that began it; 0 if it has no timeout, or nobody knows."""
        return self._begun.get(run, 0)

    def own_folds(self) -> dict[type, Fold]:
        return {FragmentMoved: self._fold_moved, RunEnded: lambda site, run, event, time_ms: self._forget(run)}

    def site_folds(self) -> dict[type, Fold]:
        return {FragmentAdopted: self._fold_begun, FragmentReopened: self._fold_begun}

    def save(self) -> bytes:
        return msgspec.msgpack.encode(dict(sorted(self._begun.items()))) if self._begun else b""

    def restore(self, body: bytes) -> None:
        self._begun = msgspec.msgpack.decode(body)

    def _fold_begun(self, site: str, run: str, event: Event, time_ms: int) -> None:
        known = self._planner.runs.look(run)
        if known is not None and known.plan.timeout_ms and len(known.sites) == 1:
            self._begun[run] = time_ms

    def _fold_moved(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, FragmentMoved)
        if event.begun_ms:  # A cloud that has lost its own stream knows it from here.
            self._begun[run] = event.begun_ms

    def _forget(self, run: str) -> None:
        self._begun.pop(run, None)
