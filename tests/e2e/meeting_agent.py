"""An agent in a process of its own that comes to a sync point: `python -m tests.e2e.meeting_agent NAME GATEWAY DIRECTORY`.

A file `hold-NAME` in the directory keeps it from arriving.
"""

import os
import sys
import threading
from pathlib import Path

from tiercel import Agent, TaskContext
from tiercel.errors import SyncPointBroken


def agent_of(name: str, directory: Path) -> Agent:
    agent = Agent(name, capacity=1, journal=directory / f"{name}.journal")

    @agent.capability("meet")
    def meet(context: TaskContext) -> dict[str, object]:
        (directory / f"begun-{name}").touch()
        while (directory / f"hold-{name}").exists():
            context.wait_cancelled(0.02)
            context.raise_if_cancelled()
        try:
            return {"with": sorted(context.wait_sync_point("lift").parties)}
        except SyncPointBroken as broken:
            return {"broken": broken.why}

    return agent


def _end_with_stdin() -> None:
    os.read(0, 1)
    os._exit(4)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()  # A test that was killed leaves nothing behind.
    agent_of(sys.argv[1], Path(sys.argv[3])).run(sys.argv[2])
