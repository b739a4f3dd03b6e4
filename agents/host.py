"""AgentHost: many local agents in one process, over one connection to the gateway of their site."""

import asyncio
import contextlib
import logging
import os
import threading
from itertools import cycle

from agents.config import HostConfig
from agents.local import LocalAgent
from agents.registry import Registry
from tiercel.channel import Line

log = logging.getLogger("tiercel.agents")


class HostEnded(RuntimeError):
    """The host's loop is over although nobody asked for it; the process should be started anew."""


class AgentHost:
    """Serves from its constructor, in a thread with an event loop of its own, until `stop`.

    The gateway need not be there yet: each agent connects, and connects again, by itself. All that must survive the
    process is in the agents' journals, so a host that was killed goes on where a new one with the same configuration
    begins.
    """

    def __init__(self, config: HostConfig, *, exit_on_failure: bool = False) -> None:
        """Raises HostConfigError when the configuration cannot be used; nothing has been started then.

        With `exit_on_failure` the process ends when the loop does so unasked: for hosts that somebody starts again.
        """
        config.validate()
        self._config = config
        self._registry = Registry(config)
        self._agents = [
            LocalAgent(
                description,
                self._registry.choose(description.id, description.capabilities),
                data_dir=config.data_dir,
                secrets=config.secrets,
            )
            for description in config.agents
        ]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = threading.Event()
        self._exit_on_failure = exit_on_failure
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tiercel-agents", daemon=True)
        self._thread.start()
        self._running.wait()

    def pid(self) -> int:
        """The process that the agents live in."""
        return os.getpid()

    def ping(self) -> dict[str, str]:
        """The state of each agent, by id; see LocalAgent. Raises HostEnded when the loop died."""
        if self._failure is not None:
            raise HostEnded(f"the agents of process {os.getpid()} no longer run: {self._failure!r}")
        return {agent.id: agent.state for agent in self._agents}

    def stop(self, timeout_s: float = 20.0) -> bool:
        """Let all agents finish what they hold, deliver it and say goodbye; whether that was done in time. May be
        repeated.

        What is not finished is like after a crash: the journal and the site's leases sort it out.
        """
        with contextlib.suppress(RuntimeError):  # The loop is closed: it has ended already.
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._stop_agents)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
            log.exception("the loop of the agents ended")
            if self._exit_on_failure:
                # A host that has stopped must not look alive.
                os._exit(70)
            raise
        finally:
            self._running.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        config = self._config
        token = "" if config.token_file is None else (await asyncio.to_thread(config.token_file.read_text)).strip()
        async with contextlib.AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(line) for line in self._lines(token)]
            self._running.set()
            try:
                await asyncio.gather(*(agent.serve(line) for agent, line in zip(self._agents, cycle(lines), strict=False)))
            finally:
                await self._registry.close()

    def _lines(self, token: str) -> list[Line]:
        """One for all; where each agent has a certificate of its own, one for each: who speaks is what the connection shows."""
        config = self._config
        if config.tls_dir is None:
            return [Line(config.gateway, config.tls, token)]
        return [Line(config.gateway, config.tls_of(agent.id)) for agent in self._agents]

    def _stop_agents(self) -> None:
        for agent in self._agents:
            agent.stop()
