"""Deciding what people ask of a run's documents: an order like any other, answered by the home."""

from typing import TYPE_CHECKING

import msgspec

from sync.documents.events import EditProposed, EditRefused
from sync.documents.ids import run_document
from sync.values import Now
from workflow.context import judge
from workflow.context_events import ContextChanged
from workflow.event import Event
from workflow.orders import ChangeContext
from workflow.refused import Refused

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def change_context(fragment: "Fragment", order: ChangeContext, command: str, now: Now) -> list[Event]:
    """The change, nothing if it was made before. Raises Refused: `code: reason`."""
    value = b"" if order.what == "delete" else msgspec.json.encode(order.value, order="sorted")
    document, edit = run_document(str(fragment.run), order.name), order.edit or command
    asked = EditProposed(document, edit, order.what, value, order.expected, order.by, now.wall_ms)
    judged = judge(fragment, order.name, asked, now.wall_ms)
    if isinstance(judged, EditRefused):
        raise Refused(f"{judged.code}: {judged.reason}")
    return [judged] if isinstance(judged, ContextChanged) else []
