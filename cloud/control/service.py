"""The answers to those who steer runs: ControlPort on a GlobalPlanner of the same process and loop."""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from cloud.control.core import verb_of
from cloud.control.inputs import OrderRun
from cloud.control.open import open_approvals, open_incidents
from cloud.control.requests import BULK_MAX, BulkRequest, Filter, fork_request, order_with
from cloud.control.views import ApprovalView, BulkItem, BulkView, IncidentView, QueryView
from cloud.keys.service import digest_of
from cloud.port import PlannerPort, Problem
from cloud.questions import UnknownQuery, answer_query
from cloud.runs import Run
from cloud.views import CommandView, RunView
from workflow.expression import ExpressionError
from workflow.orders import Order, RollBack, encode_order
from workflow.run_machine import run_refusal
from workflow.steering import AFTER_THE_END

if TYPE_CHECKING:
    from cloud.driver import GlobalPlanner
    from cloud.forking.service import ForkService
    from cloud.service import PlannerService


class ControlService:
    """What changes something is answered when it is durable; what a home decides, once it has, or as a command on its way."""

    def __init__(self, node: "GlobalPlanner", planner: "PlannerService", forks: "ForkService") -> None:
        self._node, self._planner, self._forks = node, planner, forks

    async def order(
        self, run: str, order: Order, *, wait_s: float, idempotency_key: str = "", body: bytes = b""
    ) -> RunView | CommandView:
        """The run as it is once all homes have accepted; the pending command if they take longer. Refused: Problem 409.

        Under an idempotency key the same request again is the same command, and gets what has become of it."""
        command = await self.ask(run, order, wait_s, idempotency_key, body)
        if not command or await self._node.watching.wait_answered(command, wait_s):
            intent = self._node.planner.intents.commands.get(command)
            if intent is not None and intent.state == "refused":
                raise Problem(409, "command_refused", intent.detail)
            return await self._planner.run(run, wait_s=0)
        self._planner.consistency.check_known(await self._planner.find(run), command)
        return await self._planner.command(command)

    async def ask(self, run: str, order: Order, wait_s: float, idempotency_key: str, body: bytes) -> str:
        """The command that carries the order; empty if it was done at once."""
        self._planner.refuse_while_recovering()
        # The same key and body for another run, or another order, is another request.
        digest = digest_of(b"\n".join((run.encode(), verb_of(order).encode(), body)))
        return await self._planner.keys.command(idempotency_key, digest, lambda once: self._ask(run, order, wait_s, once))

    async def _ask(self, run: str, order: Order, wait_s: float, idempotency: tuple[str, bytes] | None) -> str:
        known = await self._planner.find(run)
        if known.outcome and not isinstance(order, AFTER_THE_END):
            detail = run_refusal(verb_of(order), run, known.outcome) or f"run {run} has ended: {known.outcome}; allowed: fork"
            raise Problem(409, "run_ended", detail)
        if isinstance(order, RollBack) and order.at:
            order = msgspec.structs.replace(order, versions=await self._planner.looking.versions_at(run, order.at))
        await self._planner.consistency.admit(known, wait_s)
        encoded = encode_order(order)
        command = await self._node.loop.ask(lambda token: OrderRun(token, run, encoded, idempotency))
        if isinstance(command, Problem):
            raise command
        return str(command)

    async def bulk(self, asked: BulkRequest, *, wait_s: float, idempotency_key: str = "") -> BulkView:
        """One order for all runs that fit the filter and have not ended, the oldest first, 1,000 at most. Under a key, each is
        asked once."""
        order = None if asked.verb == "cancel" else order_with(asked.verb, asked.arguments)
        reason = str(asked.arguments.get("reason", ""))
        await self._node.loop.durable()
        runs = self._node.planner.runs
        matched = [
            r.id for r in (map(runs.get, asked.filter.ids) if asked.filter.ids else runs.values()) if r and _fits(r, asked.filter)
        ]
        chosen = sorted(matched)[:BULK_MAX]
        keys = [f"{idempotency_key}#{run}" if idempotency_key else "" for run in chosen]
        body = msgspec.json.encode(asked.arguments, order="sorted")
        asking = (self._item(run, order, reason, wait_s, key, body) for run, key in zip(chosen, keys, strict=True))
        items = await asyncio.gather(*asking)
        counts = [sum(item.state == state for item in items) for state in ("accepted", "pending", "refused")]
        return BulkView(asked.verb, len(matched), counts[0], counts[1], counts[2], list(items))

    async def fork_many(self, asked: BulkRequest, *, idempotency_key: str) -> BulkView:
        """A fork of each run that goes on and fits the filter, and of those named by id that have ended; 1,000 at most. `detail`
        names the new run. Under a key, each run is forked once."""
        wanted = fork_request(msgspec.json.encode(asked.arguments))
        await self._node.loop.durable()
        runs, items = self._node.planner.runs, list[BulkItem]()
        fitting = (run for run in asked.filter.ids or runs if (known := runs.get(run)) is None or _fits(known, asked.filter))
        matched = sorted(dict.fromkeys(fitting))
        for run in matched[:BULK_MAX]:
            try:
                if not _fits(await self._planner.find(run), asked.filter):
                    continue
                key = f"{idempotency_key}#{run}" if idempotency_key else ""
                started = await self._forks.fork(run, wanted, idempotency_key=key, body=msgspec.json.encode(asked.arguments))
                items.append(BulkItem(run, "accepted", "", f"forked as {started.id}"))
            except Problem as problem:
                items.append(BulkItem(run, "refused", "", problem.detail))
        accepted = sum(item.state == "accepted" for item in items)
        return BulkView("fork", len(matched), accepted, 0, len(items) - accepted, items)

    async def _item(self, run: str, order: Order | None, reason: str, wait_s: float, key: str, body: bytes) -> BulkItem:
        planner: PlannerPort = self._planner
        try:
            if order is None:
                answer: RunView | CommandView = await planner.cancel(run, reason=reason, wait_s=wait_s, idempotency_key=key)
            else:
                answer = await self.order(run, order, wait_s=wait_s, idempotency_key=key, body=body)
        except Problem as problem:
            return BulkItem(run, "refused", "", problem.detail)
        if isinstance(answer, CommandView):
            return BulkItem(run, answer.state, answer.command)
        return BulkItem(run, "accepted")

    async def approvals(self) -> list[ApprovalView]:
        """The requests that wait for somebody's decision, over all runs, the oldest first."""
        await self._node.loop.durable()
        found = [view for run in self._node.planner.runs.values() for view in open_approvals(run)]
        return sorted(found, key=lambda view: (view.asked, view.run, view.task))

    async def incidents(self) -> list[IncidentView]:
        """The tasks that wait for a person, over all runs."""
        await self._node.loop.durable()
        found = [view for run in self._node.planner.runs.values() for view in open_incidents(run)]
        return sorted(found, key=lambda view: (view.run, view.task))

    async def query(self, run: str, name: str) -> QueryView:
        """The value of a query of the run's definition now, from the replicas here; `as_of` is the oldest of them (UTC ms)."""
        found = await self._planner.find(run)
        try:
            value = answer_query(found, name)
        except UnknownQuery as unknown:
            raise Problem(404, "query_unknown", str(unknown)) from None
        except ExpressionError as error:
            raise Problem(409, "query_without_value", f"query {name} of run {run} has no value now: {error}") from None
        now_ms = self._node.loop.clock.now().wall_ms
        as_of = min((self._node.freshness(site).as_of for site in found.sites), default=now_ms)
        return QueryView(run, name, value, as_of, max(0, now_ms - as_of) if as_of else -1)


def _fits(run: Run, wanted: Filter) -> bool:
    definition = (
        run.plan.ref == wanted.definition if "@" in wanted.definition else run.plan.ref.startswith(f"{wanted.definition}@")
    )
    return (
        (not wanted.state or run.state() == wanted.state)
        and (not wanted.definition or definition)
        and (not wanted.site or wanted.site in run.sites)
        and wanted.labels.items() <= run.labels.items()
    )
