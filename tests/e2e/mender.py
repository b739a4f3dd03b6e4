"""An agent of a process of its own that may lose its site: python mender.py NAME COST ADDRESS PEERS_ADDRESS.

It writes what it begins to `begun`, and ends a task only when the file `go` is there.
"""

import logging
import sys
import time
from pathlib import Path

from tiercel import Agent, TaskContext


def main(name: str, cost: str, address: str, peers_address: str = "") -> None:
    """`peers_address`: where the others are told that it is, if it is not where it listens."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", filename=f"{name}.log")
    journal = Path(f"{name}.journal")
    agent = Agent(
        name,
        kind="robot",
        capacity=2,
        cost=float(cost),
        journal=journal,
        peers_listen="127.0.0.1:0",
        peers_address=peers_address,
    )

    @agent.capability("mend")
    def mend(number: int, task: TaskContext) -> list[object]:
        with Path("begun").open("a", encoding="utf-8") as file:
            file.write(f"{name} {number}\n")
        while not Path("go").exists():
            task.raise_if_cancelled()
            time.sleep(0.05)
        return [name, number]

    agent.run(address)


if __name__ == "__main__":
    main(*sys.argv[1:])
