"""Operators move the term of a group to another member, a Part of the executor: by the cloud, or on the site's own machine.

The leader is not asked. It is told, with all members, and what it says or does under its epoch counts no more from then on; where
nobody can check that (`lock_delay`), the next one leads once the lease of the one before is over, and the delay. Asked twice, it
is done once: who leads already goes on.
"""

from typing import ClassVar

from coordination.leading import Group, TransferRequested
from edge.home import Home
from edge.leading.groups import Leading, belongs_to
from edge.leading.inputs import MoveTerm, TermMoved
from edge.part import Hear, Part, Step
from sync.outputs import Reply
from sync.values import Now
from workflow.event import Event
from workflow.events import CommandAnswered

KNOWN_SHOWN_MAX = 20


class TermOrders(Part):
    """It has nothing to remember: what came of an order is a term."""

    name: ClassVar[str] = "term_orders"

    def __init__(self, home: Home, leading: Leading) -> None:
        self._home, self._leading = home, leading

    def steps(self) -> dict[type, Step]:
        return {MoveTerm: self._step}

    def hears(self) -> dict[type, Hear]:
        return {TransferRequested: self._hear}

    def _step(self, input: MoveTerm, now: Now, out: list[object]) -> None:
        out.append(Reply(input.token, self._move(input.group, input.to, input.epoch, now, out)))

    def _hear(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        assert isinstance(event, TransferRequested)
        moved = self._move(event.group, event.to, event.epoch, now, out)
        detail = f"{moved.code}: {moved.detail}" if moved.code else moved.detail
        self._home.note(CommandAnswered(event.command, not moved.code, detail), out)

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
        heir = to or next((agent for agent in group.ranked() if agent != group.term.leader and not self._lacks(agent)), "")
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
        slot = self._home.roster.slots.get(heir)
        if slot is None or not belongs_to(slot, group):
            members = ", ".join(sorted(group.standing)[:KNOWN_SHOWN_MAX]) or "none"
            return self._refused(group, "not_a_member", f"{heir} does not belong to it (members here: {members})")
        if heir == group.term.leader or not (lacks := self._lacks(heir)):
            return None
        return self._refused(group, *lacks)

    def _lacks(self, agent: str) -> tuple[str, str] | None:
        slot = self._home.roster.slots.get(agent)
        if slot is None or not slot.session:
            return "agent_silent", f"{agent} is not connected: name one that is, or wait until it is back"
        if slot.draining:
            return "agent_draining", f"{agent} is being stopped ({slot.draining}): name another one"
        return None

    def _refused(self, group: Group, code: str, what: str) -> TermMoved:
        return TermMoved(code, f"group {group.name} of {self._home.site}: {what}", group.term.leader, group.term.epoch)

    def _moved(self, group: Group, heir: str) -> TermMoved:
        term = group.term
        if term.leader == heir:
            return TermMoved("", f"{heir} leads {group.name} under epoch {term.epoch}", heir, term.epoch)
        wait_s = term.delay_ms / 1_000
        return TermMoved("", f"{heir} leads {group.name} next, once the one before cannot act any more: in {wait_s:g} s")
