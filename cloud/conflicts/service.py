"""The answers about conflicts to the API, on a GlobalPlanner of the same process and loop.

A loser comes back by the ordinary way of what it is: an edit is asked of its document, and when it is recorded the conflict is
noted as restored by it. If the node dies in between, asking again finds the edit done under its id, and notes what is missing.
"""

import asyncio
from typing import TYPE_CHECKING

from cloud.conflicts.core import Conflicts, Known
from cloud.conflicts.inputs import ResolveConflict
from cloud.conflicts.restoring import RESTORERS, Refusal, RunOrder, Wanted
from cloud.conflicts.told import of_fact
from cloud.conflicts.views import ConflictsView, ConflictView, Filter, conflict_view, conflicts_view
from cloud.documents.core import refusal
from cloud.port import Problem
from sync.clock import wall_ms
from sync.commit import Row
from sync.conflicts.events import ConflictRecorded
from sync.documents.events import EditRefused
from sync.documents.inputs import EditDocument
from sync.log_errors import LogCut
from sync.log_reader import LogReader
from sync.values import StreamId, stream_reader, stream_writer
from workflow.events import decode
from workflow.home_events import FactRefused
from workflow.orders import Order, encode_order

if TYPE_CHECKING:
    from cloud.control.service import ControlService
    from cloud.driver import GlobalPlanner

PAGE_ROWS = 1_000
LOOKED_AT_MAX = 200_000
"""Events behind the moment of a conflict in which its record is looked for."""


class ConflictService:
    """What changes something is answered when it is durable. Refusals are `Problem`s."""

    def __init__(self, node: "GlobalPlanner", control: "ControlService") -> None:
        self._node, self._control = node, control
        self._refused: dict[str, int] = {}  # How often a run has refused what was to restore a conflict, since the start.

    @property
    def _feed(self) -> Conflicts:
        return self._node.planner.conflicts

    async def conflicts(self, wanted: Filter, limit: int, before: int) -> ConflictsView:
        """The newest of them."""
        await self._node.loop.durable()
        return conflicts_view(self._feed, wanted, limit, before)

    async def conflict(self, id: str) -> ConflictView:
        """One, with both values whole."""
        await self._node.loop.durable()
        known = self._feed.find(id)
        return conflict_view(self._feed, await self._whole(known))

    async def accept(self, id: str, by: str, note: str) -> ConflictView:
        """It stays as it is."""
        self._check_ready()
        await self._note(ResolveConflict(0, id, "accepted", by, "", note))
        return await self.conflict(id)

    async def restore(self, id: str, by: str, note: str, expected: int, wait_s: float) -> ConflictView:
        """Bring the loser back, once however often it is asked. Raises Problem: 409 if it cannot come back so, and whatever its
        document or its run has against it."""
        self._check_ready()
        known = self._feed.find(id)
        if known.resolved is None or known.resolved.how != "restored":
            whole = await self._whole(known)
            edit = self._feed.edit_id(known)
            ref = await self._bring_back(Wanted(whole.conflict, known.run, edit, by, expected), wait_s)
            await self._note(ResolveConflict(0, id, "restored", by, ref, note))
        return await self.conflict(id)

    async def _bring_back(self, wanted: Wanted, wait_s: float) -> str:
        """What it was brought back by."""
        match RESTORERS.restore(wanted):
            case EditDocument() as edit:
                edited = await self._node.documents.edit(edit, wait_s)
                decided = edited.version or self._node.planner.documents.book.answer(edit.document, edited.edit)
                if isinstance(decided, EditRefused):
                    raise refusal(decided)
                return edited.edit
            case RunOrder(run, order):
                return await self._order(wanted.edit, run, order, wait_s)
            case Refusal(detail):
                raise Problem(409, "not_restorable", detail)

    async def _order(self, edit: str, run: str, order: Order, wait_s: float) -> str:
        """Asked under one key until the run refuses it."""
        key = f"conflict/{edit}/{self._refused.get(edit, 0)}"
        command = await self._control.ask(run, order, wait_s, key, encode_order(order))
        await self._node.watching.wait_answered(command, wait_s)
        intent = self._node.planner.intents.commands.get(command)
        if intent is not None and intent.state == "refused":
            self._refused[edit] = self._refused.get(edit, 0) + 1
            raise Problem(409, "command_refused", f"the loser does not come back: {intent.detail}")
        return command

    def _check_ready(self) -> None:
        if self._node.damaged or self._node.recovering_from:
            raise Problem(503, "not_ready", "the cloud does not take work now: GET /readyz says why")

    async def _note(self, input: ResolveConflict) -> None:
        reply = await self._node.loop.ask(lambda token: input._replace(token=token))
        if isinstance(reply, Problem):
            raise reply

    # From the log -----------------------------------------------------------------------------------------------------

    async def _whole(self, known: Known) -> Known:
        """The conflict with its values, from the log if memory has no room for them. Raises Problem (410) if they were cut."""
        if not known.is_short:
            return known
        said = known.conflict
        found = await asyncio.wrap_future(self._node.log.read(lambda reader: recorded(reader, known.at, said)))
        if found is None:
            detail = f"the values of conflict {said.conflict} have left the log: an archive of it has them"
            raise Problem(410, "values_gone", detail)
        whole = Known(known.number, known.at, known.run, found)
        whole.resolved, whole.tries, whole.refused = known.resolved, known.tries, known.refused
        return whole


def recorded(reader: LogReader, at: str, short: ConflictRecorded) -> ConflictRecorded | None:
    """The conflict as its node recorded it. Stamps of a stream never run backwards, and none is before the moment at which the
    node decided, so the place to look from is found by halving."""
    for stream in reader.streams():
        if stream_writer(StreamId(stream)) == at and not stream_reader(StreamId(stream)):
            try:
                after = _before(reader, StreamId(stream), short.at_ms)
                if (found := _look(reader, at, StreamId(stream), after, short)) is not None:
                    return found
            except LogCut:
                continue
    return None


def _before(reader: LogReader, stream: StreamId, at_ms: int) -> int:
    """The number of the last event that was stamped before the moment."""
    cut = reader.cut_heads.get(stream)
    low, high = cut.seq if cut is not None else 0, reader.head(stream).seq
    while low < high:
        middle = (low + high) // 2
        rows = reader.events(stream, middle, 1)
        if rows and wall_ms(rows[0].time) < at_ms:
            low = middle + 1
        else:
            high = middle
    return low


def _look(reader: LogReader, at: str, stream: StreamId, after: int, short: ConflictRecorded) -> ConflictRecorded | None:
    for start in range(after, after + LOOKED_AT_MAX, PAGE_ROWS):
        rows: list[Row] = reader.events(stream, start, PAGE_ROWS)
        for row in rows:
            if row.kind in (ConflictRecorded.kind, FactRefused.kind):
                event = decode(row.kind, row.payload)
                if isinstance(event, FactRefused):
                    event = of_fact(row.run, short.subject, at, event, wall_ms(row.time))
                if isinstance(event, ConflictRecorded) and event.conflict == short.conflict:
                    return event
        if not rows:
            return None
    return None
