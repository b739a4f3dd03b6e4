"""What a node is asked of documents."""

from collections.abc import Mapping
from typing import NamedTuple

from sync.documents.terms import Terms


class EditDocument(NamedTuple):
    """Change a document, at the cloud or at a site. `edit` is the caller's id of the edit: asked again, it is not done again; the
    cloud gives one if there is none. `terms`: on which it is to begin if it does not exist. `base`: the version that whoever asks
    has seen (negative: nobody says); `context` the same of a document of several writers. What the answer is, the core that takes
    it says."""

    token: int
    document: str
    edit: str
    operation: str
    value: bytes
    expected: int
    author: str
    terms: Terms | None = None
    base: int = -1
    context: Mapping[str, int] | None = None
