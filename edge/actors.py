"""The Ray rim of a site: places, supervises and restarts an EdgeNode, and holds no truth."""

import os
from pathlib import Path

import ray

from edge.driver import EdgeConfig
from edge.group.driver import edge_node
from sync.actors import NodeThread


class EdgeActor:
    """A site, or one box of it, that serves from this constructor on; Ray reruns it after a crash."""

    def __init__(self, config: EdgeConfig, log_file: str = "") -> None:
        self._thread = NodeThread(
            lambda: edge_node(config), name=config.site, log_file=Path(log_file) if log_file else None, exit_on_failure=True
        )

    def pid(self) -> int:
        """The process that serves the site."""
        return os.getpid()

    def stop(self) -> bool:
        """End the node in order."""
        return self._thread.stop()


edge_actor = ray.remote(max_restarts=-1, num_cpus=0)(EdgeActor)
