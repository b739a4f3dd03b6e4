"""Three inspectors who decide whether a batch is shipped: two of three must be for it.

    tiercel definition register examples/inspection.yaml
    for n in 1 2 3; do python examples/inspectors.py inspector-$n & done
    tiercel run start inspection --input 'batch={"id": "b7", "weight_kg": 19.2, "scratches": 2, "label": "b7"}' --watch

Each looks at something else, so they may well differ; the run's history has what each of them said.
"""

import sys
from typing import Any

from tiercel import Agent, Proposal

WEIGHT_KG_MAX = 20.0
SCRATCHES_MAX = 1


def is_good(name: str, batch: dict[str, Any]) -> bool | None:
    """What this inspector thinks; None if it cannot tell."""
    match name:
        case "inspector-1":
            return float(batch["weight_kg"]) <= WEIGHT_KG_MAX if "weight_kg" in batch else None
        case "inspector-2":
            return int(batch["scratches"]) <= SCRATCHES_MAX if "scratches" in batch else None
        case _:
            return bool(batch.get("label")) and batch["label"] == batch["id"]


def inspector(name: str) -> Agent:
    """An inspector: it votes, and takes good batches to the ship."""
    agent = Agent(name, kind="robot", capacity=1)

    @agent.vote("inspection")
    def judge(proposal: Proposal) -> str | None:
        opinion = is_good(name, proposal.details["batch"])
        return None if opinion is None else "accept" if opinion else "reject"

    @agent.capability("ship")
    def ship(batch: str, by: dict[str, str | None]) -> dict[str, object]:
        return {"batch": batch, "for": sorted(voter for voter, option in by.items() if option == "accept")}

    return agent


if __name__ == "__main__":
    inspector(sys.argv[1]).run(sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:7444")
