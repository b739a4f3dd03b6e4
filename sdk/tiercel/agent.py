"""The front of an agent: its name, its capabilities, and `run`."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tiercel.bidding import Function as BidFunction
from tiercel.capability import Capability, capability_of
from tiercel.errors import PeersPortUnavailable
from tiercel.opinions import Opinions
from tiercel.runtime import Runtime, Settings, Target, journal_path
from tiercel.tls import Tls, tls_of, token_of
from tiercel.v1 import agent_pb2

Function = TypeVar("Function", bound=Callable[..., Any])
Bidding = TypeVar("Bidding", bound=BidFunction)

KINDS = {
    "robot": agent_pb2.AGENT_KIND_ROBOT,
    "human": agent_pb2.AGENT_KIND_HUMAN,
    "ai": agent_pb2.AGENT_KIND_AI,
    "service": agent_pb2.AGENT_KIND_SERVICE,
}


class Agent:
    """Something that does tasks: a robot, a person's desk, an AI process, a service."""

    def __init__(
        self,
        name: str,
        *,
        kind: str = "service",
        capacity: int = 4,
        threads: int | None = None,
        grace_s: float = 10.0,
        journal: Path | str | None = None,
        secrets: Path | str | None = None,
        labels: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        token: str = "",
        cost: float = 1.0,
        peers_listen: str = "",
        peers_address: str = "",
    ) -> None:
        """`name` is unique at its site and stays the same over restarts; `kind` is robot, human, ai or service.

        `capacity` is how many tasks it takes at once, `threads` how many of them may be plain functions at the same
        moment (default: the capacity, at most 64). `grace_s` is how long work may go on after the agent was asked to
        stop. `journal` is a file for this agent alone (default: in the user's state directory). `secrets` is the
        site's secrets file. `tls` and `token` say who it is to a gateway on another machine (default: what the environment says
        in TIERCEL_TLS_CA, TIERCEL_TLS_CERT, TIERCEL_TLS_KEY, TIERCEL_TLS_SERVER and TIERCEL_TLS_TOKEN). `cost` is what it bids
        where tasks are auctioned and it has no function for it; its site knows it as the label `cost`.
        `peers_listen` is a "host:port" of its own, at which other agents of the site may reach it while the site cannot be heard:
        with it the agent takes part where tasks say `alone` (port 0: one that is free); without TLS on this machine only.
        `peers_address` is where they dial, if that is another. Raises ValueError when a value is out of range.
        """
        if kind not in KINDS:
            raise ValueError(f"agent {name!r}: kind {kind!r} is unknown; allowed: {', '.join(KINDS)}")
        self.name = name
        self._bids: dict[str, BidFunction] = {}
        self._settings = Settings(
            name=name,
            kind=KINDS[kind],
            capacity=capacity,
            threads=min(capacity, 64) if threads is None else threads,
            grace_s=grace_s,
            journal=journal_path(name) if journal is None else Path(journal),
            secrets=None if secrets is None else Path(secrets),
            labels={**({} if cost == 1.0 else {"cost": str(cost)}), **(labels or {})},
            tls=tls or tls_of(),
            token=token or token_of(),
            cost=cost,
            bids=self._bids,
            peers_listen=peers_listen,
            peers_address=peers_address,
        )
        self._settings.validate()
        self._capabilities: dict[str, Capability] = {}
        self._opinions = Opinions()
        self._runtime: Runtime | None = None

    def capability(self, name: str, *, inline: bool = False) -> Callable[[Function], Function]:
        """Offer a function under a name. Its parameters are what the task gives `with`, passed by name.

        A plain function runs in a thread, or with `inline=True` in the event loop, which it must not block; an `async
        def` runs in the event loop. A parameter annotated `TaskContext` gets the context. What is returned must be
        JSON. An exception is a failure: TerminalError for good, any other may be retried.
        """

        def offer(function: Function) -> Function:
            if name in self._capabilities:
                raise ValueError(f"agent {self.name!r} has a capability {name!r} already")
            self._capabilities[name] = capability_of(name, function, inline=inline)
            return function

        return offer

    def vote(self, topic: str = "") -> Callable[[Function], Function]:
        """Answer questions on a topic (what the definition says, else the capability of the voters); without one, on all others.

        The function gets a `Proposal` and returns one of its options, or None to abstain. A plain function runs in a thread
        of its own, an `async def` in the event loop. One that raises, or takes longer than there is time, abstains.
        """

        def answer(function: Function) -> Function:
            if topic in self._opinions.voters:
                raise ValueError(f"agent {self.name!r} votes on {topic or 'everything'!r} already")
            self._opinions.voters[topic] = function
            return function

        return answer

    def bid(self, capability: str) -> Callable[[Bidding], Bidding]:
        """Say what tasks of a capability would cost that are auctioned (`coordination: auction`).

        The function gets an `Offer` and returns a `Bid`, or None to make none. A plain function runs in a thread, an `async def`
        in the event loop. What it does not say before the auction closes is no bid, nor is an exception. Without a function the
        agent bids its `cost`, and more the busier it is.
        """

        def say(function: Bidding) -> Bidding:
            if capability in self._bids:
                raise ValueError(f"agent {self.name!r} has a function for bids on {capability!r} already")
            self._bids[capability] = function
            return function

        return say

    def lead(self, group: str = "") -> Callable[[Function], Function]:
        """Say who does what while this agent leads the group; without a name, any group.

        The function gets a `Lead` and returns a mapping of task ids to agents (None: later), or None to let the site spread the
        tasks. A plain function runs in a thread of its own, an `async def` in the event loop. One that raises, or takes longer
        than there is time, has no opinion.
        """

        def plan(function: Function) -> Function:
            if group in self._opinions.planners:
                raise ValueError(f"agent {self.name!r} plans for {group or 'all groups'!r} already")
            self._opinions.planners[group] = function
            return function

        return plan

    def hand_over(self, group: str, successor: str = "") -> bool:
        """Give the leadership of a group back, to this member or whoever is next. Call it in the loop.

        False if this agent does not lead the group, as far as it knows, or has no session. A site that refuses it (the successor
        is no member, or is not there) says why by code, which is logged, and this agent leads on: `leads` says so again.
        """
        leading = self._opinions.leading
        return leading is not None and leading.hand_over(group, successor)

    def leads(self, group: str) -> int:
        """The epoch under which this agent may act as the leader of a group now, 0 if it may not.

        It counts on its own clock from when it sent what its site has acknowledged, and stops early; a machine that slept leads
        only once its site has confirmed it. Ask before each act, and hand the epoch to what checks it (`FencedResource`): where
        nothing does, the group's `lock_delay` has to be longer than an act takes.
        """
        leading = self._opinions.leading
        return leading.leads(group) if leading is not None else 0

    async def serve(self, target: Target) -> None:
        """Connect to a gateway ("host:port", "unix:/path", or a `Line` or channel that many agents share) and work until `stop`.

        The nodes of a site that has several are named with commas between, in any order: the one that leads is found, and found
        again when another leads. A lost connection is made anew, for as long as it takes. Cancelling this coroutine cancels the
        work in hand at once. Raises AgentRefused, JournalInUse, JournalUnusable, PeersPortUnavailable, or
        ValueError for an address that is none.
        """
        if self._runtime is not None:
            raise RuntimeError(f"agent {self.name!r} serves already")
        self._runtime = Runtime(self._settings, self._capabilities, opinions=self._opinions)
        try:
            await self._runtime.serve(target)
        finally:
            self._runtime = None

    def stop(self) -> None:
        """Let `serve` end: finish what runs within the grace, deliver the results, say goodbye. Call it in the loop."""
        if self._runtime is not None:
            self._runtime.stop()

    def run(self, target: str) -> None:
        """Serve until SIGINT or SIGTERM, with a target as `serve` has it; a second signal does not wait for the grace. When its
        `peers_listen` cannot be had, the process ends with that message and status 1."""
        try:
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(self._run(target))
        except PeersPortUnavailable as taken:
            raise SystemExit(f"agent {self.name}: {taken}") from None

    async def _run(self, target: str) -> None:
        serving = asyncio.ensure_future(self.serve(target))
        signals = 0

        def on_signal() -> None:
            nonlocal signals
            signals += 1
            if signals == 1:
                self.stop()
            else:
                serving.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Only the main thread may take signals; elsewhere whoever owns the process stops the agent.
            with contextlib.suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, on_signal)
        await serving
