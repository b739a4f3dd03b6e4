"""The Ray rim of the cloud: places, supervises and restarts the GlobalPlanner, and holds no truth."""

import os
from pathlib import Path

import ray

from cloud.driver import CloudConfig, GlobalPlanner
from sync.actors import NodeThread


class PlannerActor:
    """A GlobalPlanner that serves from this constructor on; Ray reruns it after a crash."""

    def __init__(self, config: CloudConfig, log_file: str = "") -> None:
        self._thread = NodeThread(
            lambda: GlobalPlanner(config), name="cloud", log_file=Path(log_file) if log_file else None, exit_on_failure=True
        )

    def pid(self) -> int:
        """The process that serves the cloud."""
        return os.getpid()

    def stop(self) -> bool:
        """End the node in order."""
        return self._thread.stop()


planner_actor = ray.remote(max_restarts=-1, num_cpus=0)(PlannerActor)
