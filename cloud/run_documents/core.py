"""Whoever watches the documents of a run at the cloud is told what its home has changed."""

from typing import ClassVar, Protocol

from cloud.part import Hear, Part
from cloud.runs import Runs
from sync.values import Now
from sync.watching.unseen import TellWatchers
from workflow.context_events import ContextChanged
from workflow.context_news import change_of
from workflow.event import Event


class Planning(Protocol):
    """What it needs of the planner."""

    @property
    def runs(self) -> Runs: ...


class RunDocumentNews(Part):
    """Keeps nothing."""

    name: ClassVar[str] = "run_documents"

    def __init__(self, planner: Planning) -> None:
        self._planner = planner

    def hears(self) -> dict[type, Hear]:
        return {ContextChanged: self._hear}

    def _hear(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        assert isinstance(event, ContextChanged)
        known = self._planner.runs.look(run)
        if known is not None and (fragment := known.fragment(site)) is not None:
            out.append(TellWatchers(change_of(run, fragment.epoch, event)))
