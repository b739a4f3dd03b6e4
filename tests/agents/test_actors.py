"""Under Ray: an agent host that is killed comes back and goes on."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from agents.actors import AgentHostActor
from agents.config import AgentDescription, HostConfig
from tests.agents.gateway import Gateway
from tiercel.v1 import agent_pb2


@pytest.fixture
def cluster() -> Iterator[Path]:
    """A local Ray in a short directory."""
    with tempfile.TemporaryDirectory(prefix="tc-", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=folder,
            _node_ip_address="127.0.0.1",
            object_store_memory=80 * 1024 * 1024,
        )
        yield Path(folder)
        ray.shutdown()


@pytest.mark.timeout(180)
def test_a_killed_host_comes_back(cluster: Path, tmp_path: Path) -> None:
    """After kill -9 its agents register again as another process, and what they had done they know from the journal."""
    gateway = Gateway(cluster / "g.sock")
    config = HostConfig(
        gateway=gateway.address,
        data_dir=tmp_path / "journals",
        agents=(AgentDescription(id="picker", capacity=2, capabilities=("test.note",)),),
        modules=(str(Path(__file__).with_name("capabilities_for_tests.py")),),
        settings={"log": str(tmp_path / "log")},
    )
    host = AgentHostActor.remote(config)
    try:
        first = gateway.await_agents("picker")["picker"]
        gateway.acknowledging = False
        run = gateway.assign("picker", "test.note", effect=int(agent_pb2.EFFECT_ONCE))
        assert gateway.next_result()[1].key.run == run
        pid = ray.get(host.pid.remote())
        assert pid != os.getpid()
        os.kill(pid, signal.SIGKILL)
        second = gateway.await_agents("picker")["picker"]
        assert second.boot != first.boot
        assert [key.run for key in second.holding] == [run]
        assert len((tmp_path / "log").read_text().splitlines()) == 1
        gateway.acknowledging = True
        assert gateway.next_result()[1].key.run == run
    finally:
        ray.kill(host, no_restart=True)
        gateway.stop()
