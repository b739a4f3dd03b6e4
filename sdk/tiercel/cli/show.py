"""Printing answers: tables for people, aligned columns for pipes, JSON for programs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import typer
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tiercel.answers import Link, RunSummary, Task
from tiercel.cli.text import age, clean, short, when

STYLES = {
    **dict.fromkeys(("completed", "available", "up", "equal", "ok", "released"), "green"),
    **dict.fromkeys(("failed", "different", "damaged", "refused", "broken"), "red"),
    **dict.fromkeys(("cancelled", "cancelling", "paused", "skipped", "unreachable", "down", "reconcile"), "yellow"),
    **dict.fromkeys(("active", "running", "waiting"), "cyan"),
}


COPIED = frozenset(("run", "command", "task"))
"""Columns of ids that people give to the next command, beside the first one."""


@dataclass(slots=True)
class Table:
    """Rows of values under column names."""

    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)

    def rich(self, title: str = "") -> RichTable:
        """For a terminal; words that name a state have their colour.

        Whatever the width, nothing is cut off: what people copy stays on one line while there is room, the rest is folded.
        Columns in which nothing stands are left out.
        """
        lines = [[clean(value) for value in row] for row in self.rows]
        shown = [n for n in range(len(self.columns)) if n == 0 or not lines or any(line[n] for line in lines)]
        title_text = Text(title) if title else None
        table = RichTable(box=box.SIMPLE_HEAD, title=title_text, title_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
        for n in shown:
            table.add_column(self.columns[n], no_wrap=n == 0 or self.columns[n] in COPIED, overflow="fold")
        for line in lines:
            table.add_row(*(Text(_foldable(line[n]), STYLES.get(line[n], "")) for n in shown))
        return table

    def plain(self) -> list[str]:
        """For a pipe: the columns aligned, nothing cut off."""
        lines = [list(self.columns), *([clean(value) for value in row] for row in self.rows)]
        widths = [max(len(line[n]) for line in lines) for n in range(len(self.columns))]
        return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]

    def print(self) -> None:
        """To stdout, as fits it."""
        if sys.stdout.isatty():
            Console(highlight=False).print(self.rich())
        else:
            typer.echo("\n".join(self.plain()))


def _foldable(cell: str) -> str:
    """Names in a list may stand below each other."""
    return cell if " " in cell else cell.replace(",", ", ")


def print_json(value: object) -> None:
    """To stdout, as it came from the API."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def note(line: str) -> None:
    """Something worth knowing that is not part of the answer: to stderr."""
    typer.echo(clean(line), err=True)


def run_table(runs: Sequence[RunSummary]) -> Table:
    table = Table(("id", "definition", "state", "done", "tasks", "failed", "sites", "created", "ended", "labels", "detail"))
    for run in runs:
        labels = ",".join(f"{key}={value}" for key, value in run.get("labels", {}).items())
        done = f"{run.get('percent', 0)} %", f"{run['completed']}/{run['tasks']}", run.get("failed", 0)
        times = when(run["created"]), when(run.get("ended", 0))
        sites = ",".join(run.get("sites", []))
        table.rows.append((run["id"], run["definition"], state(run), *done, sites, *times, labels, detail(run)))
    return table


def task_table(tasks: Sequence[Task]) -> Table:
    table = Table(("task", "state", "site", "agent", "attempt", "took", "result"))
    for task in tasks:
        started, ended = task.get("started", 0), task.get("ended", 0)
        took = age(ended - started) if started and ended else ""
        who = task.get("site", ""), task.get("agent") or task.get("source", ""), task.get("attempt", "")
        table.rows.append((task["id"], task["state"], *who, took, outcome(task)))
    return table


def outcome(task: Task) -> str:
    """What came of a task, what it waits for, or how far it is."""
    if task.get("error"):
        return short(task["error"], 500)
    if task.get("waits_for"):
        return f"waits for {short(task['waits_for'], 300)}"
    if task.get("blob"):
        return f"a large value, SHA-256 {task['blob']}"
    if said := task.get("progress"):
        how_far = "at work" if said["fraction"] is None else f"{said['fraction']:.0%} done"
        return f"{how_far}: {short(said['note'], 200)}" if said["note"] else how_far
    return short(task["output"]) if "output" in task else ""


def state(run: RunSummary) -> str:
    return "cancelling" if run.get("cancelling") and not run.get("ended") else run["state"]


def detail(run: RunSummary) -> str:
    return short(run.get("detail", ""), 500)


def link(link: Link) -> str:
    return f"{link['state']} since {when(link['since'])}" if link["since"] else link["state"]
