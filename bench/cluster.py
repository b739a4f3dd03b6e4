"""Planner, edge and agents as Ray actors, in a cluster of their own with the options that `tiercel up` uses."""

import contextlib
import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Ray reads these when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

import ray

from agents.actors import AgentHostActor
from cloud.actors import planner_actor
from edge.actors import edge_actor

if TYPE_CHECKING:
    from bench.system import Configs

STOP_S_MAX = 20.0
ASK_S_MAX = 60.0


class Cluster:
    """Three actors, which Ray starts again when they die."""

    def __init__(self, configs: "Configs", run_dir: Path) -> None:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            num_cpus=1,
            object_store_memory=80 << 20,
            _node_ip_address="127.0.0.1",
            _temp_dir=str(run_dir / "ray"),
        )
        self._actors: dict[str, Any] = {
            "planner": planner_actor.remote(configs.planner, str(configs.planner.data_dir / "log")),
            "edge": edge_actor.remote(configs.edge, str(configs.edge.data_dir / "log")),
            "agents": AgentHostActor.remote(configs.agents),
        }

    def pids(self) -> dict[str, int]:
        """Process ids by name; waits for actors that are being started."""
        return {name: ray.get(actor.pid.remote(), timeout=ASK_S_MAX) for name, actor in self._actors.items()}

    def stop(self) -> None:
        """In order: agents first, so that they can say goodbye; then the cluster."""
        for actor in reversed(self._actors.values()):
            # One that is gone already, or does not end, goes with the cluster.
            with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
                ray.get(actor.stop.remote(), timeout=STOP_S_MAX)
            ray.kill(actor, no_restart=True)
        ray.shutdown()
