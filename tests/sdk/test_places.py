"""A site of several nodes, as its agents see it: the one that leads is found, whoever says what."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.identity import main as certificates
from sync.identity.names import Identity
from tests.sdk.gateway import ONCE, Connection, Gateway, assignment, gateway_running
from tiercel import Agent
from tiercel.channel import Line
from tiercel.places import LED_MAX, Places
from tiercel.tls import Tls
from tiercel.v1 import agent_pb2, agent_pb2_grpc, blob_pb2_grpc

NewAgent = Callable[..., Agent]
NAMES = st.sampled_from(["a:1", "b:2", "c:3", "unix:/d", "e:5"])
CODES = st.sampled_from(["", "not_leader", "not_ready", "replaced", "unreached"])


@contextlib.asynccontextmanager
async def working(agent: Agent, target: str | Line) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(agent.serve(target))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def refuse(connection: Connection, leader: str = "") -> None:
    """As a node does that does not lead."""
    await connection.say(refused=agent_pb2.Refused(code="not_leader", message="b leads", leader=leader))
    connection.drop()


def dead() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("text", "why"),
    [("a:1,,b:2", "missing"), ("", "missing"), ("a:1, a:1", "twice"), (",".join(f"h{n}:1" for n in range(17)), "at most 16")],
)
def test_what_is_no_list_of_addresses_is_refused(text: str, why: str) -> None:
    """The error names what is wrong."""
    with pytest.raises(ValueError, match=why) as caught:
        Places.of(text)
    assert "gateway" in str(caught.value)


def test_a_list_inside_one_address_of_grpc_is_one_address() -> None:
    """gRPC has a scheme whose addresses have commas themselves."""
    assert Places.of("ipv4:10.0.0.1:80,10.0.0.2:80").known == ("ipv4:10.0.0.1:80,10.0.0.2:80",)


def test_a_hint_is_followed_at_once_and_the_list_goes_on_where_it_was_wrong() -> None:
    """One that is not in the list, too, for the site may have got another node since; a path of another machine never."""
    places = Places.of("a:1,b:2,unix:/c")
    assert (places.lost("not_leader", "x:9"), places.current) == (True, "x:9")
    assert (places.lost("unreached"), places.current) == (False, "b:2")
    assert (places.lost("not_leader", "unix:/strange"), places.current) == (False, "unix:/c")
    assert (places.lost("not_leader", "a:1"), places.current) == (True, "a:1")
    assert (places.lost(""), places.current) == (False, "b:2")


def test_a_node_that_is_not_ready_is_waited_for() -> None:
    """It leads, and another would only send us back."""
    places = Places.of("a:1,b:2")
    assert (places.lost("not_ready"), places.current) == (False, "a:1")


@given(st.lists(st.tuples(CODES, st.one_of(st.just(""), NAMES)), max_size=40))
def test_nobody_runs_between_nodes_that_point_at_each_other(said: list[tuple[str, str]]) -> None:
    """Without a welcome at most a few tries are made without a wait, and the place is always one that was named."""
    places = Places.of("a:1,b:2,c:3,unix:/d")
    at_once = [places.lost(code, leader) for code, leader in said]
    assert sum(at_once) <= LED_MAX
    assert places.current in ("a:1", "b:2", "c:3", "unix:/d", "e:5")


async def test_an_agent_goes_where_the_leader_is_said_to_be(gateway: Gateway, new_agent: NewAgent) -> None:
    """It need not have been told of that node, and what it does there is done once."""
    agent = new_agent()
    done: list[int] = []
    agent.capability("count")(lambda: done.append(1))
    other = Gateway("")
    async with listening(other), working(agent, dead() + "," + gateway.address):
        await refuse(await gateway.connection(), other.address)
        leader = await other.welcomed(heartbeat_ms=1_000)
        await leader.assign(assignment("count", 0, ONCE))
        sent = await leader.result()
        leader.drop()
        again = await gateway.connection()
        assert [key.task for key in again.register.holding] == [0]
        await again.welcome(heartbeat_ms=1_000)
        assert await again.result() == sent
    assert done == [1]


async def test_dead_nodes_are_passed_over(gateway: Gateway, new_agent: NewAgent) -> None:
    """The list is tried in turn, and again from its beginning, until a node takes the agent."""
    async with working(new_agent(), f"{dead()},{dead()},{gateway.address}"):
        first = await gateway.welcomed(heartbeat_ms=1_000)
        first.drop()
        second = await gateway.connection()
    assert second.register.agent == "picker-1"


async def test_a_leader_that_has_become_silent_is_left(gateway: Gateway, new_agent: NewAgent) -> None:
    """A box without power closes no connection: the agent does not wait for the end of its lease."""
    async with gateway_running() as other, working(new_agent(), f"{gateway.address},{other.address}"):
        silent = await gateway.welcomed(heartbeat_ms=200, lease_ms=600_000)
        silent.acknowledges_heartbeats = False
        taken = await other.connection()
    assert taken.register.agent == "picker-1"


async def test_all_agents_of_a_line_move_together(gateway: Gateway, new_agent: NewAgent) -> None:
    """The first one that is refused moves the line; the sessions of the others follow it."""
    async with gateway_running() as other, Line(f"{gateway.address},{other.address}") as line:
        one, two = new_agent("one"), new_agent("two")
        async with working(one, line), working(two, line):
            first = [await gateway.welcomed(heartbeat_ms=1_000) for _ in range(2)]
            await refuse(first[0], other.address)
            moved = [await other.welcomed(heartbeat_ms=1_000) for _ in range(2)]
            assert sorted(connection.register.agent for connection in moved) == ["one", "two"]
            assert line.places.current == other.address


async def test_the_next_node_is_found_over_tls_too(new_agent: NewAgent, tmp_path: Path) -> None:
    """Both nodes show the certificate of the site, whichever address was dialled; a node with another is passed over."""
    certificates.init(tmp_path / "ca")
    site = certificates.issue(tmp_path / "ca", tmp_path / "harbour", Identity("harbour"))
    strange = certificates.issue(tmp_path / "ca", tmp_path / "airport", Identity("airport"))
    tls = Tls(tmp_path / "harbour" / "ca.crt", site.cert, site.key, "harbour.tiercel")
    follower, leader, stranger = Gateway(""), Gateway(""), Gateway("")
    own, other = pair_of(site.cert, site.key), pair_of(strange.cert, strange.key)
    async with listening(stranger, other), listening(follower, own), listening(leader, own):
        known = ",".join((stranger.address, follower.address, leader.address))
        async with working(new_agent(tls=tls), known):
            await refuse(await follower.connection(), leader.address)
            taken = await leader.connection()
    assert taken.register.agent == "picker-1"
    assert stranger._connections.empty()


def pair_of(cert: Path, key: Path) -> tuple[bytes, bytes]:
    return key.read_bytes(), cert.read_bytes()


@contextlib.asynccontextmanager
async def listening(gateway: Gateway, pair: tuple[bytes, bytes] | None = None) -> AsyncIterator[None]:
    """The gateway on a TCP port, too, with TLS if it has papers."""
    server = grpc.aio.server()
    agent_pb2_grpc.add_AgentServiceServicer_to_server(gateway, server)
    blob_pb2_grpc.add_BlobServiceServicer_to_server(gateway.blobs, server)
    if pair is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    gateway.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)
