"""What is asked of a read of a document, and what it is answered with, or why not."""

from typing import NamedTuple

from sync.documents.book import Document
from sync.documents.events import EditProposed
from sync.documents.terms import PLAIN, Terms
from sync.levels import Level
from sync.merging.book import MergeBook
from sync.merging.showing import MergedShown, look, merged_shown


class Asked(NamedTuple):
    """`consistency`: strong, bounded, eventual, or empty for the document's own level; not older than `staleness_ms` (-1: any)
    and from `version` on (-1: any). `degrades`: what is outside all this may be answered, and is marked."""

    consistency: str = ""
    staleness_ms: int = -1
    version: int = -1
    degrades: bool = False


class Bounds(NamedTuple):
    """What a read must be inside of: strong, at most so many ms and so many versions (-1: any) behind, from a version on."""

    strong: bool
    staleness_ms: int
    versions: int
    version: int

    def __str__(self) -> str:
        said = ["strong"] if self.strong else []
        said += [f"not older than {self.staleness_ms} ms"] if self.staleness_ms >= 0 else []
        said += [f"at most {self.versions} versions behind"] if self.versions >= 0 else []
        said += [f"version {self.version}"] if self.version >= 0 else []
        return ", ".join(said) or "any"


class Shown(NamedTuple):
    """A document as a node shows it. `source`: "home", "cloud" (asked just now), or "replica"; `staleness_ms`: how old it may be
    (-1: nobody knows); `versions_behind`: how many versions of it may exist beyond (-1: nobody knows). `degraded`: it is outside
    what was asked for, and the reader has said that this will do. `merged`: what stands beside, of a document of several writers;
    of such a one nobody knows what its writers have not told yet."""

    document: str
    version: int
    value: bytes
    terms: Terms
    author: str
    changed_at_ms: int
    source: str
    as_of_ms: int
    staleness_ms: int
    versions_behind: int
    pending: tuple[EditProposed, ...] = ()
    degraded: bool = False
    merged: MergedShown | None = None


class StalenessExceeded(Exception):
    """What is known here is outside of what was asked for, and could not be brought inside in time. Carries what is known."""

    def __init__(self, shown: Shown, bounds: Bounds, why: str) -> None:
        known = f"version {shown.version}, staleness_ms {shown.staleness_ms}, versions_behind {shown.versions_behind}"
        super().__init__(f"{shown.document}: {known}; asked for: {bounds} ({why}); ask with degrade=eventual to take it as it is")
        self.shown = shown


class Unavailable(Exception):
    """It cannot be done just now, and nothing of it was recorded."""


class OutcomeUnknown(Exception):
    """The edit is recorded, and nobody here knows yet whether it counts. Asked again under its id it has the one answer."""

    def __init__(self, document: str, edit: str, why: str) -> None:
        super().__init__(f"edit {edit} of {document} is recorded, and {why}: asked again under its id it has the one answer")
        self.edit = edit


def bounds_of(level: Level, asked: Asked, *, is_known: bool) -> Bounds:
    """What a read must be inside of: what is asked for, and of a document that asks for more itself, that; `eventual` takes
    nothing but what it names. A document that is not known here may have begun elsewhere on any terms: the home is asked."""
    kind = asked.consistency or (level.kind if is_known else "strong")
    staleness_ms, versions = asked.staleness_ms, -1
    if kind != "eventual" and level.kind == "bounded":
        if level.time_ms:
            staleness_ms = min(level.time_ms, staleness_ms) if staleness_ms >= 0 else level.time_ms
        versions = level.versions or -1
    return Bounds(kind == "strong", staleness_ms, versions, asked.version)


def shown_of(document: str, known: Document, source: str, as_of_ms: int, staleness_ms: int, behind: int) -> Shown:
    """A document as it is known here. `as_of` is a lower bound: what is shown was decided at its home when that clock said, so it
    is never older than that."""
    last = known.history[-1] if known.history else None
    who = (last.author, last.at_ms) if last is not None else ("", 0)
    return Shown(document, known.version, known.value, known.terms, *who, source, max(as_of_ms, who[1]), staleness_ms, behind)


def merged_of(book: MergeBook, document: str, as_of_ms: int) -> Shown | None:
    """A document of several writers as it is known here; None if it is none."""
    if (known := look(book, document)) is None:
        return None
    terms, merged = known.known.terms or PLAIN, merged_shown(book, document)
    who = known.author, known.at_ms
    return Shown(document, known.known.version, known.value, terms, *who, "replica", as_of_ms, -1, -1, (), False, merged)


def merged_problem(shown: Shown, asked: Asked) -> str:
    """Why a document of several writers is not inside what is asked for; empty if it is."""
    if asked.consistency in ("strong", "bounded") or asked.staleness_ms >= 0:
        return "it has several writers, and what these have not told yet nobody knows"
    return f"it has version {shown.version} here" if shown.version < asked.version else ""
