"""Documents as agents are shown them."""

import msgspec

from sync.documents.reading import Shown
from tiercel.v1 import document_pb2


def shown_message(shown: Shown) -> document_pb2.DocumentShown:
    """A document as it travels."""
    return document_pb2.DocumentShown(
        document=shown.document,
        version=shown.version,
        value=shown.value,
        author=shown.author,
        changed_at_ms=shown.changed_at_ms,
        source=shown.source,
        as_of_ms=shown.as_of_ms,
        staleness_ms=shown.staleness_ms,
        versions_behind=shown.versions_behind,
        pending=len(shown.pending),
        degraded=shown.degraded,
        merging=msgspec.json.encode(shown.merged) if shown.merged is not None else b"",
    )
