"""What can happen to documents of several writers, as facts."""

from typing import NamedTuple

from sync.documents.terms import Terms
from sync.event import Event
from sync.merging.dots import Dot


class FieldWritten(NamedTuple):
    """What a write says of one top-level member: its value (canonical JSON; empty: it is taken away).

    `part` is empty of most. Of a union it is one element (JSON), which the value keeps or takes away; of a sum it is the writer,
    and the value the writer's account (`sync.merging.escrow`)."""

    name: str
    value: bytes
    part: str = ""


class MergingBegun(Event, frozen=True):
    """The cloud has decided that the document begins, on terms that stay: several nodes write to it."""

    document: str
    terms: Terms
    author: str
    edit: str
    at_ms: int


class DocumentWritten(Event, frozen=True):
    """A node has written, with this dot, when it had seen `context` of the document. It stands in the writer's own stream; the
    cloud tells it to the other sites, perhaps without fields that were overwritten since.

    `deletes`: the document is taken away, with the fields that the writer saw. `stamp` is hybrid time by the writer's clock.
    `version` is larger than that of all that the writer had seen; concurrent writes may have the same.
    `moves`: it only moves a share of a sum to another node, and says nothing of whether the document is there."""

    document: str
    dot: Dot
    context: dict[str, int]
    fields: tuple[FieldWritten, ...]
    stamp: int
    version: int
    author: str
    edit: str
    at_ms: int
    deletes: bool = False
    moves: bool = False


class WriteQuarantined(Event, frozen=True):
    """The cloud has judged, when it heard of the write: its stamp was `ahead_ms` ahead of the cloud's clock. It keeps its place
    among what was seen, and loses where the later of two would stand."""

    document: str
    dot: Dot
    ahead_ms: int
    at_ms: int = 0


class ShareAsked(Event, frozen=True):
    """Of a sum this node wants so much more of what may be added, or taken away: a site from the cloud, or the cloud from a site,
    for a third one. What it is given is a write of whoever gives."""

    document: str
    name: str
    up: int
    down: int
    at_ms: int


EVENTS = (MergingBegun, DocumentWritten, WriteQuarantined, ShareAsked)
