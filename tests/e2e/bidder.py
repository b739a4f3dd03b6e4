"""An agent of a process of its own that bids as it is told: python bidder.py NAME COST HOW JOURNAL ADDRESS."""

import sys
import time
from pathlib import Path

from tiercel import Agent, Bid, Offer


def main(name: str, cost: str, how: str, journal: str, address: str) -> None:
    """`how`: well, raise (every bid fails), hang (a bid takes for ever), usual (no function: the agent's own cost)."""
    agent = Agent(name, kind="robot", capacity=2, cost=float(cost), journal=Path(journal))

    @agent.capability(name)
    @agent.capability("lift")
    def lift(number: int = 0) -> list[object]:
        return [name, number]

    if how != "usual":

        @agent.bid("lift")
        def price(offer: Offer) -> Bid:
            if how == "raise":
                raise RuntimeError("the map is gone")
            if how == "hang":
                time.sleep(3_600)
            return Bid(float(cost) + len(offer.holding))

    agent.run(address)


if __name__ == "__main__":
    main(*sys.argv[1:])
