"""What can happen to documents, as facts."""

from sync.documents.terms import Terms
from sync.event import Event
from sync.levels import EVENTUAL, Level


class DocumentCreated(Event, frozen=True):
    """The home has decided that the document begins on these terms; its first value follows in the same commit. A document whose
    first change comes without it (as logs were written before) is eventual. `after`: its last version before, if it was deleted.

    `home`, `level`, `resolver`, `multi_writer` and `sites` are those of `Terms`."""

    document: str
    home: str
    level: Level = EVENTUAL
    resolver: str = "home"
    multi_writer: bool = False
    sites: tuple[str, ...] = ()
    author: str = ""
    edit: str = ""
    at_ms: int = 0
    after: int = 0
    epoch: int = 1

    @property
    def terms(self) -> Terms:
        """What the document is promised."""
        return Terms(self.level, self.resolver, self.multi_writer, self.sites)


class DocumentChanged(Event, frozen=True):
    """The home has decided: the document is now `value` (canonical JSON; empty in older logs: it is deleted). Versions count
    1, 2, 3 and go on after a deletion. `edit` is the id of the edit that was asked for, `author` who asked, `at_ms` the home's
    clock (UTC).

    A change stands for all before it, so a replica may be told the latest alone. `epoch` is that of the home."""

    document: str
    version: int
    epoch: int
    value: bytes
    author: str
    edit: str
    at_ms: int


class DocumentDeleted(Event, frozen=True):
    """The home has decided: with this version the document has no value any more. Otherwise as DocumentChanged."""

    document: str
    version: int
    epoch: int
    author: str
    edit: str
    at_ms: int

    @property
    def value(self) -> bytes:
        """None, as of a change in older logs."""
        return b""


class EditProposed(Event, frozen=True):
    """Somebody away from the document's home wants it changed. `operation`: put, merge (RFC 7396) or delete; `expected` is the
    version that it must have (0: it must not exist), negative: any. `terms`: on which it is to begin if it does not exist.

    `base` is the version that whoever made the edit had seen (negative: nobody says), and `seen` of a merge a digest of what its
    members were there: by these the home knows what it overwrites that its maker had not seen (sync.documents.losing)."""

    document: str
    edit: str
    operation: str
    value: bytes
    expected: int
    author: str
    at_ms: int
    terms: Terms | None = None
    base: int = -1
    seen: bytes = b""


class EditRefused(Event, frozen=True):
    """The home has refused the edit. `code` is for programs, `version` what the document had then."""

    document: str
    edit: str
    code: str
    reason: str
    version: int


EVENTS = (DocumentChanged, EditProposed, EditRefused, DocumentCreated, DocumentDeleted)
Changed = DocumentChanged | DocumentDeleted
