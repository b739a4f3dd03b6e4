"""deploy/orders.py and deploy/outcomes.py: orders are read as they are, and what came of them is held against the ledgers."""

import csv
from pathlib import Path

import pytest

from agents.ledger import Ledger
from deploy.orders import OrdersUnusable, read_orders
from deploy.outcomes import WAYBILLS, audit, count_effects, outcome_of, write_report
from tests.deploy.runs import run_of, started

HEADER = "order_id,site,stock_site,quantity\n"


def file_of(folder: Path, text: str) -> Path:
    path = folder / "orders.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_orders_are_the_lines_of_the_file(tmp_path: Path) -> None:
    """Each line is an order; goods of another site are transferred, and without that column they are at hand."""
    orders = read_orders(file_of(tmp_path, HEADER + "HB-1,harbour,harbour,2\nAP-2,airport,harbour,1\n"))
    assert [(order.id, order.line, order.workflow) for order in orders] == [("HB-1", 2, "fulfilment"), ("AP-2", 3, "transfer")]
    assert read_orders(file_of(tmp_path, "order_id,site\nHB-1,harbour\n"))[0].workflow == "fulfilment"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there are no orders in it"),
        (HEADER, "there are no orders in it"),
        (HEADER + "HB-1,harbour\n", ":2: it has not as many fields as the header"),
        (HEADER + "HB-1,harbour,harbour,2,3\n", ":2: it has not as many fields as the header"),
        (HEADER + ",harbour,harbour,2\n", ":2: there is no order_id"),
        (HEADER + "HB-1,,,2\n", ":2: there is no site"),
        (HEADER + "HB-1,harbour,harbour,2\nHB-1,harbour,harbour,2\n", ":3: order HB-1 is in line 2 already"),
    ],
)
def test_unusable_orders_are_refused_by_line(tmp_path: Path, text: str, problem: str) -> None:
    """A file that cannot be used is refused with its name, the line and the reason."""
    path = file_of(tmp_path, text)
    with pytest.raises(OrdersUnusable) as refused:
        read_orders(path)
    assert str(refused.value).startswith(f"{path}")
    assert problem in str(refused.value)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(OrdersUnusable, match=r"nothing\.csv: No such file"):
        read_orders(tmp_path / "nothing.csv")


def test_each_effect_happened_once(tmp_path: Path) -> None:
    """The audit finds what is missing, what is there twice, and what no task accounts for."""
    capabilities = {"check": "order.check", "charge": "payment.charge", "pick": "goods.pick", "record": "file.write"}
    first, second = run_of("r1", *capabilities), run_of("r2", *capabilities)
    harbour, airport = tmp_path / "harbour", tmp_path / "airport"
    for home, key in (
        (harbour, "r1/charge"),
        (airport, "r1/charge"),
        (harbour, "r1/pick"),
        (harbour, "r2/charge"),
        (airport, "r9/x"),
    ):
        Ledger(home / "ledger" / key.partition("/")[2]).record(key, {})
    for home in (harbour, airport):
        (home / WAYBILLS).mkdir(parents=True)
    (harbour / WAYBILLS / "r1%2Frecord.json").write_text("a waybill")
    (harbour / WAYBILLS / ".tmp-half").write_text("not there yet")

    found = audit([(first, capabilities), (second, capabilities)], [harbour, airport])

    assert found.expected == 6
    assert found.missing == ["r2/pick", "r2/record"]
    assert found.twice == ["r1/charge"]
    assert found.unexplained == ["r9/x"]
    assert len(found.problems()) == 4
    assert (count_effects(harbour), count_effects(airport)) == (4, 2)


def test_the_report_has_a_line_for_each_order(tmp_path: Path) -> None:
    """Each order comes with its outcome, what it took, and the reason if it was not fulfilled."""
    orders = read_orders(file_of(tmp_path, HEADER + "HB-1,harbour,harbour,2\nHB-2,harbour,harbour,9\nHB-3,harbour,harbour,0\n"))
    done, failed = run_of("r1", "check", "label"), run_of("r2", "check", "reserve")
    done["tasks"][1]["output"] = {"tracking": "TR-1"}
    done["tasks"][1]["attempt"] = 2
    failed["run"]["state"] = "failed"
    failed["tasks"][1]["state"], failed["tasks"][1]["error"] = "failed", "out_of_stock: none left"
    refusal = started("", "the inputs do not fit", "inputs.quantity: 0 is less than the minimum 1")
    outcomes = [
        outcome_of(orders[0], started("r1"), done),
        outcome_of(orders[1], started("r2"), failed),
        outcome_of(orders[2], refusal, None),
    ]

    write_report(tmp_path / "reports" / "report.csv", outcomes)

    with (tmp_path / "reports" / "report.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    shown = [
        (line["order"], line["outcome"], line["reason"], line["tracking"], line["attempts"], line["seconds"]) for line in lines
    ]
    assert shown == [
        ("HB-1", "completed", "", "TR-1", "3", "1.5"),
        ("HB-2", "failed", "reserve: out_of_stock: none left", "", "2", "1.5"),
        ("HB-3", "refused", "inputs.quantity: 0 is less than the minimum 1", "", "0", "0.0"),
    ]
    assert lines[0]["submitted"] == "1970-01-01T00:00:01.000+00:00"
