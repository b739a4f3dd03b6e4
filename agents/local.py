"""One local agent: an agent of the SDK made from a description, kept serving for as long as its host lives."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agents.config import AgentDescription
from tiercel import Agent
from tiercel.backoff import Backoff
from tiercel.channel import Line
from tiercel.errors import AgentRefused, TiercelError

log = logging.getLogger("tiercel.agents")


class LocalAgent:
    """It has its own registration, lease, capacity and journal; only the process and the channel are shared with
    others.

    `state` is what a person may read: "starting", "serving", "waiting: why", "refused: why" or "stopped".
    """

    def __init__(
        self,
        description: AgentDescription,
        functions: Mapping[str, Callable[..., Any]],
        *,
        data_dir: Path,
        secrets: Path | None = None,
    ) -> None:
        """`functions` are what it offers, by name. Its journal is `<data_dir>/<id>.journal`."""
        self.id = description.id
        self.state = "starting"
        self._stopping = asyncio.Event()
        self._agent = Agent(
            description.id,
            kind=description.kind,
            capacity=description.capacity,
            journal=data_dir / f"{description.id}.journal",
            secrets=secrets,
            labels=description.labels,
            cost=description.cost,
        )
        for name, function in functions.items():
            self._agent.capability(name)(function)

    async def serve(self, line: Line) -> None:
        """Work until `stop`, or until the gateway refuses this agent for good. Never raises for what one agent alone
        suffers: a journal that cannot be used (a full disk, an owner that is about to die) is tried again every few
        seconds."""
        backoff = Backoff(first_s=0.2, limit_s=5.0)
        while not self._stopping.is_set():
            self.state = "serving"
            try:
                await self._agent.serve(line)
            except AgentRefused as error:
                self.state = f"refused: {error}"
                log.error("agent %s does not serve: %s", self.id, error)  # noqa: TRY400 - The message says it all.
                return
            except TiercelError as error:
                self.state = f"waiting: {error}"
                log.warning("agent %s will try again: %s", self.id, error)
            except Exception as error:
                # An agent's misfortune must not end the others that live in this process.
                self.state = f"waiting: {type(error).__name__}: {error}"
                log.exception("agent %s will try again", self.id)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff.next_s())
        self.state = "stopped"

    def stop(self) -> None:
        """Let `serve` end in order: work in hand is finished and its results are delivered. Call it in the loop."""
        self._stopping.set()
        self._agent.stop()
