"""Following runs until they end. What is seen goes to a screen: a live table, lines, or nothing."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Protocol, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tiercel.answers import ApiError, Frame, Run, RunSummary, ServerUnreachable, Task
from tiercel.cli.options import Format
from tiercel.cli.show import Table, outcome, run_table, state, task_table
from tiercel.cli.text import clean, short
from tiercel.client import Client

ENDED = frozenset(("completed", "failed", "cancelled"))
IDLE_S = 5.0
"""Without news for this long the run is looked at again: a retry, say, changes nothing in its summary."""

PATIENCE_S = 60
"""How long a server that was there may be away, for it may be starting again."""


class Picture(Protocol):
    """What can be shown while watching."""

    def title(self) -> str: ...
    def lines(self) -> Iterable[tuple[str, str]]:
        """A line per thing, by the name of the thing: it is printed whenever it differs from the last."""
        ...

    def table(self, rows_max: int) -> Table: ...


@dataclass(frozen=True, slots=True)
class RunPicture:
    """One run, by its tasks."""

    view: Run

    def title(self) -> str:
        run = self.view["run"]
        waits = f", waits for {self.view['waits_for']}" if self.view.get("waits_for") else ""
        told = self.view.get("condition") or {}
        # Nothing moves until somebody helps, and whoever watches may be the one.
        for name, noun in (("incidents", "incident"), ("approvals", "approval")):
            if tasks := [item["task"] for item in told.get(name, [])]:
                waits += f", needs a person at {short(', '.join(tasks), 200)}: see `tiercel {noun} list`"
        return f"{run['id']}  {run['definition']}  {state(run)}  {run['completed']}/{run['tasks']} tasks{waits}"

    def lines(self) -> Iterable[tuple[str, str]]:
        for task in self.view["tasks"]:
            if task["state"] != "pending":
                who = " ".join(part for part in (task.get("site"), task.get("agent")) if part)
                yield task["id"], "  ".join(part for part in (task["id"], task["state"], who, outcome(task)) if part)
        yield "", self.title()

    def table(self, rows_max: int) -> Table:
        """What moves comes first, if not all tasks find room."""
        tasks = self.view["tasks"]
        if len(tasks) <= rows_max:
            return task_table(tasks)
        shown = sorted(tasks, key=_rest)[: rows_max - 1]
        table = task_table(shown)
        table.rows.append((f"and {len(tasks) - len(shown)} more", *[""] * (len(table.columns) - 1)))
        return table


def _rest(task: Task) -> int:
    order = ("failed", "reconcile", "running", "ready", "pending")
    return order.index(task["state"]) if task["state"] in order else len(order)


@dataclass(frozen=True, slots=True)
class BatchPicture:
    """Many runs, by their number; those that failed are named."""

    runs: dict[str, RunSummary]
    total: int

    def title(self) -> str:
        counts = dict.fromkeys(("active", "completed", "failed", "cancelled"), 0)
        for run in self.runs.values():
            counts[run["state"]] = counts.get(run["state"], 0) + 1
        done = sum(run["completed"] for run in self.runs.values())
        known = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        return f"{self.total} runs: {known or 'none seen yet'}; {done} tasks completed"

    def lines(self) -> Iterable[tuple[str, str]]:
        for run in self.runs.values():
            if run["state"] in ENDED:
                yield run["id"], f"{run['id']}  {run['state']}  {run.get('detail', '')}".rstrip()
        yield "", self.title()

    def table(self, rows_max: int) -> Table:
        troubled = (run for run in self.runs.values() if run["state"] in ("failed", "cancelled"))
        return run_table(list(islice(troubled, rows_max)))


class Screen:
    """Where pictures go: redrawn in place on a terminal, as lines when piped, nowhere for `-o json`."""

    def __init__(self, output: Format) -> None:
        self._live: Live | None = None
        self._silent = output is Format.JSON
        self._printed: dict[str, str] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        if not self._silent and sys.stdout.isatty():
            self._live = self._open.enter_context(Live(console=Console(highlight=False), auto_refresh=False))
        return self

    def __exit__(self, *failure: object) -> None:
        self._open.close()

    def show(self, picture: Picture) -> None:
        if self._live is not None:
            rows_max = max(self._live.console.height - 6, 3)
            content = Group(Text(clean(picture.title())), picture.table(rows_max).rich())
            self._live.update(content, refresh=True)
        elif not self._silent:
            for name, line in picture.lines():
                if self._printed.get(name) != line:
                    self._printed[name] = line
                    typer.echo(clean(line))


async def watch_run(client: Client, run: str, show: Callable[[Picture], None]) -> Run:
    """Show the run whenever it changes, until it has ended; returns how it ended."""
    view = await asyncio.to_thread(client.run, run)
    show(RunPicture(view))
    if view["run"]["state"] in ENDED:
        return view
    async with aclosing(_frames(client)) as frames:
        async for frame in frames:
            if frame is None or frame["type"] == "snapshot" or any(seen["id"] == run for seen in frame["runs"]):
                view = await _look(client, run) or view
                show(RunPicture(view))
                if view["run"]["state"] in ENDED:
                    return view
    raise AssertionError("frames come until nobody asks for them")


async def watch_runs(client: Client, ids: Sequence[str], show: Callable[[Picture], None]) -> list[RunSummary]:
    """Show how many of the runs have ended, until all have; returns how, in the order of `ids`."""
    known: dict[str, RunSummary] = {}
    wanted, told, is_snapshot = frozenset(ids), set[str](), False
    async with aclosing(_frames(client)) as frames:
        async for frame in frames:
            if frame is None:
                continue
            if frame["type"] == "snapshot":
                told, is_snapshot = set(), True
            seen = {run["id"]: run for run in frame["runs"] if run["id"] in wanted}
            known.update(seen)
            told |= seen.keys()
            if frame["more"]:
                continue
            if is_snapshot:
                # It shows the newest runs only, and may follow a time of which nothing is known.
                is_snapshot = False
                for run in ids:
                    if run not in told and (run not in known or known[run]["state"] not in ENDED):
                        view = await _look(client, run)
                        known.update({run: view["run"]} if view is not None else {})
            show(BatchPicture(known, len(ids)))
            if all(run in known and known[run]["state"] in ENDED for run in ids):
                return [known[run] for run in ids]
    raise AssertionError("frames come until nobody asks for them")


async def _look(client: Client, run: str) -> Run | None:
    """The run as it is now, or None while the server is away: the stream of frames decides for how long that is borne."""
    try:
        return await asyncio.to_thread(client.run, run)
    except ServerUnreachable:
        return None
    except ApiError as error:
        if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return None


async def _frames(client: Client) -> AsyncGenerator[Frame | None, None]:
    """Frames for ever, connecting again when the connection ends. Raises ServerUnreachable if that fails for too long."""
    away_s = 0
    while True:
        try:
            async with aclosing(client.watch(idle_s=IDLE_S)) as frames:
                async for frame in frames:
                    away_s = 0
                    yield frame
        except ServerUnreachable:
            if away_s >= PATIENCE_S:
                raise
        away_s += 1
        await asyncio.sleep(1)
