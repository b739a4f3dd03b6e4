"""Following documents on the command line, over however many connections."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from tiercel.answers import ServerUnreachable
from tiercel.client import Client

PATIENCE_S = 60
"""How long a server that was there may be away, for it may be starting again."""
NAMED_MAX = 150
"""So many versions are named when it connects again; what others are at is told once more, and not shown."""


async def follow(
    client: Client, document: str, from_version: int | None, limit: int, show: Callable[[dict[str, Any]], None]
) -> None:
    """Show each change, until there were `limit` (0: for ever). Raises ServerUnreachable if the server is away for too long."""
    seen: dict[str, int] = {} if from_version is None else {document: from_version}
    prefix = document if not document or document.endswith("/") else None
    edits: dict[str, str] = {}
    away_s = shown = 0
    while True:
        named = [f"{name}@{version}" for name, version in list(seen.items())[-NAMED_MAX:]]
        named += [document] if prefix is None and not seen else []
        try:
            async with aclosing(client.watch_documents(*named, prefix=prefix)) as changes:
                async for change in changes:
                    assert change is not None, "only who looks at a clock is told that nothing came"
                    away_s, name = 0, change["id"]
                    before = seen.pop(name, -1)
                    seen[name] = max(before, change["version"])  # Of several writers, two may have made the same.
                    if change["version"] < before or (change["version"] == before and change["edit"] == edits.get(name)):
                        continue
                    edits[name] = change["edit"]
                    show(change)
                    if (shown := shown + 1) == limit:
                        return
        except ServerUnreachable:
            if away_s >= PATIENCE_S:
                raise
        away_s += 1
        await asyncio.sleep(1)
