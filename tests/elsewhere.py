"""Agents of a test in processes of their own, as third parties write them: a script with the SDK, started with `python`."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PATIENCE_S = 30.0

PROLOGUE = """
import sys
from tiercel import *
name, target, folder = sys.argv[1:4]
agent = Agent(name, journal=f"{folder}/{name}.journal", %s)

@agent.capability("work")
def work(task: TaskContext) -> str:
    return task.agent

%s

agent.run(target)
"""


class Elsewhere:
    """The processes, by the agent's name. Whatever still runs is ended by `close`."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder, self.target = folder, target
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, body: str = "", settings: str = "") -> None:
        """Run an agent whose script has `body`; it has the capability `work`, which says who did it."""
        script = self.folder / f"{name}.py"
        script.write_text(PROLOGUE % (settings, body))
        environ = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'sdk'}"}
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, str(script), name, self.target, str(self.folder)]
            self._running[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environ)

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self._running.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    async def close(self) -> None:
        """End all of them."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, PATIENCE_S)
            process.kill()
        self._running.clear()
