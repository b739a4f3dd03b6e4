"""What can happen to the documents of a run."""

from workflow.event import Event
from workflow.events import register


class ContextChanged(Event, frozen=True):
    """The run's home has decided: its document `name` is now `value` (canonical JSON; empty: it is deleted). Otherwise as
    DocumentChanged; the epoch is that of the fragment."""

    name: str
    version: int
    value: bytes
    author: str
    edit: str
    at_ms: int


register(ContextChanged)
