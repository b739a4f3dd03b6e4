"""The planner's answers to the API: what PlannerPort promises, on top of a running GlobalPlanner.

Reads come from memory where the planner holds the run, and from the log where it has ended. Changes go through the Driver and
are answered when they are durable.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from cloud.answers import decode_answer
from cloud.consistency.asked import Fresh
from cloud.consistency.service import Consistency
from cloud.contracts import contract_for
from cloud.dependencies.defined import given_later
from cloud.dependencies.requests import waits_of
from cloud.inputs import CancelRun, NewRun, Refusal, RegisterDefinition, StartRuns
from cloud.keys.service import Keys, digest_of
from cloud.looking.service import LookingService
from cloud.looking.wanted import Wanted
from cloud.pictures import UNTOLD, definition_view, definition_views, history_entries, run_picture, tombstone_summary
from cloud.port import Problem, RunRequest, Started, Then
from cloud.retention.beginning import archived_entry, unknown_run
from cloud.runs import Run, load_saved_run, restore_run
from cloud.sites.service import SiteService
from cloud.task_pictures import first_shown, rows_of
from cloud.views import (
    AgentView,
    ChildView,
    CommandView,
    DefinitionView,
    DiffView,
    HistoryEntry,
    RunSummary,
    RunTotals,
    RunView,
    SiteView,
)
from sync.commit import Row
from sync.log_errors import LogCorrupt
from workflow.loading import Loaded, load
from workflow.plan import DefinitionError, InputError, Plan
from workflow.problems import Problem as InputProblem

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner

HISTORY_PAGE = 1_000
RUN_BYTES_MAX = 1 << 20
ROWS_AT_ONCE_MAX = 20_000
"""Events of a run that are decoded without letting anything else go on: a tenth of a second."""
VERIFY_PAGE = 1_000
LARGE_CHARACTERS = 4 << 20
LARGE_AT_ONCE_MAX = 2
"""Definitions above 4 MiB that are read at once: each takes a gigabyte or so while it is."""

Starting = Callable[[tuple[str, bytes] | None], Awaitable[list[Started | Problem]]]
"""Starts runs, and remembers the answer under a key and the SHA-256 of the request if they are given."""


class PlannerService:
    """PlannerPort on a GlobalPlanner of the same process and loop."""

    def __init__(self, node: "GlobalPlanner") -> None:
        self._node = node
        self.of_sites = SiteService(node)
        self.looking = LookingService(node)
        self.consistency = Consistency(node)
        self.keys = Keys(node)
        self._large_now = 0

    # Starting and stopping --------------------------------------------------------------------------------------------

    async def start(
        self, definition: str | dict[str, object], runs: list[RunRequest], *, idempotency_key: str, body: bytes
    ) -> list[Started | Problem]:
        """Start runs; an item whose inputs are wrong is refused alone. Under an idempotency key the first answer is repeated."""
        return await self.once(idempotency_key, body, lambda idempotency: self._start(definition, runs, idempotency))

    async def once(self, idempotency_key: str, body: bytes, start: Starting) -> list[Started | Problem]:
        """Start something under a client's key (empty: without); asked again with the same body, nothing is started twice."""
        self.refuse_while_recovering()
        if not idempotency_key:
            return await start(None)
        digest = digest_of(body)
        with self.keys.held(idempotency_key):
            answered = await self.keys.answer(idempotency_key, digest)
            return decode_answer(answered) if answered is not None else await start((idempotency_key, digest))

    async def _start(
        self, definition: str | dict[str, object], runs: list[RunRequest], idempotency: tuple[str, bytes] | None
    ) -> list[Started | Problem]:
        plan = await self._plan(definition)
        answers: list[Started | Problem | None] = []
        refused: list[Refusal] = []
        accepted: list[NewRun] = []
        for run in runs:
            try:
                waits, contract = waits_of(run.after, "after"), contract_for(plan, run)
                inputs = encoded_inputs(plan.check_inputs(run.inputs, later=given_later(plan, waits)), run.labels)
            except Problem as problem:
                refused.append(Refusal(len(answers), problem.status, problem.code, problem.detail, tuple(problem.problems)))
                answers.append(problem)
                continue
            except InputError as error:
                problems = [str(p) for p in error.problems]
                refused.append(Refusal(len(answers), 422, "invalid_inputs", str(error), tuple(problems)))
                answers.append(Problem(422, "invalid_inputs", str(error), problems))
                continue
            priority = plan.priority if run.priority is None else run.priority
            accepted.append(NewRun(inputs, run.labels, priority, run.fairness_key, after=waits, contract=contract))
            answers.append(None)
        started: list[Started] = []
        if accepted:
            started = await self.accept(plan, accepted, idempotency, tuple(refused))
        following = iter(started)
        return [answer if answer is not None else next(following) for answer in answers]

    async def accept(
        self, plan: Plan, runs: list[NewRun], idempotency: tuple[str, bytes] | None, refused: tuple[Refusal, ...] = ()
    ) -> list[Started]:
        """Let the planner begin them. Raises Problem."""
        reply = await self._node.loop.ask(lambda token: StartRuns(token, plan.ref, runs, idempotency, refused))
        if isinstance(reply, Problem):
            raise reply
        assert isinstance(reply, list)
        return reply

    async def _plan(self, definition: str | dict[str, object]) -> Plan:
        if isinstance(definition, dict):
            text = msgspec.json.encode(definition).decode()
            return (await self._register(text, "request"))[0]
        ref = definition if "@" in definition else self._node.planner.latest.get(definition, definition)
        plan = self._node.planner.plans.get(ref)
        if plan is None:
            known = ", ".join(sorted(self._node.planner.plans)[:20]) or "none"
            detail = f"definition {definition} is not registered (known: {known}): register it with POST /api/v1/definitions"
            raise Problem(404, "definition_unknown", detail)
        return plan

    async def register(self, text: str, source: str) -> DefinitionView:
        """Check, compile and register a definition given as YAML or JSON."""
        self.refuse_while_recovering()
        plan, loaded = await self._register(text, source)
        return definition_view(plan, self._node.planner.latest, loaded=loaded)

    async def validate(self, text: str, source: str) -> DefinitionView:
        """Check and compile a definition, and keep nothing of it."""
        loaded = await self._load(text, source)
        return definition_view(loaded.plan, self._node.planner.latest, loaded=loaded)

    async def _load(self, text: str, source: str) -> Loaded:
        is_large = len(text) > LARGE_CHARACTERS
        if is_large and self._large_now >= LARGE_AT_ONCE_MAX:
            detail = f"{LARGE_AT_ONCE_MAX} large definitions are being read already: send {source} again when they are done"
            raise Problem(503, "definitions_busy", detail)
        self._large_now += is_large
        try:
            return await asyncio.to_thread(load, text, source)
        except DefinitionError as error:
            raise Problem(422, "invalid_definition", str(error), [str(p) for p in error.problems]) from None
        finally:
            self._large_now -= is_large

    async def _register(self, text: str, source: str) -> tuple[Plan, Loaded]:
        loaded = await self._load(text, source)
        plan = loaded.plan
        reply = await self._node.loop.ask(lambda token: RegisterDefinition(token, plan.ref, plan.packed))
        if isinstance(reply, Problem):
            raise reply
        assert isinstance(reply, Plan)
        return reply, loaded

    async def cancel(self, run: str, *, reason: str, wait_s: float, idempotency_key: str = "") -> RunView | CommandView:
        """Ask the homes to cancel. The run as it is once they have, or the pending command if they take longer."""
        self.refuse_while_recovering()
        digest = digest_of(b"\n".join((run.encode(), b"cancel", reason.encode())))
        command = await self.keys.command(idempotency_key, digest, lambda once: self._cancel(run, reason, wait_s, once))
        ended = await self._node.watching.wait_ended(run, wait_s)
        if not ended and command:
            self.consistency.check_known(await self.find(run), command)
        return await self.run(run, wait_s=0) if ended or not command else await self.command(command)

    async def _cancel(self, run: str, reason: str, wait_s: float, idempotency: tuple[str, bytes] | None) -> str:
        known = await self.find(run)
        if known.outcome:
            raise Problem(409, "run_ended", f"run {run} has already ended: {known.outcome}")
        await self.consistency.admit(known, wait_s)
        command = await self._node.loop.ask(lambda token: CancelRun(token, run, reason, idempotency))
        if isinstance(command, Problem):
            raise command
        return str(command)

    def refuse_while_recovering(self) -> None:
        """Raises Problem (503) while the cloud takes no work."""
        if self._node.damaged:
            raise Problem(503, "log_damaged", self._node.damaged)
        if self._node.recovering_from:
            sites = ", ".join(sorted(self._node.recovering_from))
            raise Problem(503, "recovering", f"the cloud fetches lost events back from {sites}: try again shortly")

    # Looking ----------------------------------------------------------------------------------------------------------

    async def runs(self, wanted: Wanted, *, limit: int, cursor: str) -> tuple[list[RunSummary], str]:
        """The wanted runs, newest first, from the one before `cursor` on."""
        return await self.looking.runs(wanted, limit=limit, cursor=cursor)

    async def run_then(self, run: str, then: Then) -> RunView:
        """The run as it was at a moment or version."""
        return await self.looking.run_then(run, then)

    async def run_within(self, run: str, asked: Fresh, *, wait_s: float) -> RunView:
        """The same, not older than was asked for. Raises Problem (503)."""
        await self.consistency.ensure(run, asked)
        view = await self.run(run, wait_s=wait_s)
        self.consistency.check_version(run, sum(part.version for part in view.fragments), asked)
        return view

    async def run(self, run: str, *, wait_s: float) -> RunView:
        """The whole picture of a run; with `wait_s`, once it has ended or the time is over."""
        if wait_s > 0:
            await self.find(run)
            await self._node.watching.wait_ended(run, wait_s)
        await self._node.loop.durable()
        known, last = await self.find_with_last(run)
        rows = await self._rows(last)
        if len(rows) > ROWS_AT_ONCE_MAX:
            rows = await asyncio.to_thread(rows_of, rows, first_shown(known))
        view = run_picture(known, rows, self._node)
        if ended := [child for child in view.children if child.state == UNTOLD]:
            await self._look_up(ended)
        return view

    async def _look_up(self, children: list[ChildView]) -> None:
        """How those ended of whom their parent was told no more, for it had ended before."""
        names = [child.run for child in children]
        found = await asyncio.wrap_future(self._node.log.read(lambda reader: [reader.snapshot(name) for name in names]))
        for child, snapshot in zip(children, found, strict=True):
            if snapshot is not None:
                child.state = tombstone_summary(snapshot).state

    async def history(self, run: str, *, after: int, limit: int) -> tuple[list[HistoryEntry], int]:
        """A run's events in the order of this log: those behind the first `after`, and where to go on (0: that was all)."""
        known, last = await self.find_with_last(run)
        rows = await self._rows(last)
        page = rows[after : after + limit]
        following = after + len(page)
        entries = history_entries(known, page)
        if not after and (before := rows[0].prev if rows else last):
            segments = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.segments()))
            entries.insert(0, archived_entry(segments, before))
        return entries, following if following < len(rows) else 0

    async def command(self, command: str) -> CommandView:
        """An intent and what has come of it."""
        intent = self._node.planner.intents.commands.get(command)
        if intent is None:
            raise Problem(404, "command_unknown", f"command {command} is not known here: it is too old, or never was")
        homes = intent.targets or list(dict.fromkeys((*intent.homes, *self._unwritten_homes(intent.run, command))))
        links = [self._node.link_view(home) for home in homes]
        link = min(links, key=lambda link: (link.state == "up", link.since), default=None)
        return CommandView(intent.id, intent.run, intent.kind, intent.state, intent.created, homes, intent.detail, link)

    def _unwritten_homes(self, run: str, command: str) -> list[str]:
        """Sites that will get the command as soon as they have greeted this cloud: until then their streams are not written."""
        known = self._node.planner.runs.look(run)
        if known is None or known.cancelling != command:
            return []
        return [
            site
            for site, fragment in zip(known.sites, known.fragments, strict=True)
            if (fragment is None or not fragment.outcome) and not self._node.planner.fleet.site(site).greeted
        ]

    async def definitions(self) -> list[DefinitionView]:
        """All definitions, by name and version."""
        return definition_views(self._node.planner)

    async def definition(self, ref: str) -> DefinitionView:
        """One definition with its document."""
        return definition_view(await self._plan(ref), self._node.planner.latest)

    async def agents(self) -> list[AgentView]:
        """All agents of all sites."""
        return self.of_sites.agents()

    async def diff(self, site: str) -> DiffView:
        """Ask the site for the hashes of its fragments and compare with the replicas here."""
        return await self.of_sites.diff(site)

    async def sites(self) -> list[SiteView]:
        """All sites."""
        return self.of_sites.site_views()

    async def run_totals(self) -> list[RunTotals]:
        """What the ended runs tell: of all definitions, then of each."""
        await self._node.loop.durable()
        return self._node.planner.measures.run_totals()

    async def verify(self) -> list[dict[str, object]]:
        """Recompute the chain of every stream in this log, in pages between commits."""
        report: list[dict[str, object]] = []
        for stream, seq in sorted(self._node.exchange.ring.durable.items()):
            after, problem = 0, ""
            while after < seq and not problem:
                start = after
                page = self._node.log.read(lambda reader: reader.verify_page(stream, start, VERIFY_PAGE))  # noqa: B023
                try:
                    after = await asyncio.wrap_future(page)
                except LogCorrupt as corrupt:
                    problem = str(corrupt)
            report.append({"stream": stream, "events": seq, "verified": after, "ok": not problem, "problem": problem})
        return report

    async def watch(self) -> AsyncIterator[tuple[list[RunSummary], list[SiteView]]]:
        """What has changed, whenever something has: first what may change any moment, then changes."""
        yield [run.summary() for _, run in self._node.planner.runs.whole()], self.of_sites.site_views()
        async for changed in self._node.watching.changes():
            summaries = [summary for run in changed if (summary := await self._summary(run)) is not None]
            yield summaries, self.of_sites.site_views()

    def ready(self) -> list[str]:
        """What keeps the cloud from taking work; empty if nothing does."""
        refused = self._node.refused
        reasons = [refused.get(s) or f"fetching lost events back from {s}" for s in sorted(self._node.recovering_from)]
        return [*reasons, self._node.damaged] if self._node.damaged else reasons

    async def _summary(self, run: str) -> RunSummary | None:
        known = self._node.planner.runs.look(run)
        if known is not None:
            return known.summary()
        snapshot = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.snapshot(run)))
        return tombstone_summary(snapshot) if snapshot is not None else None

    # Finding ----------------------------------------------------------------------------------------------------------

    async def find(self, run: str) -> Run:
        """The run, from memory or from the log. Raises Problem 404."""
        return (await self.find_with_last(run))[0]

    async def find_with_last(self, run: str) -> tuple[Run, int]:
        """The run and the place of its latest durable event. Raises Problem 404."""
        known = self._node.planner.runs.look(run)
        if known is not None:
            return known, self._node.loop.driver.last_pos(run)
        snapshot = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.snapshot(run)))
        if snapshot is None or not run:
            segments = await asyncio.wrap_future(self._node.log.read(lambda reader: reader.segments()))
            raise Problem(404, "run_unknown", unknown_run(run, segments))
        saved = load_saved_run(snapshot.body)
        return restore_run(run, self._node.planner.plans[saved.definition], saved), snapshot.last

    async def rows(self, run: str) -> list[Row]:
        """All events of a run, oldest first. Raises Problem 404."""
        return await self._rows((await self.find_with_last(run))[1])

    async def _rows(self, last: int) -> list[Row]:
        """A run's events, oldest first, read backwards in pages."""
        pages: list[list[Row]] = []
        while last:
            start = last
            read = self._node.log.read(lambda reader: reader.history(start, HISTORY_PAGE))  # noqa: B023
            rows, last = await asyncio.wrap_future(read)
            pages.append(rows)
        return [row for page in reversed(pages) for row in page]


def encoded_inputs(inputs: dict[str, object], labels: dict[str, str]) -> bytes:
    """The inputs as an event keeps them. Raises InputError: what no link could carry would hold up all that come after it."""
    encoded = msgspec.json.encode(inputs)
    size = len(encoded) + len(msgspec.json.encode(labels))
    if size > RUN_BYTES_MAX:
        message = f"inputs and labels have {size:,} bytes of JSON: hand over a file's place instead of its content"
        raise InputError([InputProblem("", 0, "inputs", message, f"{RUN_BYTES_MAX:,} bytes")])
    return encoded
