"""What `tiercel.client.Client` does with the plans of runs."""

import json
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import quote


class PlanCalls:
    """The plan of a run as a document: tasks are nodes, what they wait for are edges."""

    def plan(self: Any, run: str) -> dict[str, Any]:
        """Of each home its part, with the `version` that an edit is made on top of."""
        return cast(dict[str, Any], self._request("GET", f"/api/v1/workflows/{quote(run, safe='')}/plan"))

    def edit_plan(
        self: Any,
        run: str,
        operations: Sequence[dict[str, Any]],
        *,
        base: int | None = None,
        by: str = "",
        wait_s: float = 2.0,
        idempotency_key: str = "",
    ) -> dict[str, Any]:
        """Edit what one home has of the plan, as it was at the version `base` (without: as it is known now). The run once the
        home has taken it; what that had decided otherwise meanwhile stands, and is a conflict on record. The command, if it does
        not answer within `wait_s`."""
        body = {"operations": list(operations), "by": by} | ({"base": base} if base is not None else {})
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": idempotency_key} if idempotency_key else {})
        content, at = json.dumps(body, allow_nan=False).encode(), f"/api/v1/workflows/{quote(run, safe='')}/plan"
        found = self._request("PATCH", at, {"wait": wait_s}, content=content, headers=headers, wait_s=wait_s)
        return cast(dict[str, Any], found)
