"""Agents that lose their site agree with each other over sockets, and say so when it is back."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from sync.identity import main as certificates
from sync.identity.names import Identity
from tests.sdk.gateway import Connection, Gateway, assignment, gateway_running
from tiercel import Agent
from tiercel.tls import Tls, agent_uri, peer_host
from tiercel.v1 import agent_pb2

LOOPBACK = "127.0.0.1:0"
PING = 99
New = Callable[..., Agent]


class Team:
    """Agents of one site. `done` is who has done which task, in the order of the ends."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.done: list[tuple[str, int]] = []
        self.connections: dict[str, Connection] = {}
        self.slow = asyncio.Event()

    def prepare(self, agent: Agent) -> Agent:
        @agent.capability("sort")
        async def sort(number: int) -> int:
            self.done.append((agent.name, number))
            return number

        @agent.capability("ping", inline=True)
        def ping() -> None:
            pass

        @agent.capability("hold")
        async def hold(number: int) -> int:
            self.done.append((agent.name, number))
            await self.slow.wait()
            return number

        return agent

    async def welcome(self, count: int, **how: int) -> None:
        self.gateway.away = False
        for _ in range(count):
            connection = await self.gateway.welcomed(**how)
            self.connections[connection.register.agent] = connection

    async def offer(self, *numbers: int, capability: str = "sort") -> None:
        peers = [
            agent_pb2.PeerPlace(agent=name, address=connection.register.peer_address)
            for name, connection in self.connections.items()
        ]
        items = [
            agent_pb2.StandingOffer(
                assignment=assignment(capability, number, with_={"number": number}), alone_ms=60_000, evaluator="cheapest"
            )
            for number in numbers
        ]
        for connection in self.connections.values():
            await connection.say(standing_offers=agent_pb2.StandingOffers(items=items, peers=peers, after_ms=50))

    async def heard(self) -> None:
        """What was said before has been read: an assignment that came after it is done."""
        for connection in self.connections.values():
            await connection.assign(assignment("ping", PING))
            await connection.acknowledge(await connection.result())

    def cut(self) -> None:
        self.gateway.away = True
        for connection in self.connections.values():
            connection.drop()
        self.connections.clear()

    async def until(self, count: int) -> None:
        await soon(lambda: len(self.done) >= count)


