"""Walks the example's definitions with the example's own functions, without a server: one order at a time, in order of needs."""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from agents.config import HostConfig, load_agents
from agents.registry import Registry
from agents.transform import csv_parse
from tests.agents.attempts import context
from tiercel import RetryableError
from workflow.plan import Plan, read_plan
from workflow.scope import Scope

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SITES = ("harbour", "airport")


def plan_of(name: str) -> Plan:
    """The compiled definition of examples/<name>.yaml."""
    return read_plan(yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text("utf-8")))[1]


def orders() -> list[dict[str, Any]]:
    """The lines of orders.csv, typed as the inputs of the definitions are."""
    types: Any = {"quantity": "integer", "unit_price": "number", "weight_kg": "number"}
    rows: list[dict[str, Any]] = csv_parse((EXAMPLES / "orders.csv").read_text("utf-8"), types)["rows"]
    return rows


def definition_of(order: dict[str, Any]) -> str:
    """Orders whose goods lie elsewhere are transfers."""
    return "fulfilment" if order["site"] == order["stock_site"] else "transfer"


def inputs_of(order: dict[str, Any]) -> dict[str, Any]:
    """What the order's definition takes; a fulfilment does not care where else goods could lie."""
    return {k: v for k, v in order.items() if k != "stock_site" or definition_of(order) == "transfer"}


class Warehouses:
    """Both sites with their agents' functions, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agents = load_agents(EXAMPLES / "agents.yaml")
        self.plans = {name: plan_of(name) for name in ("fulfilment", "transfer")}
        self.functions = {site: self._functions(site) for site in SITES}

    def walk(self, run: str, order: dict[str, Any]) -> dict[str, Any]:
        """Do every task of the order once, as often as it takes; outputs by task. Raises TerminalError as a run would fail."""
        plan = self.plans[definition_of(order)]
        inputs = plan.check_inputs(inputs_of(order))
        outputs: dict[int, Any] = {}
        for task in plan.tasks:
            parameters = msgspec.json.decode(task.parameters.render(Scope(inputs, outputs, run)))
            assert task.site is not None
            site = msgspec.json.decode(task.site.render(Scope(inputs, {}, run)))
            outputs[task.index] = self._do(site, task.capability, run, task.id, parameters)
        return {task.id: outputs[task.index] for task in plan.tasks}

    def _do(self, site: str, capability: str, run: str, task: str, parameters: dict[str, Any]) -> Any:
        for attempt in (1, 2):
            try:
                return self.functions[site][capability](task=context(run, task, attempt, f"{site}-agent"), **parameters)
            except RetryableError:
                assert attempt == 1
        raise AssertionError("not reached")

    def _functions(self, site: str) -> dict[str, Any]:
        root = self.folder / site
        root.mkdir()
        config = HostConfig(
            gateway="unix:/nowhere",
            data_dir=root,
            agents=self.agents[site],
            root=root,
            modules=(str(EXAMPLES / "capabilities.py"),),
            settings={"site": site, "ledger": str(root / "ledger"), "inventory": str(EXAMPLES / "inventory.csv")},
        )
        config.validate()
        registry = Registry(config)
        return {n: f for a in config.agents for n, f in registry.choose(a.id, a.capabilities).items()}
