"""An author's rule for bids, read over what sites ask: `bid` is the site's answer, `agent` the site, `lot` the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from cloud.fleet import Fleet, Site
from cloud.runs import Run
from coordination.auction.bids import VALUE_MAX
from coordination.auction.tender import Answer, Lot
from workflow.expression import ExpressionError
from workflow.scope import Scope
from workflow.scoring import score


@dataclass(slots=True)
class Scoring:
    """One rule. `failed` says of runs why it made no number of an answer. A site's labels are those which all its agents that
    could do it have alike; the parameters are those of the run's first task, if they follow from its inputs."""

    text: str
    fleet: Fleet
    runs: Mapping[str, Run]
    failed: dict[str, str] = field(default_factory=dict)

    def score(self, lot: Lot, found: Answer) -> float | None:
        """None if the rule makes no number of it."""
        site, run = self.fleet.site(found.site), self.runs[lot.run]
        bid = {"cost": found.cost, "finish_ms": found.finish_ms, "units": found.units, "confidence": 1.0}
        asked: dict[str, object] = {"id": site.id, "kind": "site", "capacity": site.capacity, "room": found.room}
        asked |= {"load": 1 - found.room / site.capacity if site.capacity else 1.0, "labels": _labels(site, lot.needs)}
        told = {"run": run.id, "task": "", "capability": lot.needs[0] if lot.needs else "", "priority": lot.priority}
        inputs = msgspec.json.decode(run.inputs or b"{}") if "lot" in self.text else {}
        told |= {"parameters": _parameters(run, inputs), "inputs": inputs, "labels": run.labels}
        try:
            made = score(self.text, bid, asked, told)
        except ExpressionError as error:
            self.failed[lot.run] = str(error)
            return None
        if abs(made) > VALUE_MAX:
            self.failed[lot.run] = f"{self.text}: gives {made:g}; allowed: {-VALUE_MAX:g} to {VALUE_MAX:g}"
            return None
        return made


def _parameters(run: Run, inputs: dict[str, object]) -> object:
    first = next((task.parameters for task in run.plan.tasks if task.capability), None)
    if first is None or first.reads:
        return {}
    try:
        return msgspec.json.decode(first.render(Scope(inputs, run_id=run.id)))
    except ExpressionError:
        return {}  # An input is missing.


def _labels(site: Site, needs: Sequence[str]) -> dict[str, str]:
    here = [agent for agent in site.agents.values() if agent.state == "available"]
    able = [set(agent.labels.items()) for agent in here if set(needs) & set(agent.capabilities)]
    return dict(set.intersection(*able)) if able else {}
