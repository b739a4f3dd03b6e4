"""Ids of edits whose answers are not kept any more, as eight bytes each: enough to know that one was decided before."""

from hashlib import blake2b

IDS_MAX = 50_000
WIDTH = 8


class Forgotten:
    """The latest `IDS_MAX`. Two ids in 10^14 look the same; then a new one is refused, and nothing is done twice."""

    def __init__(self, saved: bytes = b"") -> None:
        self._known = {saved[at : at + WIDTH]: None for at in range(0, len(saved), WIDTH)}

    def add(self, edit: str) -> None:
        """Its answer is forgotten from now on."""
        self._known[_short(edit)] = None
        if len(self._known) > IDS_MAX:
            del self._known[next(iter(self._known))]

    def __contains__(self, edit: object) -> bool:
        return bool(self._known) and _short(str(edit)) in self._known

    def save(self) -> bytes:
        """All of them, oldest first."""
        return b"".join(self._known)


def _short(edit: str) -> bytes:
    return blake2b(edit.encode(), digest_size=WIDTH).digest()
