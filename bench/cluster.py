"""The system as `tiercel up` runs it: planner, edge and agents as Ray actors, which Ray starts again when they die."""

import time

from bench.errors import BenchFailed
from deploy.layout import SystemConfig
from deploy.system import LocalSystem

BACK_S_MAX = 60.0


class RayProcesses:
    """The three processes of a LocalSystem with one site."""

    def __init__(self, config: SystemConfig) -> None:
        self._system = LocalSystem(config)
        self._names = {"cloud": "planner", config.sites[0].name: "edge", f"{config.sites[0].name} agents": "agents"}
        self._system.start()

    def pids(self) -> dict[str, int]:
        """Process ids by name; after a crash those of the processes that took the place of the dead ones."""
        deadline = time.monotonic() + BACK_S_MAX
        while True:
            self._system.poll()
            pids = {self._names[name]: pid for name, pid in self._system.pids().items()}
            if all(pids.values()):
                return pids
            if time.monotonic() > deadline:
                raise BenchFailed(f"a killed process did not come back within {BACK_S_MAX:.0f} s: {pids}")
            time.sleep(0.1)

    def stop(self) -> None:
        """In order; no process is left."""
        self._system.stop()
