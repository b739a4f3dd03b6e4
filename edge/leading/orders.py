"""Operators move the term of a group to another member, a Part of the executor: by the cloud, or on the site's own machine.

The leader is not asked. It is told, with all members, and what it says or does under its epoch counts no more from then on; where
nobody can check that (`lock_delay`), the next one leads once the lease of the one before is over, and the delay. Asked twice, it
is done once: who leads already goes on. After a restart of the site an order waits for members that are still awaited, over
further restarts, too, if it came from the cloud.
"""

from collections.abc import Callable
from typing import ClassVar

from coordination.leading import Group, TransferRequested
from edge.home import Home
from edge.leading.groups import Leading
from edge.leading.heirs import KNOWN_SHOWN_MAX, belongs_to, lacks, unfit
from edge.leading.inputs import MoveTerm, TermMoved
from edge.part import Hear, Part, Step
from sync.outputs import Reply
from sync.values import Now
from workflow.event import Event
from workflow.events import CommandAnswered

WAITING_MAX = 1_000
"""So many orders wait for members; more are answered at once."""


class TermOrders(Part):
    """It has nothing to remember: what came of an order is a term. `put_off` keeps an order of the cloud until it is answered."""

    name: ClassVar[str] = "term_orders"

    def __init__(self, home: Home, leading: Leading, put_off: Callable[[TransferRequested, bool, list[object]], None]) -> None:
        self._home, self._leading, self._put_off = home, leading, put_off
        self._waiting: list[MoveTerm | TransferRequested] = []

    def steps(self) -> dict[type, Step]:
        return {MoveTerm: self._step}

    def hears(self) -> dict[type, Hear]:
        return {TransferRequested: self._hear}

    def settle(self, now: Now, out: list[object]) -> None:
        """Members may have come, or are awaited no longer."""
        waiting, self._waiting = self._waiting, []
        for order in waiting:
            self._take(order, now, out)

    def asking(self) -> list[int]:
        """Who on the site's own machine waits for an answer."""
        return [order.token for order in self._waiting if isinstance(order, MoveTerm)]

    def _step(self, input: MoveTerm, now: Now, out: list[object]) -> None:
        self._take(input, now, out)

    def _hear(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        assert isinstance(event, TransferRequested)
        if event in self._waiting:  # Both sides have compared their streams meanwhile.
            self._put_off(event, True, out)
        else:
            self._take(event, now, out)

    def _take(self, order: MoveTerm | TransferRequested, now: Now, out: list[object]) -> None:
        moved = self._move(order.group, order.to, order.epoch, now, out)
        waits = self._may_yet(order, moved.code) and len(self._waiting) < WAITING_MAX
        if waits:
            self._waiting.append(order)
        if isinstance(order, MoveTerm):
            out += [] if waits else [Reply(order.token, moved)]
            return
        if not waits:
            detail = f"{moved.code}: {moved.detail}" if moved.code else moved.detail
            self._home.note(CommandAnswered(order.command, not moved.code, detail), out)
        self._put_off(order, waits, out)

    def _may_yet(self, order: MoveTerm | TransferRequested, code: str) -> bool:
        """Is somebody awaited since the site has started with whom it could be done?"""
        roster = self._home.roster
        if code == "agent_silent":
            return roster.awaits(order.to)
        group = self._leading.groups.get(order.group)
        if code != "nobody_else" or group is None:
            return False
        others = (slot for slot in roster.slots.values() if slot.agent != group.term.leader and belongs_to(slot, group))
        return any(roster.awaits(slot.agent) for slot in others)

    def _move(self, name: str, to: str, epoch: int, now: Now, out: list[object]) -> TermMoved:
        group = self._leading.groups.get(name)
        if group is None:
            known = ", ".join(sorted(self._leading.groups)[:KNOWN_SHOWN_MAX]) or "none"
            detail = (
                f"there is no group {name} at {self._home.site} (known: {known}): it begins with the first task that wants it"
            )
            return TermMoved("group_unknown", detail)
        if epoch and epoch != group.term.epoch:
            who = group.term.leader or "nobody"
            return self._refused(group, "old_epoch", f"{who} leads it under epoch {group.term.epoch}, not {epoch}: look again")
        heir = to or next(
            (agent for agent in group.ranked() if agent != group.term.leader and not lacks(self._home.roster, agent)), ""
        )
        if not group.term.leader and not to:
            return self._refused(group, "no_leader", "nobody leads it: who is next leads by itself, or name who is to lead")
        if refused := self._refusal(group, heir):
            return refused
        if heir != group.term.leader:
            self._leading.transfer(group, heir, now, out)
        return self._moved(group, heir)

    def _refusal(self, group: Group, heir: str) -> TermMoved | None:
        """Why this agent cannot lead it now."""
        if not heir:
            return self._refused(group, "nobody_else", "no other member of it is here: start one, or wait")
        why = unfit(self._home.roster, group, heir)
        return self._refused(group, *why) if why else None

    def _refused(self, group: Group, code: str, what: str) -> TermMoved:
        return TermMoved(code, f"group {group.name} of {self._home.site}: {what}", group.term.leader, group.term.epoch)

    def _moved(self, group: Group, heir: str) -> TermMoved:
        term = group.term
        if term.leader == heir:
            return TermMoved("", f"{heir} leads {group.name} under epoch {term.epoch}", heir, term.epoch)
        wait_s = term.delay_ms / 1_000
        return TermMoved("", f"{heir} leads {group.name} next, once the one before cannot act any more: in {wait_s:g} s")
