"""What `tiercel.client.Client` does with conflicts."""

from typing import Any, cast
from urllib.parse import quote


class ConflictCalls:
    """Conflicts by their ids, as the feed has them."""

    def conflicts(self: Any, *, limit: int = 100, cursor: str = "", **wanted: str) -> dict[str, Any]:
        """The newest first (`items`), at most 1,000; `next` is the cursor that leads on. `wanted` are kind, state, subject, run
        and site."""
        asked = {"limit": str(limit), "cursor": cursor, **wanted}
        parameters = {name: said for name, said in asked.items() if said}
        return cast(dict[str, Any], self._request("GET", "/api/v1/conflicts", parameters))

    def conflict(self: Any, conflict: str) -> dict[str, Any]:
        """One, with both values."""
        return cast(dict[str, Any], self._request("GET", f"/api/v1/conflicts/{quote(conflict, safe='')}"))

    def accept_conflict(self: Any, conflict: str, *, by: str = "", note: str = "") -> dict[str, Any]:
        """It stays as it is. Asked again, nothing changes."""
        at = f"/api/v1/conflicts/{quote(conflict, safe='')}/accept"
        return cast(dict[str, Any], self._send(at, {"by": by, "note": note}, {}))

    def restore_conflict(
        self: Any, conflict: str, *, by: str = "", note: str = "", expected: int | None = None, wait_s: float = 2.0
    ) -> dict[str, Any]:
        """Bring the loser back, once however often it is asked; with `expected`, only while its document has that version. While
        the document's home cannot be reached, what brings it back is pending."""
        at = f"/api/v1/conflicts/{quote(conflict, safe='')}/restore"
        body = {"by": by, "note": note} | ({"expected": expected} if expected is not None else {})
        return cast(dict[str, Any], self._send(at, body, {"wait": wait_s}, wait_s=wait_s))
