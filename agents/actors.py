"""The rim: Ray starts agent hosts and starts them again when they die. It holds no truth and carries no work."""

import logging
from typing import Any

import ray

from agents.config import HostConfig
from agents.host import AgentHost


class LoggedAgentHost(AgentHost):
    """An AgentHost that is alone in its process, so that the log of the process is its own."""

    def __init__(self, config: HostConfig, log_file: str = "") -> None:
        """Appends what its agents log to `log_file`; without one it goes to stderr."""
        logging.basicConfig(
            filename=log_file or None, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
        )
        super().__init__(config, exit_on_failure=True)


AgentHostActor: Any = ray.remote(max_restarts=-1, num_cpus=0)(LoggedAgentHost)
"""`AgentHostActor.remote(config, log_file)`. After a kill -9 the constructor runs again and the journals tell what was
done. Methods: `ping`, `pid`, `stop`; ask a host to stop before it is killed for good, and kill it with
`no_restart=True`."""
