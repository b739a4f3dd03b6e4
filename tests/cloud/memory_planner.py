"""A planner that keeps everything in memory: the other side of the port, for tests of the API and of the CLI."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from queue import Queue

import msgspec
import yaml

from cloud.api import listen, make_app, serve
from cloud.consistency.asked import Fresh
from cloud.looking.wanted import Wanted
from cloud.port import Problem, RunRequest, Started, Then
from cloud.views import (
    AgentView,
    ClockView,
    CommandView,
    DefinitionView,
    DiffView,
    FragmentView,
    Freshness,
    HistoryEntry,
    LinkView,
    ProgressView,
    RunSummary,
    RunTotals,
    RunView,
    SiteView,
    TaskView,
)

LINK = LinkView("up", 1_000)
FRESH = Freshness(2_000, "harbour", 5)


class Known:
    """A run's summary as what is wanted is compared with."""

    def __init__(self, run: RunSummary) -> None:
        self.labels, self.sites, self.parent, self.created_ms, self.ended_ms = (
            *(run.labels, run.sites, run.parent),
            *(run.created, run.ended),
        )


class MemoryPlanner:
    """Runs stay active until `finish` is called, except those with the input `instant`."""

    def __init__(self) -> None:
        self.registered: dict[str, DefinitionView] = {}
        self.known: dict[str, RunView] = {}
        self.answered: dict[str, tuple[bytes, list[Started | Problem]]] = {}
        self.commands: dict[str, CommandView] = {}
        self.changes: list[asyncio.Queue[list[RunSummary]]] = []
        self.ended = asyncio.Condition()
        self.cut_off = False
        self.failure: Exception | None = None
        self.waiting_for: list[str] = []
        self.loop = asyncio.get_running_loop()
        self.asked: list[RunRequest] = []

    async def start(
        self, definition: str | dict[str, object], runs: list[RunRequest], *, idempotency_key: str, body: bytes
    ) -> list[Started | Problem]:
        if self.failure is not None:
            raise self.failure
        digest = sha256(body).digest()
        if idempotency_key in self.answered:
            known, answer = self.answered[idempotency_key]
            if known != digest:
                raise Problem(422, "idempotency_key_reused", f"the key {idempotency_key} came with another body before")
            return answer
        if not isinstance(definition, str):
            definition = (await self.register(msgspec.json.encode(definition).decode(), "<request>")).ref
        document = await self.definition(definition)
        started = [self._start(document, run) for run in runs]
        if idempotency_key:
            self.answered[idempotency_key] = digest, started
        self.tell([self.known[item.id].run for item in started if isinstance(item, Started)])
        return started

    def _start(self, document: DefinitionView, asked: RunRequest) -> Started | Problem:
        if asked.inputs.get("refuse"):
            return Problem(422, "invalid_inputs", "the inputs do not fit", ["inputs.refuse: must be false"])
        self.asked.append(asked)
        run = f"r{len(self.known) + 1}"
        tasks = [TaskView(f"t{n}", "running", "harbour", 1, "picker-1") for n in range(document.tasks)]
        tasks += [TaskView("last", "pending", waits_for="[red]an agent that can weld[/red]")]
        summary = RunSummary(
            *(run, document.ref, "active", 1_700_000_000_000, len(tasks), 0), sites=["harbour"], labels=asked.labels
        )
        summary.priority = 4 if asked.priority is None else asked.priority
        summary.fairness_key = asked.fairness_key
        fragments = [FragmentView("harbour", 2, 7, "active", LINK, FRESH)]
        progress = ProgressView(0, 0, 1, ["t0"], 9_000, 2, 12_000)
        inputs = msgspec.Raw(msgspec.json.encode(asked.inputs))
        self.known[run] = RunView(summary, inputs, tasks, fragments, progress=progress)
        if asked.inputs.get("instant"):
            self._end(run, "completed")
        return Started(run, summary.state, document.ref)

    def _end(self, run: str, state: str) -> None:
        view = self.known[run]
        view.run.state, view.run.ended = state, 1_700_000_009_000
        view.run.completed = len(view.tasks) if state == "completed" else 0
        for task in view.tasks:
            task.state, task.output, task.waits_for = state, msgspec.Raw(b'{"place":"A7"}'), ""

    async def finish(self, run: str, state: str) -> None:
        """End a run, and let those know who wait for it."""
        self._end(run, state)
        self.tell([self.known[run].run])
        async with self.ended:
            self.ended.notify_all()

    def tell(self, runs: list[RunSummary]) -> None:
        for queue in self.changes:
            queue.put_nowait(runs)

    async def register(self, text: str, source: str) -> DefinitionView:
        view = await self.validate(text, source)
        raw = view.document
        if bytes(self.registered.get(view.ref, view).document) != bytes(raw):
            raise Problem(409, "definition_exists", f"{view.ref} is registered with other content: raise the version")
        self.registered[view.ref] = view
        return view

    async def validate(self, text: str, source: str) -> DefinitionView:
        document = yaml.safe_load(text)
        if not isinstance(document, dict) or "name" not in document:
            raise Problem(422, "invalid_definition", f"{source} is no definition", [f"{source}:1: name: is missing"])
        ref = f"{document['name']}@{document['version']}"
        raw = msgspec.Raw(msgspec.json.encode(document, order="sorted"))
        return DefinitionView(ref, document["name"], document["version"], len(document.get("tasks", {})), raw)

    async def definitions(self) -> list[DefinitionView]:
        return list(self.registered.values())

    async def definition(self, ref: str) -> DefinitionView:
        found = [view for view in self.registered.values() if ref in (view.ref, view.name)]
        if not found:
            raise Problem(404, "no_such_definition", f"there is no definition {ref}: register it first")
        return found[-1]

    async def runs(self, wanted: Wanted, *, limit: int, cursor: str) -> tuple[list[RunSummary], str]:
        found = [run.run for run in self.known.values() if wanted.fits(run.run.state, run.run.definition, Known(run.run))]
        start = int(cursor or "0")
        return found[start : start + limit], str(start + limit) if start + limit < len(found) else ""

    async def run(self, run: str, *, wait_s: float) -> RunView:
        if run not in self.known:
            raise Problem(404, "no_such_run", f"there is no run {run}")
        view = self.known[run]
        async with self.ended:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.ended.wait_for(lambda: view.run.state != "active"), wait_s or 0.001)
        return view

    async def run_within(self, run: str, asked: Fresh, *, wait_s: float) -> RunView:
        view = await self.run(run, wait_s=wait_s)
        if asked.version > 5 or asked.staleness_ms == 0:
            raise Problem(503, "staleness_exceeded", f"run {run} is older here", ["harbour: as_of 2000, staleness_ms 5"])
        return view

    async def run_then(self, run: str, then: Then) -> RunView:
        view = await self.run(run, wait_s=0)
        return msgspec.structs.replace(view, as_of=then.at_ms or 1_700_000_000_000 + then.version)

    async def cancel(self, run: str, *, reason: str, wait_s: float, idempotency_key: str = "") -> RunView | CommandView:
        view = await self.run(run, wait_s=0)
        if self.cut_off:
            link = LinkView("down", 1_700_000_000_000)
            command = CommandView(f"c-{run}", run, "cancel", "pending", 3_000, ["harbour"], reason, link)
            self.commands[command.command] = command
            return command
        await self.finish(run, "cancelled")
        return view

    async def history(self, run: str, *, after: int, limit: int) -> tuple[list[HistoryEntry], int]:
        await self.run(run, wait_s=0)
        events = [HistoryEntry("harbour@1", n, 2, "TaskStarted", 1_000 + n, {"task": f"t{n}"}) for n in range(1, 6)]
        found = [event for event in events if event.seq > after]
        return found[:limit], found[limit - 1].seq if len(found) > limit else 0

    async def command(self, command: str) -> CommandView:
        if command not in self.commands:
            raise Problem(404, "no_such_command", f"there is no command {command}")
        return self.commands[command]

    async def agents(self) -> list[AgentView]:
        return [AgentView("picker-1", "harbour", "robot", "available", ["pick-item"], 4, 1, 1_000)]

    async def sites(self) -> list[SiteView]:
        clock = ClockView(3_600_000, 1_700_000_000_000, 7) if self.cut_off else None
        return [SiteView("harbour", LINK, FRESH, 12, 0, 1, 4, len(self.known), 1, 0, clock)]

    async def run_totals(self) -> list[RunTotals]:
        return [RunTotals("", 2, 1, 1, 0, 0.5, 9_000, 0, 3, 1, 2), RunTotals("pick@1", 2, 1, 1, 0, 0.5, 9_000, 0, 3, 1, 2)]

    async def diff(self, site: str) -> DiffView:
        return DiffView(site, 3, 2, 0, ["r1: version 7"], 4_000) if self.cut_off else DiffView(site, 3, 3, 0, [], 4_000)

    async def verify(self) -> list[dict[str, object]]:
        return [{"stream": "cloud@1", "events": 12, "ok": True}]

    async def watch(self) -> AsyncIterator[tuple[list[RunSummary], list[SiteView]]]:
        queue = asyncio.Queue[list[RunSummary]]()
        self.changes.append(queue)
        try:
            while True:
                yield await queue.get(), []
        finally:
            self.changes.remove(queue)

    def ready(self) -> list[str]:
        return self.waiting_for


@contextmanager
def served(port: int = 0, known: dict[str, RunView] | None = None) -> Iterator[tuple[str, MemoryPlanner]]:
    """An API in front of a MemoryPlanner (that knows some runs), on a loopback port, in a thread and loop of its own."""
    found: Queue[tuple[str, MemoryPlanner, asyncio.Task[None]]] = Queue()

    async def main() -> None:
        planner = MemoryPlanner()
        planner.known = known or {}
        app = make_app(planner)
        task = asyncio.create_task(serve(app, listen("127.0.0.1", port), ready=lambda url: found.put((url, planner, task))))
        await task

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    url, planner, task = found.get(timeout=20)
    try:
        yield url, planner
    finally:
        planner.loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        assert not thread.is_alive()
