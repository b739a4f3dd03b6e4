"""A document of a run, as it is kept in the fragment's state."""

import msgspec

EDITS_KEPT = 32


class RunDocument(msgspec.Struct, array_like=True):
    """The latest version; an empty value: it is deleted. `edits`: the latest `EDITS_KEPT`, with the versions that they made."""

    version: int = 0
    value: bytes = b""
    author: str = ""
    at_ms: int = 0
    edits: list[tuple[str, int]] = []
