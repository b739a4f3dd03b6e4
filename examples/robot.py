"""A robot that bids: run several of them beside `tiercel up`, each with a place of its own, and let them share the work.

python examples/robot.py anna 0 0 127.0.0.1:7444
python examples/robot.py ben 40 10 127.0.0.1:7444
tiercel run start examples/transport.yaml --input 'stops=[[5,5],[38,12],[20,0]]' --watch

Each transport is auctioned: the robot that is nearest, and has the least to do before, gets it.
"""

import sys
from math import hypot
from typing import Any

from tiercel import Agent, Bid, Offer, TaskContext

SPEED = 2.0
"""Metres per second."""


def robot(name: str, x: float, y: float, **settings: Any) -> Agent:
    """A robot that stands at (x, y), in metres, and carries one thing at a time."""
    agent, at = Agent(name, kind="robot", capacity=2, **settings), [x, y]

    @agent.bid("transport")
    def price(offer: Offer) -> Bid | None:
        """Metres to drive, and the seconds that this takes after all that it has promised already."""
        if offer.parameters is None or offer.parameters.get("kg", 0) > 50:
            return None
        metres = hypot(offer.parameters["x"] - at[0], offer.parameters["y"] - at[1])
        busy_s = 10.0 * len(offer.holding)
        return Bid(cost=metres + 20 * len(offer.holding), finish_s=metres / SPEED + busy_s)

    @agent.capability("transport")
    def transport(task: TaskContext, x: float, y: float, kg: float = 1.0) -> dict[str, Any]:
        """Drive there: a tenth of a second stands for the way."""
        task.wait_cancelled(0.1)
        task.raise_if_cancelled()
        metres = hypot(x - at[0], y - at[1])
        at[:] = [x, y]
        return {"robot": name, "metres": round(metres, 1), "kg": kg}

    return agent


if __name__ == "__main__":
    robot(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])).run(sys.argv[4] if len(sys.argv) > 4 else "127.0.0.1:7444")
