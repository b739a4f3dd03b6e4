"""Many agents in one process, against a real gateway on a Unix socket."""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.config import AgentDescription, HostConfig, HostConfigError
from agents.host import AgentHost
from agents.http import HttpPolicy
from coordination.breaker import BreakerPolicy
from tests.agents.gateway import WAIT_S, Gateway
from tiercel.errors import JournalInUse
from tiercel.journal import Journal
from tiercel.v1 import agent_pb2

MODULE = str(Path(__file__).with_name("capabilities_for_tests.py"))
ONCE = int(agent_pb2.EFFECT_ONCE)


@pytest.fixture
def socket() -> Iterator[Path]:
    """A path short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="tc-") as folder:
        yield Path(folder) / "gateway.sock"


@pytest.fixture
def gateway(socket: Path) -> Iterator[Gateway]:
    gateway = Gateway(socket)
    yield gateway
    gateway.stop()


Start = Callable[..., AgentHost]


@pytest.fixture
def start(tmp_path: Path, socket: Path) -> Iterator[Start]:
    """Start a host with a picker (capacity 2) and a clerk; all hosts are stopped at the end."""
    hosts: list[AgentHost] = []
    (tmp_path / "root").mkdir()

    def start(**more: object) -> AgentHost:
        agents = (
            AgentDescription(id="picker", kind="robot", capacity=2, capabilities=("test.note", "test.linger")),
            AgentDescription(id="clerk", capabilities=("csv.parse", "file.write", "file.read", "double")),
        )
        values = {
            "gateway": f"unix:{socket}",
            "data_dir": tmp_path / "journals",
            "agents": agents,
            "root": tmp_path / "root",
            "modules": (MODULE,),
            "functions": {"double": "python:tests.agents.capabilities_for_tests.double"},
            "settings": {"log": str(tmp_path / "log")},
            **more,
        }
        hosts.append(AgentHost(HostConfig(**values)))  # type: ignore[arg-type]
        return hosts[-1]

    yield start
    for host in hosts:
        assert host.stop()


def lines_of(log: Path, count: int) -> list[str]:
    """The lines of the log, once there are that many."""
    give_up = time.monotonic() + WAIT_S
    while not log.exists() or len(log.read_text().splitlines()) < count:
        assert time.monotonic() < give_up, f"{log} has no {count} lines"
        time.sleep(0.01)
    return log.read_text().splitlines()


def await_state(host: AgentHost, agent: str, begin: str) -> None:
    """Wait until the state of the agent begins with these words."""
    give_up = time.monotonic() + WAIT_S
    while not (state := host.ping()[agent]).startswith(begin):
        assert time.monotonic() < give_up, f"the state of {agent} is {state!r}"
        time.sleep(0.01)


def test_each_agent_registers_for_itself(gateway: Gateway, start: Start) -> None:
    """Two agents of one process are two agents to the gateway: name, kind, capacity, capabilities."""
    host = start()
    seen = gateway.await_agents("picker", "clerk")
    assert (seen["picker"].agent_kind, seen["picker"].capacity) == (agent_pb2.AGENT_KIND_ROBOT, 2)
    assert list(seen["clerk"].capabilities) == ["csv.parse", "double", "file.read", "file.write"]
    assert host.ping() == {"picker": "serving", "clerk": "serving"}
    assert host.pid() == os.getpid()


def test_tasks_are_done(gateway: Gateway, start: Start, tmp_path: Path) -> None:
    """Capabilities of Tiercel, of a module and of a single function all work, and a mistake in parameters is terminal."""
    start()
    gateway.await_agents("picker", "clerk")
    assert gateway.perform("clerk", "double", number=21) == 42
    assert gateway.perform("clerk", "csv.parse", text="a\n1\n") == {"rows": [{"a": "1"}]}
    assert gateway.perform("clerk", "csv.parse", text=1) == ("validation", False)
    assert gateway.perform("clerk", "file.write", path="a/b", content="x")["written"]
    assert (tmp_path / "root" / "a" / "b").read_text() == "x"
    assert gateway.perform("clerk", "file.read", path="../log") == ("path_refused", False)
    assert gateway.perform("picker", "test.note")["agent"] == "picker"


def test_a_keyed_write_survives_a_second_attempt(gateway: Gateway, start: Start, tmp_path: Path) -> None:
    """Another attempt of the same task of the same run finds the file and leaves it alone."""
    start()
    gateway.await_agents("clerk")
    for attempt, written in ((1, True), (2, False)):
        gateway.assign("clerk", "file.write", "run-x", attempt, path="out", content=f"{attempt}", keyed=True)
        assert json.loads(gateway.next_result()[1].output)["written"] is written
    assert [path.read_text() for path in (tmp_path / "root" / "out").iterdir()] == ["1"]


def test_the_gateway_may_come_later_and_go(start: Start, socket: Path, tmp_path: Path) -> None:
    """Agents wait for a gateway, and find it again when it was restarted, with what they did meanwhile."""
    start()
    first = Gateway(socket)
    first.await_agents("picker", "clerk")
    run = first.assign("picker", "test.linger", seconds=0.5)
    lines_of(tmp_path / "log", 1)
    first.stop()
    second = Gateway(socket)
    try:
        second.await_agents("picker", "clerk")
        name, result = second.next_result()
        assert (name, result.key.run) == ("picker", run)
        assert second.perform("clerk", "double", number=1) == 2
        assert lines_of(tmp_path / "log", 2) == [f"{run}/task started", f"{run}/task lingered"]
    finally:
        second.stop()


def test_a_host_that_was_stopped_answers_from_its_journal(gateway: Gateway, start: Start, tmp_path: Path) -> None:
    """What was done and not acknowledged is known to the next host with the same data directory, and not done again."""
    gateway.acknowledging = False
    host = start()
    gateway.await_agents("picker")
    run = gateway.assign("picker", "test.note", effect=ONCE)
    assert gateway.next_result()[1].key.run == run
    assert host.stop()
    start()
    held = gateway.await_agents("picker")["picker"].holding
    assert [key.run for key in held] == [run]
    assert gateway.next_result()[1].key.run == run  # Sent again by itself.
    gateway.assign("picker", "test.note", run, effect=ONCE)
    assert gateway.next_result()[1].key.run == run  # Asked again, and answered from the journal.
    assert len((tmp_path / "log").read_text().splitlines()) == 1


def test_stopping_is_orderly(gateway: Gateway, start: Start, tmp_path: Path) -> None:
    """Work in hand is finished, its result arrives, and every agent says goodbye; a second stop does nothing."""
    host = start()
    gateway.await_agents("picker", "clerk")
    run = gateway.assign("picker", "test.linger", seconds=0.3)
    lines_of(tmp_path / "log", 1)
    assert host.stop()
    assert gateway.next_result()[1].key.run == run
    assert {gateway.goodbyes.get(timeout=WAIT_S) for _ in range(2)} == {"picker", "clerk"}
    assert host.ping() == {"picker": "stopped", "clerk": "stopped"}
    assert host.stop()


def test_one_refused_agent_leaves_the_others(gateway: Gateway, start: Start) -> None:
    """An agent that the gateway will never take is told apart; the others serve."""
    gateway.refusing["picker"] = "forbidden"
    host = start()
    gateway.await_agents("clerk")
    assert gateway.perform("clerk", "double", number=4) == 8
    await_state(host, "picker", "refused: ")
    assert host.ping()["clerk"] == "serving"


def test_a_journal_in_use_is_waited_for(gateway: Gateway, start: Start, tmp_path: Path) -> None:
    """While another process holds an agent's journal the agent waits and says so; when it is free, it serves."""
    journal = Journal(tmp_path / "journals" / "picker.journal")
    try:
        host = start()
        gateway.await_agents("clerk")
        assert gateway.perform("clerk", "double", number=4) == 8
        await_state(host, "picker", "waiting: another process has the journal")
        with pytest.raises(JournalInUse):
            Journal(tmp_path / "journals" / "clerk.journal")
    finally:
        journal.close()
    gateway.await_agents("picker")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"agents": ()}, "no agents are described"),
        ({"modules": ("no.such.module",)}, "module no.such.module cannot be imported"),
        ({"modules": (MODULE,), "settings": {}}, "does not accept its settings: KeyError: 'log'"),
        ({"modules": ("json",)}, "module json has no function capabilities(settings)"),
        ({"functions": {"double": "os.system"}}, "'os.system' is not of the form python:module.function"),
        ({"functions": {"double": "python:os.no_such"}}, "module os has no function no_such"),
        ({"functions": {"csv.parse": "python:os.getpid"}}, "csv.parse is provided already"),
        ({"functions": {}}, "agent 'clerk': nothing provides double; there is: api_call, csv.parse"),
        ({"root": Path("/no/such/root")}, "the allowed root /no/such/root cannot be used"),
        ({"http": HttpPolicy(breaker=BreakerPolicy(probes=0))}, "http.breaker: factor 2.0 and probes 0 must be at least 1"),
        ({"gateway": "unix:/" + "x" * 120}, "has more than 107 bytes"),
    ],
)
def test_a_bad_configuration_starts_nothing(start: Start, change: dict[str, object], expected: str) -> None:
    """What cannot work is refused by the constructor, with the reason."""
    with pytest.raises(HostConfigError) as caught:
        start(**change)
    assert expected in str(caught.value)
