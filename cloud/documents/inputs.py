"""What the API asks of documents, and what it waits for."""

from typing import NamedTuple


class LeaseAsked(NamedTuple):
    """A site says what it holds of shared documents that are bounded by versions. The answer: what the cloud has of them; for
    `ttl_ms` it gets no further ahead than their bound."""

    token: int
    site: str
    ttl_ms: int
    versions: dict[str, int]


class Edited(NamedTuple):
    """The edit is recorded; `version` is what it made of the document, 0 while its home has not decided."""

    edit: str
    version: int


class EditSettled(NamedTuple):
    """Effect: the home has decided about an edit; whoever waits for it may look."""

    command: str
