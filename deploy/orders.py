"""The demo's orders: lines of a CSV file, each a run of one of the example's workflows."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tiercel.answers import RunRequest, Started
from tiercel.cli.values import batches, parser
from tiercel.client import Client

_INPUT = re.compile(r"\$\{\{\s*inputs\.(\w+)\s*\}\}")


class OrdersUnusable(ValueError):
    """The file of orders cannot be used. The message names the file, the line and what is wrong."""


@dataclass(frozen=True, slots=True)
class Order:
    """One line of the file. `line` is its number; `columns` are the texts in it."""

    line: int
    columns: dict[str, str]

    @property
    def id(self) -> str:
        return self.columns["order_id"]

    @property
    def workflow(self) -> str:
        """Goods that lie at the other site are transferred first."""
        return "fulfilment" if self.columns.get("stock_site", self.columns["site"]) == self.columns["site"] else "transfer"


def read_orders(path: Path) -> list[Order]:
    """Raises OrdersUnusable."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            orders = [_order(path, reader.line_num, row) for row in reader]
    except OSError as error:
        raise OrdersUnusable(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise OrdersUnusable(f"{path}: {error}") from error
    if not orders:
        raise OrdersUnusable(f"{path}: there are no orders in it")
    seen: dict[str, int] = {}
    for order in orders:
        if (first := seen.setdefault(order.id, order.line)) != order.line:
            raise OrdersUnusable(f"{path}:{order.line}: order {order.id} is in line {first} already")
    return orders


def _order(path: Path, line: int, row: dict[str | Any, str | Any]) -> Order:
    if None in row or None in row.values():
        raise OrdersUnusable(f"{path}:{line}: it has not as many fields as the header")
    if missing := [name for name in ("order_id", "site") if not row.get(name)]:
        raise OrdersUnusable(f"{path}:{line}: there is no {' and no '.join(missing)}")
    return Order(line, row)


class Workflows:
    """The definitions that orders are run by, registered with the cloud."""

    def __init__(self, client: Client, directory: Path, names: Sequence[str]) -> None:
        """Raises ApiError, OSError."""
        self._client = client
        self._refs: dict[str, str] = {}
        self._documents: dict[str, dict[str, Any]] = {}
        for name in names:
            path = directory / f"{name}.yaml"
            text = path.read_text("utf-8")
            self._refs[name] = client.register(text, source=str(path))["ref"]
            self._documents[name] = yaml.safe_load(text)

    def submit(self, orders: Sequence[Order]) -> dict[str, Started]:
        """Start a run for each; the cloud's answers by order id. Each batch is one request."""
        answers: dict[str, Started] = {}
        for name, ref in self._refs.items():
            chosen = [order for order in orders if order.workflow == name]
            following = iter(chosen)
            for rows in batches(self._inputs(order) for order in chosen):
                runs: list[RunRequest] = [{"inputs": row, "labels": {"order": str(row["order_id"])}} for row in rows]
                for answer, order in zip(self._client.start_batch(ref, runs), following, strict=False):
                    answers[order.id] = answer
        return answers

    def sites(self, order: Order) -> list[str]:
        """Where each task of the order will be done, in the order of the definition."""
        tasks = self._documents[order.workflow]["tasks"].values()
        return [_INPUT.sub(lambda found: order.columns.get(found[1], ""), task.get("site", "")) for task in tasks]

    def capabilities(self, order: Order) -> dict[str, str]:
        """The capability of each task, by task."""
        return {name: task.get("capability", "") for name, task in self._documents[order.workflow]["tasks"].items()}

    def _inputs(self, order: Order) -> dict[str, object]:
        document = self._documents[order.workflow]
        parse = parser(document)
        return {name: parse(name, text) for name, text in order.columns.items() if name in document["inputs"]}
