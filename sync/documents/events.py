"""What can happen to documents, as facts."""

from sync.event import Event


class DocumentChanged(Event, frozen=True):
    """The home has decided: the document is now `value` (canonical JSON; empty: it is deleted). Versions count 1, 2, 3 and
    go on after a deletion. `edit` is the id of the edit that was asked for, `author` who asked, `at_ms` the home's clock (UTC).

    A change stands for all before it, so a replica may be told the latest alone. `epoch` is that of the home."""

    document: str
    version: int
    epoch: int
    value: bytes
    author: str
    edit: str
    at_ms: int


class EditProposed(Event, frozen=True):
    """Somebody away from the document's home wants it changed. `operation`: put, merge (RFC 7396) or delete; `expected` is the
    version that it must have (0: it must not exist), negative: any."""

    document: str
    edit: str
    operation: str
    value: bytes
    expected: int
    author: str
    at_ms: int


class EditRefused(Event, frozen=True):
    """The home has refused the edit. `code` is for programs, `version` what the document had then."""

    document: str
    edit: str
    code: str
    reason: str
    version: int


EVENTS = (DocumentChanged, EditProposed, EditRefused)
