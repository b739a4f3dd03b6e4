"""What `tiercel.client.Client` does with the sync points of runs."""

import json
from typing import Any, cast
from urllib.parse import quote


class PointCalls:
    """Places in a run where agents wait for each other."""

    def sync_points(self: Any, run: str) -> dict[str, Any]:
        """How all points of a run stand (`items`), and who waits there for whom (`waits`)."""
        return cast(dict[str, Any], self._request("GET", _at(run)))

    def sync_point(self: Any, run: str, point: str) -> dict[str, Any]:
        """How one of them stands."""
        return cast(dict[str, Any], self._request("GET", f"{_at(run)}/{quote(point, safe='')}"))

    def arrive(
        self: Any, run: str, point: str, agent: str, *, wait_s: float = 0.0, generation: int = 0, arrival: str = ""
    ) -> dict[str, Any]:
        """An agent is at the point; how that stands once the others are there, or after `wait_s` (60 at most). Sent again under
        the same `arrival` it is no second one. With `command`: the run's home has not answered yet."""
        body = {"wait_s": wait_s, "generation": generation, "arrival": arrival}
        content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        path = f"{_at(run)}/{quote(point, safe='')}/agent/{quote(agent, safe='')}"
        return cast(dict[str, Any], self._request("POST", path, content=content, headers=headers, wait_s=wait_s))

    def withdraw(self: Any, run: str, point: str, agent: str, *, wait_s: float = 2.0, generation: int = 0) -> dict[str, Any]:
        """An agent waits there no longer. With a `generation` only in that one: refused (`generation_over`) if it has ended."""
        path = f"{_at(run)}/{quote(point, safe='')}/agent/{quote(agent, safe='')}"
        asked = {"wait": wait_s, **({"generation": generation} if generation else {})}
        return cast(dict[str, Any], self._request("DELETE", path, asked, wait_s=wait_s))

    def reset_sync_point(self: Any, run: str, point: str, *, reason: str = "", wait_s: float = 2.0) -> dict[str, Any]:
        """Who waits is told that the point is broken, and it begins anew."""
        path = f"{_at(run)}/{quote(point, safe='')}/reset"
        return cast(dict[str, Any], self._send(path, {"reason": reason}, {"wait": wait_s}, wait_s=wait_s))


def _at(run: str) -> str:
    return f"/api/v1/workflows/{quote(run, safe='')}/sync"
