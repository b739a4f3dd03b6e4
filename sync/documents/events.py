"""What can happen to documents, as facts."""

from sync.documents.terms import Terms
from sync.event import Event
from sync.levels import EVENTUAL, Level


class DocumentCreated(Event, frozen=True):
    """The home has decided that the document begins on these terms; its first value follows in the same commit. A document whose
    first change comes without it (as logs were written before) is eventual. `after`: its last version before, if it was deleted.

    `home` and what has the name of a term is as in `Terms`."""

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
    acyclic: bool = False
    checks: tuple[str, ...] = ()

    @property
    def terms(self) -> Terms:
        """What the document is promised."""
        return Terms(self.level, self.resolver, self.multi_writer, self.sites, acyclic=self.acyclic, checks=self.checks)


def begun(document: str, home: str, terms: Terms, who: tuple[str, str, int], after: int, epoch: int) -> DocumentCreated:
    """It begins on these terms. `who`: author, edit and moment."""
    promised = terms.level, terms.resolver, terms.multi_writer, terms.sites
    return DocumentCreated(document, home, *promised, *who, after, epoch, terms.acyclic, terms.checks)


class DocumentChanged(Event, frozen=True):
    """The home has decided: the document is now `value` (canonical JSON; empty in older logs: it is deleted). Versions count
    1, 2, 3 and go on after a deletion. `edit` is the id of the edit that was asked for, `author` who asked, `at_ms` the home's
    clock (UTC).

    A change stands for all before it, so a replica may be told the latest alone. `epoch` is that of the home.

    `operations` (a JSON array; empty: not said) are what made the value of that of version `after`, in a document whose edits are
    transformed: by them a replica puts edits that wait there behind what the home has done (sync.documents.transforming)."""

    document: str
    version: int
    epoch: int
    value: bytes
    author: str
    edit: str
    at_ms: int
    operations: bytes = b""
    after: int = 0


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

    `base` is the version that whoever made the edit had seen (negative: nobody says), and `seen` a digest of what it replaces, of
    all or of the members of a merge, as it was there with the maker's own edits that wait: by these the home knows what it
    overwrites that its maker had not seen (sync.documents.losing).

    Of a document whose edits are transformed they are `operations` (a JSON array), on top of version `base` and of the maker's
    own edits that are not in it, but for the first `refused` of those that were (a deletion has them, too)."""

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
    refused: int = 0


class EditRefused(Event, frozen=True):
    """The home has refused the edit. `code` is for programs, `version` what the document had then."""

    document: str
    edit: str
    code: str
    reason: str
    version: int


EVENTS = (DocumentChanged, EditProposed, EditRefused, DocumentCreated, DocumentDeleted)
Changed = DocumentChanged | DocumentDeleted
