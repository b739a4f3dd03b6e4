"""What `tiercel.client.Client` does with circles of waits, and with wounds that keep them from standing."""

from typing import Any, cast


class WaitCalls:
    """Runs that waited for each other."""

    def deadlocks(self: Any, *, run: str = "", site: str = "", limit: int = 100) -> dict[str, Any]:
        """Those that were found lately, the newest first (`items`): with the run in them, found by the site, or by `cloud`; who
        gave way before there was a circle (`wounds`), and how many of either there have been (`totals`)."""
        asked = {"run": run, "site": site, "limit": str(limit)}
        return cast(
            dict[str, Any], self._request("GET", "/api/v1/deadlocks", {name: said for name, said in asked.items() if said})
        )
