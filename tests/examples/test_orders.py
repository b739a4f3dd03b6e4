"""The example's data and definitions fit each other."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agents.config import load_agents
from agents.ledger import Ledger
from tests.agents.attempts import context
from tests.examples.warehouse import EXAMPLES, SITES, Warehouses, definition_of, inputs_of, orders, plan_of
from tiercel import RetryableError, TerminalError
from workflow.scope import Scope


def test_every_order_fits_its_definition() -> None:
    """Each line of orders.csv is accepted as the inputs of a fulfilment or, for a small share, of a transfer."""
    plans = {name: plan_of(name) for name in ("fulfilment", "transfer")}
    found = orders()
    for order in found:
        plans[definition_of(order)].check_inputs(inputs_of(order))
    assert len(found) == len({order["order_id"] for order in found}) == 300
    assert Counter(definition_of(order) for order in found) == {"fulfilment": 288, "transfer": 12}
    assert {order["site"] for order in found} == set(SITES)


def test_every_site_can_do_every_task() -> None:
    """At each site there is an agent for each capability that the definitions ask for, and there are at least six agents."""
    agents = load_agents(EXAMPLES / "agents.yaml")
    wanted = {task.capability for name in ("fulfilment", "transfer") for task in plan_of(name).tasks}
    for site in SITES:
        assert wanted <= {name for agent in agents[site] for name in agent.capabilities}
    assert sum(len(described) for described in agents.values()) >= 6


def test_what_needs_the_cloud_is_the_transfers_alone() -> None:
    """Every task of a fulfilment is at the order's own site; a transfer has tasks at both."""
    for order in orders():
        plan = plan_of(definition_of(order)) if order["order_id"].endswith("7") else None
        if plan is None:
            continue
        inputs = inputs_of(order)
        sites = {task.site.render(Scope(inputs, {}, "r")).decode().strip('"') for task in plan.tasks if task.site is not None}
        assert sites == {order["site"], order["stock_site"]}


def test_an_order_is_fulfilled(tmp_path: Path) -> None:
    """A plain order ends in a waybill that names what was done; a transfer ends at the other site."""
    sites = Warehouses(tmp_path)
    plain = next(order for order in orders() if definition_of(order) == "fulfilment")
    done = sites.walk("run-1", plain)
    waybill = (tmp_path / plain["site"] / done["record"]["path"]).read_text()
    assert plain["order_id"] in waybill
    assert done["label"]["tracking"] in waybill
    assert done["load"]["vehicle"] in waybill
    assert done["check"]["total"] == pytest.approx(plain["quantity"] * plain["unit_price"], abs=10)
    moved = next(order for order in orders() if definition_of(order) == "transfer")
    done = sites.walk("run-2", moved)
    assert done["pack"]["by"] == f"{moved['site']}-agent"
    assert done["pick"]["by"] == f"{moved['stock_site']}-agent"
    assert done["ship"]["vehicle"] == f"shuttle to {moved['site']}"


def test_a_repeated_run_changes_nothing(tmp_path: Path) -> None:
    """Every task done a second time gives the first outcome again, and the ledger holds one effect per key."""
    sites = Warehouses(tmp_path)
    order = next(order for order in orders() if definition_of(order) == "fulfilment")
    first = sites.walk("run-1", order)
    ledger = tmp_path / order["site"] / "ledger"
    before = {path: path.read_bytes() for path in ledger.rglob("*.json")}
    second = sites.walk("run-1", order)
    assert {**second, "record": {**second["record"], "written": True}} == first
    assert {path: path.read_bytes() for path in ledger.rglob("*.json")} == before
    assert Counter(path.parent.name for path in before) == Counter(
        ["charge", "inspect", "label", "load", "pack", "pick", order["sku"]]
    )


def test_four_orders_cannot_be_served(tmp_path: Path) -> None:
    """Exactly the orders that ask for more than the shelves hold end as out of stock, served by many threads at once."""
    sites = Warehouses(tmp_path)

    def refusal(order: dict[str, Any]) -> tuple[str, str] | None:
        reserve = sites.functions[order["stock_site"]]["stock.reserve"]
        try:
            reserve(task=context(order["order_id"], "reserve"), sku=order["sku"], quantity=order["quantity"])
        except TerminalError as error:
            return error.code, str(error).partition(" left, ")[2]
        return None

    with ThreadPoolExecutor(8) as threads:
        refused = [found for found in threads.map(refusal, orders()) if found]
    assert Counter(refused) == {("out_of_stock", f"the order needs {quantity}"): 1 for quantity in (250, 1, 2, 6)}


def test_heavy_goods_take_the_lift(tmp_path: Path) -> None:
    """What nobody may lift travels on a pallet."""
    sites = Warehouses(tmp_path)
    heavy = next(order for order in orders() if order["weight_kg"] > 25)
    done = sites.walk("run-1", heavy)
    assert (done["check"]["handling"], done["pack"]["packaging"]) == ("lift", "a pallet")


def test_some_pictures_are_blurred(tmp_path: Path) -> None:
    """A few inspections need a second attempt, always the same ones."""
    inspect = Warehouses(tmp_path).functions["harbour"]["goods.inspect"]
    blurred = []
    for number in range(60):
        try:
            inspect(task=context(f"run-{number}", "inspect"), tote="T", quantity=1)
        except RetryableError as error:
            blurred.append((number, error.code))
    assert 0 < len(blurred) < 12
    number, code = blurred[0]
    assert code == "camera_blurred"
    assert inspect(task=context(f"run-{number}", "inspect", 2), tote="T", quantity=1)["attempt"] == 2


def test_an_unknown_article_is_refused(tmp_path: Path) -> None:
    """What the site does not keep, and what tries to be a path, ends the run."""
    reserve = Warehouses(tmp_path).functions["harbour"]["stock.reserve"]
    for sku in ("TC-0000", "../../x"):
        with pytest.raises(TerminalError) as caught:
            reserve(task=context(), sku=sku, quantity=1)
        assert caught.value.code == "unknown_sku"


def test_append_appends_each_time(tmp_path: Path) -> None:
    """The counterexample: a second attempt leaves a second line, which a test can count."""
    append = Warehouses(tmp_path).functions["harbour"]["ledger.append"]
    for attempt in (1, 2):
        append(task=context("run-1", "note", attempt), line="AP-1")
    lines = (tmp_path / "harbour" / "ledger" / "appended.log").read_text().splitlines()
    assert lines == ["run-1/note 1 AP-1", "run-1/note 2 AP-1"]
    assert not Ledger(tmp_path / "harbour" / "ledger" / "pick").entries()