async def soon(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is looked at says nothing of itself.
            await asyncio.sleep(0.02)


@asynccontextmanager
async def team_of(*agents: Agent) -> AsyncIterator[Team]:
    async with AsyncExitStack() as stack:
        team = Team(await stack.enter_async_context(gateway_running()))
        tasks = [asyncio.create_task(team.prepare(agent).serve(team.gateway.address)) for agent in agents]
        try:
            await team.welcome(len(agents))
            yield team
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_each_task_is_done_by_the_peer_that_does_it_cheapest_and_the_site_is_told(new_agent: New) -> None:
    """Three agents without their site do all that it had offered, each once; what they did they hold, with all bids, until it
    acknowledges."""
    agents = [new_agent(name, cost=cost, capacity=2, peers_listen=LOOPBACK) for name, cost in (("a", 1), ("b", 2), ("c", 9))]
    async with team_of(*agents) as team:
        await team.offer(1, 2, 3, capability="hold")
        await team.heard()
        team.cut()
        await team.until(3)
        await asyncio.sleep(0.5)
        assert sorted(number for _, number in team.done) == [1, 2, 3]
        await team.welcome(3)
        claims = {(name, claim.key.task): claim for name, c in team.connections.items() for claim in c.register.claims}
        assert sorted(claims) == sorted(team.done)
        held = {(name, key.task) for name, c in team.connections.items() for key in c.register.holding if key.task != PING}
        assert held == set(team.done)
        for (name, _), claim in claims.items():
            bids = {each.agent: each.bid for each in claim.bids}
            assert bids[name] == claim.bid == max(bids.values())


async def test_with_one_peer_that_has_the_site_nobody_acts_alone(new_agent: New) -> None:
    """Who can reach somebody who is connected waits: the site is there, and decides."""
    agents = [new_agent(name, peers_listen=LOOPBACK) for name in ("a", "b")]
    async with team_of(*agents) as team:
        await team.offer(1)
        await team.heard()
        team.gateway.away = True
        team.connections.pop("a").drop()
        await asyncio.sleep(1.5)
        assert team.done == []
        team.cut()
        await team.until(1)


async def test_what_was_withdrawn_or_is_over_is_not_begun(new_agent: New) -> None:
    """An offer that the site took back, and one whose time is over, are nobody's."""
    async with team_of(new_agent("a", peers_listen=LOOPBACK)) as team:
        await team.offer(1, 2)
        connection = team.connections["a"]
        withdrawn = assignment("sort", 1).key
        late = agent_pb2.StandingOffer(assignment=assignment("sort", 3, with_={"number": 3}), alone_ms=1)
        await connection.say(standing_offers=agent_pb2.StandingOffers(items=[late], withdrawn=[withdrawn]))
        await team.heard()
        team.cut()
        await team.until(1)
        await asyncio.sleep(0.7)
        assert team.done == [("a", 2)]


async def test_a_new_session_ends_the_old_offers(new_agent: New) -> None:
    """What is not offered again in the next session is not begun when that is lost."""
    async with team_of(new_agent("a", peers_listen=LOOPBACK)) as team:
        await team.offer(1, capability="nothing")
        await team.heard()
        team.cut()
        await team.welcome(1)
        await team.offer(2)
        await team.heard()
        team.cut()
        await team.until(1)
        await asyncio.sleep(0.5)
        assert team.done == [("a", 2)]


async def test_peers_know_each_other_by_their_certificates(new_agent: New, tmp_path: Path) -> None:
    """Over TLS two agents agree; one whose certificate is another's is told nothing, and hears nothing."""
    certificates.init(tmp_path / "ca")

    def tls(name: str, called: str = "") -> Tls:
        identity = Identity("harbour", called or name)
        files = certificates.issue(tmp_path / "ca", tmp_path / name, identity, hosts=[peer_host(*identity)])
        return Tls(files.ca, files.cert, files.key)

    good = [new_agent(name, cost=cost, tls=tls(name), peers_listen=LOOPBACK) for name, cost in (("a", 1), ("b", 2))]
    liar = new_agent("c", cost=0, tls=tls("c", "d"), peers_listen=LOOPBACK)
    async with team_of(*good, liar) as team:
        await team.offer(1)
        await team.heard()
        team.cut()
        await team.until(2)
        await asyncio.sleep(0.5)
        assert sorted(team.done) == [("a", 1), ("c", 1)]


def test_an_agent_is_called_alike_on_both_sides() -> None:
    """What peers look for in a certificate is what the CA writes into it."""
    assert agent_uri("harbour", "crane 1/ä") == Identity("harbour", "crane 1/ä").uri


@pytest.mark.parametrize(
    ("listen", "tls", "said"),
    [
        ("somewhere", None, "no host:port"),
        ("127.0.0.1:99999", None, "ports are 0"),
        ("0.0.0.0:7500", None, "without TLS only this machine"),
        ("0.0.0.0:7500", Tls("ca.crt"), "by certificates, not by tokens"),
    ],
)
def test_a_port_for_peers_that_others_could_use_is_refused(new_agent: New, listen: str, tls: Tls | None, said: str) -> None:
    """Where peers could not show who they are, an agent does not listen."""
    with pytest.raises(ValueError, match=said) as refused:
        new_agent(peers_listen=listen, tls=tls)
    assert listen in str(refused.value)


def test_a_port_that_somebody_has_ends_the_agent_with_a_sentence(new_agent: New) -> None:
    """No traceback: which port, of which agent, and what helps. Its journal is free again."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        for _ in range(2):
            with pytest.raises(SystemExit, match=f"agent a: peers_listen {taken}: another process has the port") as ended:
                new_agent("a", peers_listen=taken).run("127.0.0.1:1")
            assert "name a free one" in str(ended.value)


async def test_a_peer_that_had_the_site_for_a_moment_does_not_hold_up_the_others(new_agent: New) -> None:
    """It lost the site again before that had told its offers anew: it begins nothing of what was offered before, and says so."""
    agents = [new_agent(name, peers_listen=LOOPBACK) for name in ("a", "b")]
    async with team_of(*agents) as team:
        await team.offer(1)
        await team.heard()
        team.gateway.away = True
        team.connections.pop("a").drop()
        await asyncio.sleep(0.1)
        await team.welcome(1)
        team.cut()
        await team.until(1)
        assert team.done == [("b", 1)]
