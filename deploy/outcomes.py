"""How the orders ended, held against what was done: the report of the demo.

The runs say what should have happened; the ledgers of the sites say what did. Each effect is written under its idempotency
key, `run/task`, so both can be compared one by one.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from agents.ledger import Ledger
from deploy.orders import Order
from tiercel.answers import Run, Started, Task

LEAVES_NOTHING = frozenset(("order.check",))
"""Capabilities of the example that only compute."""

WAYBILLS = Path("files", "waybills")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One order's line of the report. Times are ISO 8601 in UTC; `ended` is when its last task did, by the clock of the site,
    and `seconds` the time from its submission until then."""

    order: str
    run: str
    workflow: str
    site: str
    outcome: str
    reason: str
    tracking: str
    tasks_done: int
    tasks: int
    attempts: int
    submitted: str
    ended: str
    seconds: float


def outcome_of(order: Order, started: Started, run: Run | None) -> Outcome:
    """`run` is None for an order that was refused."""
    site = order.columns["site"]
    if run is None:
        return Outcome(order.id, "", order.workflow, site, "refused", _refusal(started), "", 0, 0, 0, "", "", 0.0)
    summary, tasks = run["run"], run["tasks"]
    # A site that is cut off ends runs of which the cloud learns later, so the tasks tell the time and not the run.
    ended = max([task.get("ended", 0) for task in tasks], default=0) if summary.get("ended") else 0
    return Outcome(
        order=order.id,
        run=summary["id"],
        workflow=order.workflow,
        site=site,
        outcome=summary["state"],
        reason=_reason(run),
        tracking=_tracking(tasks),
        tasks_done=summary["completed"],
        tasks=summary["tasks"],
        attempts=sum(task.get("attempt", 0) for task in tasks),
        submitted=_iso(summary["created"]),
        ended=_iso(ended),
        seconds=round((ended - summary["created"]) / 1000, 3) if ended else 0.0,
    )


def write_report(path: Path, outcomes: Sequence[Outcome]) -> None:
    """One CSV line per order. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Outcome)])
        writer.writeheader()
        writer.writerows(asdict(outcome) for outcome in outcomes)


@dataclass(frozen=True, slots=True)
class Audit:
    """Runs against ledgers. `expected` effects, and those that are `missing`, done `twice`, or that no run accounts for."""

    expected: int
    missing: Sequence[str]
    twice: Sequence[str]
    unexplained: Sequence[str]

    def problems(self) -> list[str]:
        """What is wrong, in sentences; nothing if each effect happened once."""
        found = (("is missing", self.missing), ("happened twice", self.twice), ("belongs to no task", self.unexplained))
        return [f"the effect {key} {what}" for what, keys in found for key in keys]


def audit(runs: Iterable[tuple[Run, Mapping[str, str]]], homes: Sequence[Path]) -> Audit:
    """Each run comes with the capability of each of its tasks; `homes` are the data directories of the sites."""
    expected = {
        f"{run['run']['id']}/{task['id']}"
        for run, capabilities in runs
        for task in run["tasks"]
        if task["state"] == "completed" and capabilities[task["id"]] not in LEAVES_NOTHING
    }
    found = Counter(key for home in homes for key in _effects(home))
    return Audit(
        expected=len(expected),
        missing=sorted(expected - found.keys()),
        twice=sorted(key for key, count in found.items() if count > 1),
        unexplained=sorted(found.keys() - expected),
    )


def count_effects(home: Path) -> int:
    """How many effects a site has recorded, read from its own disk."""
    return sum(1 for folder in (home / "ledger", home / WAYBILLS) for path in folder.rglob("[!.]*.json") if path.is_file())


def _effects(home: Path) -> Iterable[str]:
    ledger = home / "ledger"
    for folder in [path for path in ledger.rglob("*") if path.is_dir()]:
        if any(path.is_file() for path in folder.iterdir()):
            yield from Ledger(folder).entries()
    waybills = home / WAYBILLS
    if waybills.is_dir():
        yield from (unquote(path.name.removesuffix(".json")) for path in waybills.iterdir() if not path.name.startswith("."))


def _reason(run: Run) -> str:
    errors = [f"{task['id']}: {task['error']}" for task in run["tasks"] if task["state"] == "failed" and task.get("error")]
    return "; ".join(errors) or run["run"].get("detail", "")


def _tracking(tasks: Sequence[Task]) -> str:
    for task in tasks:
        output = task.get("output")
        if task["id"] == "label" and isinstance(output, dict):
            return str(output.get("tracking", ""))
    return ""


def _refusal(started: Started) -> str:
    error = started["error"]
    return "; ".join(error.get("problems") or [error["detail"]])


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds") if ms else ""
