"""What `tiercel.client.Client` does with how tasks of runs find their agents."""

from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import quote

from tiercel.answers import Command


class CoordinationCalls:
    """By which protocol, what is under way, and what came of it."""

    def coordination(self: Any, run: str) -> dict[str, Any]:
        """What is in force for each task, the negotiations under way, the last awards with all bids and votes."""
        return cast(dict[str, Any], self._request("GET", f"/api/v1/workflows/{quote(run, safe='')}/coordination"))

    def awards(self: Any, run: str) -> Iterator[dict[str, Any]]:
        """All awards of a run, the latest first, as far as its history in the log goes: whom a protocol named, with all bids or
        votes, and why. Read from the server a page at a time."""
        before, more = 0, True
        while more:
            path = f"/api/v1/workflows/{quote(run, safe='')}/coordination/awards"
            page = self._request("GET", path, {"before": before})
            yield from page["awards"]
            before, more = page["next"], bool(page["next"])

    def coordinate(
        self: Any, run: str, coordination: dict[str, Any], *, task: str = "", wait_s: float = 2.0, idempotency_key: str = ""
    ) -> dict[str, Any]:
        """Let all tasks of a run, or one of them, find their agents by another protocol: `protocol` and what belongs to it, as in
        a definition. The run once its homes have taken it; the command, if they do not answer within `wait_s`."""
        fields = {**coordination, **({"task": task} if task else {})}
        found = self.order(run, "coordination", wait_s=wait_s, idempotency_key=idempotency_key, **fields)
        return cast(dict[str, Any], found)

    def groups(self: Any, site: str = "") -> list[dict[str, Any]]:
        """The groups of agents that have, or had, a leader: of all sites, or of one."""
        found = self._request("GET", f"/api/v1/groups?site={quote(site, safe='')}")
        return cast(list[dict[str, Any]], found["items"])

    def hand_over(
        self: Any, site: str, group: str, to: str = "", *, epoch: int = 0, wait_s: float = 2.0, idempotency_key: str = ""
    ) -> Command:
        """Let the member `to` lead the group, whatever its leader says; empty: whoever is next. With an `epoch`, only while that
        is the group's latest. The command: accepted, or pending while the site cannot be reached. Refused: ApiError."""
        fields = {**({"to": to} if to else {}), **({"epoch": epoch} if epoch else {})}
        path = f"/api/v1/groups/{quote(site, safe='')}/{quote(group, safe='')}/transfer"
        return cast(Command, self._send(path, fields, {"wait": wait_s}, wait_s=wait_s, key=idempotency_key))
