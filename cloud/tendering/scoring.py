"""An author's rule for bids, read over what sites ask: `bid` is the site's answer, `agent` the site, `lot` the run."""

from dataclasses import dataclass, field

from cloud.fleet import Fleet
from coordination.auction.bids import VALUE_MAX
from coordination.auction.tender import Answer, Lot
from workflow.expression import ExpressionError
from workflow.scoring import score


@dataclass(slots=True)
class Scoring:
    """One rule. `failed` says of runs why it made no number of an answer; what only agents have (labels, a task's parameters) a
    site lacks."""

    text: str
    fleet: Fleet
    failed: dict[str, str] = field(default_factory=dict)

    def score(self, lot: Lot, found: Answer) -> float | None:
        """None if the rule makes no number of it."""
        capacity = self.fleet.site(found.site).capacity
        bid = {"cost": found.cost, "finish_ms": found.finish_ms, "units": len(lot.needs), "confidence": 1.0}
        site: dict[str, object] = {"id": found.site, "kind": "site", "labels": {}, "capacity": capacity, "room": found.room}
        site["load"] = 1 - found.room / capacity if capacity else 1.0
        run = {
            "run": lot.run,
            "task": "",
            "capability": lot.needs[0] if lot.needs else "",
            "priority": lot.priority,
            "parameters": {},
        }
        try:
            made = score(self.text, bid, site, run)
        except ExpressionError as error:
            self.failed[lot.run] = str(error)
            return None
        if abs(made) > VALUE_MAX:
            self.failed[lot.run] = f"{self.text}: gives {made:g}; allowed: {-VALUE_MAX:g} to {VALUE_MAX:g}"
            return None
        return made
