"""What the agents of the demo can do: the work of a warehouse, each step of 20 to 150 ms.

Every effect is written once under its idempotency key, with a temporary file, a sync and a rename (see
agents.ledger): an attempt that follows a crash finds what was done and reports it instead of doing it again.
`ledger.append` is the counterexample.

An agent host loads this module and calls `capabilities` with its settings: `site`, `ledger` (a directory of this
site) and `inventory` (a CSV file with the columns site, sku, description, quantity, shelf). No workflow can change
them.
"""

import csv
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

from agents.ledger import Ledger
from tiercel import RetryableError, TaskContext, TerminalError

HEAVY_KG = 25.0
"""What one person may not lift: such goods take the lift and travel on a pallet."""
_VEHICLES = {"express": "van", "shuttle": "shuttle"}


def capabilities(settings: Mapping[str, str]) -> dict[str, Callable[..., Any]]:
    """By name, for one site."""
    site = Warehouse(settings["site"], Path(settings["ledger"]), Path(settings["inventory"]))
    return {
        "order.check": site.check,
        "stock.reserve": site.reserve,
        "payment.charge": site.charge,
        "goods.pick": site.pick,
        "goods.inspect": site.inspect,
        "goods.pack": site.pack,
        "goods.receive": site.receive,
        "goods.load": site.load,
        "label.print": site.print_label,
        "ledger.append": site.append,
    }


class Warehouse:
    """One site: its shelves, and the ledger of what was done there. The ledger has one directory per kind of effect."""

    def __init__(self, site: str, ledger: Path, inventory: Path) -> None:
        """Reads the inventory now: a change of the file counts from the next start."""
        self.site = site
        self.ledger = ledger
        with inventory.open(newline="") as file:
            self._places = {row["sku"]: row for row in csv.DictReader(file) if row["site"] == site}
        ledger.mkdir(parents=True, exist_ok=True)

    def check(self, task: TaskContext, quantity: int, unit_price: float, weight_kg: float, priority: str) -> dict[str, Any]:
        """What the order comes to, and how its goods are handled. No effect: it may be computed as often as one
        likes."""
        _work(task, 20, 30)
        total = round(quantity * unit_price + (9.9 if priority == "express" else 0.0), 2)
        handling = "lift" if weight_kg > HEAVY_KG else "manual"
        return {"total": total, "weight_kg": round(quantity * weight_kg, 3), "handling": handling}

    def reserve(self, task: TaskContext, sku: str, quantity: int) -> dict[str, Any]:
        """Take goods off the shelf in the books. Ends the run with `unknown_sku` or `out_of_stock`."""
        place = self._places.get(sku)
        if place is None:
            raise TerminalError(f"{self.site} does not keep {sku}", code="unknown_sku")
        _work(task, 20, 30)
        with self._locked(sku):
            reserved = Ledger(self.ledger / "reserve" / sku)
            if standing := reserved.entry(task.idempotency_key):
                return standing
            free = int(place["quantity"]) - sum(entry["quantity"] for entry in reserved.entries().values())
            if quantity > free:
                message = f"{self.site} has {free} of {sku} ({place['description']}) left, the order needs {quantity}"
                raise TerminalError(message, code="out_of_stock")
            return reserved.record(task.idempotency_key, {"sku": sku, "quantity": quantity, "shelf": place["shelf"]})

    def charge(self, task: TaskContext, customer: str, amount: float) -> dict[str, Any]:
        """Take the money once."""
        return self._once("charge", task, (30, 50), {"customer": customer, "amount": amount, "receipt": _mark("R", task)})

    def pick(self, task: TaskContext, sku: str, quantity: int, shelf: str, handling: str) -> dict[str, Any]:
        """Fetch the goods into a tote. The lift is slower, and so are many pieces."""
        slowness = 25 if handling == "lift" else min(quantity, 25)
        picked = {"sku": sku, "quantity": quantity, "shelf": shelf, "tote": _mark("T", task)}
        return self._once("pick", task, (95 + slowness, 125 + slowness), picked)

    def inspect(self, task: TaskContext, tote: str, quantity: int) -> dict[str, Any]:
        """Count with the camera, which sees nothing in one tote of twenty at the first look: `camera_blurred`."""
        if task.attempt == 1 and crc32(task.idempotency_key.encode()) % 20 == 0:
            _work(task, 20, 30)
            raise RetryableError(f"the picture of tote {tote} is blurred", code="camera_blurred")
        return self._once("inspect", task, (30, 50), {"tote": tote, "counted": quantity})

    def pack(self, task: TaskContext, tote: str, weight_kg: float, handling: str) -> dict[str, Any]:
        """Put the goods into what fits."""
        packaging = "a pallet" if handling == "lift" else "a carton" if weight_kg > 2 else "an envelope"
        return self._once("pack", task, (60, 100), {"tote": tote, "packaging": packaging, "parcel": _mark("P", task)})

    def receive(self, task: TaskContext, tote: str, vehicle: str) -> dict[str, Any]:
        """Take a tote off the shuttle."""
        return self._once("receive", task, (30, 50), {"tote": tote, "vehicle": vehicle, "at": self.site})

    def load(self, task: TaskContext, tracking: str, destination: str, priority: str) -> dict[str, Any]:
        """Put the parcel on a vehicle."""
        vehicle = f"{_VEHICLES.get(priority, 'truck')} to {destination}"
        return self._once("load", task, (60, 85), {"tracking": tracking, "vehicle": vehicle})

    def print_label(self, task: TaskContext, order_id: str, customer: str, city: str, parcel: str) -> dict[str, Any]:
        """Print the label once, with a tracking number."""
        label = {"tracking": _mark("TR", task), "parcel": parcel, "lines": [order_id, customer, city]}
        return self._once("label", task, (20, 35), label)

    def append(self, task: TaskContext, line: str = "") -> dict[str, Any]:
        """Append one line to a file and check nothing: a second attempt appends a second line, and one can count
        them."""
        text = f"{task.idempotency_key} {task.attempt} {line}".rstrip() + "\n"
        file = os.open(self.ledger / "appended.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, text.encode())  # One write of O_APPEND stays whole beside others.
            os.fsync(file)
        finally:
            os.close(file)
        return {"line": text.rstrip("\n")}

    def _once(self, kind: str, task: TaskContext, work_ms: tuple[int, int], effect: dict[str, Any]) -> dict[str, Any]:
        """Do it, unless it was done; what was done, by whom and in which attempt."""
        ledger = Ledger(self.ledger / kind)
        if standing := ledger.entry(task.idempotency_key):
            return standing
        _work(task, *work_ms)
        return ledger.record(task.idempotency_key, {**effect, "by": task.agent, "attempt": task.attempt})

    @contextmanager
    def _locked(self, sku: str) -> Iterator[None]:
        """Alone with one article, among threads and processes; the system gives the lock back when a process dies."""
        lock = os.open(self.ledger / f"{sku}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _work(task: TaskContext, at_least_ms: int, at_most_ms: int) -> None:
    """Take the time that the work takes, which the key alone decides; stop when asked."""
    share = crc32(task.idempotency_key.encode()) % 1000 / 1000
    task.wait_cancelled((at_least_ms + share * (at_most_ms - at_least_ms)) / 1000)
    task.raise_if_cancelled()


def _mark(letter: str, task: TaskContext) -> str:
    """A number for a tote, a parcel, a receipt: the same in every attempt."""
    return f"{letter}-{sha256(task.idempotency_key.encode()).hexdigest()[:10].upper()}"
