"""What is printed at a terminal, however narrow it is."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tiercel.cli.show import Table, run_table, task_table
from tiercel.cli.watching import RunPicture

RUN: Any = {
    "id": "r6b0774c3-000006",
    "definition": "fulfilment@1.0.0",
    "state": "active",
    "created": 1_795_651_572_319,
    "tasks": 4,
    "completed": 2,
    "sites": ["harbour", "airport"],
}


def at(table: Table, width: int) -> str:
    out = StringIO()
    Console(file=out, width=width).print(table.rich())
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_ids_are_whole_and_nothing_is_cut_off(width: int) -> None:
    """An id is typed into the next command, so it stands on one line; what is too long is folded."""
    failed: Any = {**RUN, "detail": "no sign of life for 2 s from greeter-1"}
    printed = at(run_table([failed]), width)
    assert RUN["id"] in printed
    assert "…" not in printed
    assert max(len(line) for line in printed.splitlines()) <= width
    hashed = "230c56c06b3f8e205530283a5d46cefb95579c4e30cf795343fafe9850a282c4"
    asked = at(Table(("run", "task", "request", "hash"), [("r6b0774c3-00002a", "sign", "A refund of 7 " * 6, hashed)]), width)
    assert "…" not in asked
    assert sum(part in hashed for part in asked.split() if len(part) > 8) >= 1


def test_columns_without_anything_are_left_out() -> None:
    """They take the room of those that say something; a table without rows shows what there could be."""
    printed = at(run_table([RUN]), 120)
    assert "created" in printed
    assert not {"ended", "labels", "detail"} & set(printed.split())
    assert {"ended", "labels", "detail"} <= set(at(run_table([]), 120).split())


@pytest.mark.parametrize(("ms", "said"), [(12, "12 ms"), (100_180, "1.67 min"), (7_200_000, "2 h")])
def test_how_long_a_task_took_is_in_the_unit_that_fits(ms: int, said: str) -> None:
    """Nobody reads 100180 ms."""
    (row,) = task_table([{"id": "a", "state": "completed", "started": 1_000, "ended": 1_000 + ms}]).rows
    assert said in row


def test_whoever_watches_a_run_hears_that_a_person_is_needed() -> None:
    """Nothing moves until somebody decides; the line says where, and which command shows it."""
    view: Any = {"run": RUN, "tasks": [], "inputs": {}}
    assert "person" not in RunPicture(view).title()
    view["condition"] = {"incidents": [{"task": "b"}], "approvals": [{"task": "sign"}]}
    title = RunPicture(view).title()
    assert "needs a person at b: see `tiercel incident list`" in title
    assert "needs a person at sign: see `tiercel approval list`" in title
