"""An agent of a process of its own that may lose its site: python mender.py NAME COST ADDRESS PEERS_ADDRESS.

It writes what it begins to `begun`, and ends a task only when the file `go` is there. One whose cost is `mute` has no peers, and
never says what it bids: while it is waited for nothing is awarded.
"""

import logging
import sys
import time
from pathlib import Path

from tiercel import Agent, Offer, TaskContext


def main(name: str, cost: str, address: str, peers_address: str = "") -> None:
    """`peers_address`: where the others are told that it is, if it is not where it listens."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", filename=f"{name}.log")
    journal = Path(f"{name}.journal")
    is_mute = cost == "mute"
    agent = Agent(
        name,
        kind="robot",
        capacity=2,
        cost=1.0 if is_mute else float(cost),
        journal=journal,
        peers_listen="" if is_mute else "127.0.0.1:0",
        peers_address=peers_address,
    )

    if is_mute:

        @agent.bid("mend")
        def price(offer: Offer) -> None:
            time.sleep(3_600)

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
