"""The leader of a group says who does a task: the protocol `leader`.

Tasks that want an agent of a group are gathered and put to its leader with all followers that have room, under a number and the
epoch of its term. What comes back counts as `coordination.delegating` says; the work is given under the leader's epoch
(`TaskContext.leases["leader/GROUP"]`). A leader without an opinion, or of an older SDK, leaves it to the site, which spreads the
tasks. One that does not answer in time is asked again, or `otherwise` holds; a group waits as long for a leader, from when it
lost the one before, and for one that is silent until its lease is over.
"""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import msgspec

from coordination.auction.bids import Who
from coordination.charter import Said
from coordination.delegating import TASKS_MAX, Asked, Follower, Refused, judge_plan, spread
from coordination.leading import Defined, Group
from edge.coordinating.members import members
from edge.coordinating.seeker import Giving, Lot, Negotiation, Seeker
from edge.home import Home
from edge.leading.groups import Leading
from edge.leading.inputs import AnswerLeader, AskLeader, LeadTask, PlanMade
from edge.part import Step
from edge.roster import Slot
from sync.values import AgentId, Now
from workflow.coordinating import Award
from workflow.fragment import Fragment
from workflow.tasks import CoordinationPlan, GroupOfAgents

LEADS = "leads"
"""The feature of an agent's Register that says that it answers as a leader."""
ROUNDS = 3
BACKOFF_MS = 500
PARAMETER_BYTES_MAX = 2_048
NAMED_MAX = 20


class Key(NamedTuple):
    """Tasks that are put to a leader together: of its group, these followers may do them."""

    group: str
    who: Who


@dataclass(slots=True)
class Want:
    """A task that wants an agent of a group; in which round it is, not before when (monotonic ms); since when there has been no
    leader to put it to (None: there is one)."""

    key: "Key"
    plan: CoordinationPlan
    since: int
    silent_ms: int | None = None
    round: int = 1
    due_ms: int = 0
    until_ms: int = 0  # How long a leader is waited for.
    asked: int = 0
    why: str = "waits for a leader"

    @property
    def group(self) -> str:
        """Whose leader it is."""
        return self.key.group


@dataclass(slots=True)
class Leader(Seeker):
    """The protocol `leader`. A group has one question open for all tasks that the same followers may do."""

    protocol: ClassVar[str] = "leader"
    home: Home
    giving: Giving
    leading: Leading
    wanted: dict[Lot, Want] = field(default_factory=dict)
    open: dict[Key, Asked] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    _number: int = 0

    def steps(self) -> dict[type, Step]:
        return {PlanMade: self._hear}

    def seek(self, fragment: Fragment, task: int, plan: CoordinationPlan, now: Now, out: list[object]) -> None:
        lot, capability = Lot(fragment.run, task), fragment.task(task).capability
        known = self.wanted.get(lot)
        if known is not None and known.plan == plan:
            return
        key = Key(group_name(plan.group, capability), _who(plan.group, capability))
        self.wanted[lot] = Want(key, plan, now.wall_ms)
        self.leading.group(key.group, _defined(fragment, plan, capability), now, out)

    def withdraw(self, lot: Lot) -> None:
        self.wanted.pop(lot, None)

    def wake_mono_ms(self) -> int | None:
        free = (each for each in self.wanted.values() if not each.asked and each.key not in self.open)
        waits = [due for each in free if (due := each.due_ms or each.until_ms)]
        return min([*waits, *(asked.due_ms for asked in self.open.values())], default=None)

    def counts(self) -> dict[str, int]:
        words = {f"word_{code}": count for code, count in sorted(self.leading.refused.items())}
        return {f"plan_{code}": count for code, count in sorted(self.refused.items())} | words

    # Asking -----------------------------------------------------------------------------------------------------------

    def settle(self, now: Now, out: list[object]) -> None:
        for key, asked in list(self.open.items()):
            group = self.leading.groups.get(key.group)
            if group is None or now.mono_ms >= asked.due_ms or group.admits(asked.leader, asked.epoch):
                del self.open[key]
                self._unanswered(asked, group, now, out)
        gathered: dict[Key, list[Lot]] = {}
        for lot, each in self.wanted.items():
            if not each.asked and now.mono_ms >= each.due_ms and each.key not in self.open:
                gathered.setdefault(each.key, []).append(lot)
        for key, lots in gathered.items():
            self._put(self._group(key, now, out), key, lots, now, out)

    def _group(self, key: Key, now: Now, out: list[object]) -> Group:
        """The group, made anew if it had to make room for another."""
        known = self.leading.groups.get(key.group)
        if known is not None:
            return known
        lot, each = next((lot, each) for lot, each in self.wanted.items() if each.key == key)
        fragment = self.home.fragments[lot.run]
        return self.leading.group(key.group, _defined(fragment, each.plan, fragment.task(lot.task).capability), now, out)

    def _put(self, group: Group, key: Key, lots: list[Lot], now: Now, out: list[object]) -> None:
        for lot in [lot for lot in lots if not self.giving.is_sought(lot)]:
            self.giving.forget(lot)
        lots = [lot for lot in lots if lot in self.wanted]
        for lot in lots:  # Those, too, for which there is no room in one question: it ends, and then they are put.
            self.wanted[lot].due_ms = self.wanted[lot].until_ms = 0
        leader = self.home.roster.slots.get(group.term.leader)
        if leader is None or not leader.session:
            self._without_leader(group, lots, now, out)
            return
        for lot in lots:
            self.wanted[lot].silent_ms = None
        slots = members(self.home.roster, key.who)
        followers = tuple(Follower(slot.agent, slot.capacity - self._room(slot), slot.capacity) for slot in slots)
        lots = lots[:TASKS_MAX]
        if not lots or not any(one.load < one.capacity for one in followers):
            return  # They are put to the leader when somebody has room.
        self._number += 1
        wait_ms = max(self.wanted[lot].plan.wait_ms for lot in lots)
        named = {f"{lot.run}/{lot.task}": lot for lot in lots}
        asked = Asked(self._number, group.term.epoch, leader.agent, tuple(named), followers, now.mono_ms + wait_ms)
        if LEADS not in leader.features:
            self._carry_out(group, asked, spread(asked.tasks, followers), f"{leader.agent} leaves it to the site", now, out)
            return
        self.open[key] = asked
        for lot in lots:
            self.wanted[lot].asked, self.wanted[lot].why = asked.number, f"{leader.agent}, who leads {group.name}, is asked"
        tasks = [self._shown(name, lot) for name, lot in named.items()]
        told = [(one, slot.labels) for one, slot in zip(followers, slots, strict=True)]
        out.append(AskLeader(leader.session, leader.agent, group.name, asked.epoch, asked.number, tasks, told, wait_ms))

    def _room(self, slot: Slot) -> int:
        return self.home.roster.assigner.room(slot.agent)

    def _shown(self, name: str, lot: Lot) -> LeadTask:
        fragment, parameters = self.home.fragments[lot.run], self.giving.parameters_of(lot)
        told = parameters if len(parameters) <= PARAMETER_BYTES_MAX else b""
        return LeadTask(name, lot.run, fragment.id_of(lot.task), fragment.task(lot.task).capability, told)

    def _without_leader(self, group: Group, lots: list[Lot], now: Now, out: list[object]) -> None:
        """They wait for one from now on, and at least for as long as the one that is silent may come back and lead on."""
        why = f"{leader} leads {group.name}, and is silent" if (leader := group.term.leader) else f"nobody leads {group.name}"
        returns_ms = self.leading.believed_until_ms(group)
        for lot in lots:
            each = self.wanted[lot]
            if each.silent_ms is None:
                each.silent_ms = now.mono_ms
            each.why, each.until_ms = why, max(each.silent_ms + each.plan.wait_ms, returns_ms)
            if now.mono_ms >= each.until_ms:
                self._otherwise(lot, each, "no_leader", now, out)

    def _unanswered(self, asked: Asked, group: Group | None, now: Now, out: list[object]) -> None:
        """The leader was lost, or did not answer in time: the next question goes to whoever leads then."""
        for lot, each in list(self.wanted.items()):
            if each.asked != asked.number:
                continue
            each.asked, each.round = 0, each.round + 1
            if group is None or group.admits(asked.leader, asked.epoch):
                each.why = f"{asked.leader} leads {each.group} no more"
                continue
            each.why = f"{asked.leader}, who leads {each.group}, has not answered"
            each.due_ms = now.mono_ms + BACKOFF_MS * each.round
            if each.round > ROUNDS:
                self._otherwise(lot, each, "no_plan", now, out)

    def _otherwise(self, lot: Lot, each: Want, code: str, now: Now, out: list[object]) -> None:
        if each.plan.otherwise == "wait":
            each.silent_ms, each.until_ms = now.mono_ms, now.mono_ms + each.plan.wait_ms
            return
        award = Award(f"leader of {each.group}", each.why, each.round)
        self.giving.give_up(lot, each.plan.otherwise, (self.protocol, award), code, now, out)

    # Plans ------------------------------------------------------------------------------------------------------------

    def _hear(self, input: PlanMade, now: Now, out: list[object]) -> None:
        slot = self.home.roster.admit(input.agent, input.session, now)
        if slot is None:
            return
        group = self.leading.groups.get(input.group)
        if group is None:
            unknown = Refused("", "old_plan", f"there is no group {input.group} at {self.home.site}")
            self._refuse(input, [unknown], out)
            return
        key = next((key for key, asked in self.open.items() if key.group == group.name and asked.number == input.number), None)
        asked = self.open.get(key) if key is not None else None
        judged = judge_plan(group, asked, input.agent, input.epoch, input.number, input.plan)
        self._refuse(input, judged.refused, out)
        if asked is None or key is None or any(not refused.task for refused in judged.refused):
            return
        del self.open[key]
        given = spread(asked.tasks, asked.followers) if input.by_site else judged.given
        why = "has no opinion, and the site spreads the tasks" if input.by_site else "says so"
        self._carry_out(group, asked, given, f"{input.agent} {why}", now, out)

    def _refuse(self, input: PlanMade, refused: list[Refused], out: list[object]) -> None:
        for one in refused:
            self.refused[one.code] = self.refused.get(one.code, 0) + 1
        if refused:
            out.append(AnswerLeader(input.session, input.agent, input.group, input.epoch, input.number, refused))

    def _carry_out(self, group: Group, asked: Asked, given: dict[str, str], why: str, now: Now, out: list[object]) -> None:
        """Followers get what the plan gives them; what it leaves out is put to the leader again a little later."""
        said: list[dict[str, object]] = [
            {"agent": one.agent, "load": one.load, "capacity": one.capacity} for one in asked.followers[:NAMED_MAX]
        ]
        for name in asked.tasks:
            run, _, task = name.rpartition("/")
            lot = Lot(run, int(task))
            each = self.wanted.get(lot)
            if each is None:
                continue
            each.asked = 0
            agent = given.get(name, "")
            under = {f"leader/{group.name}": asked.epoch}
            reason = f"{asked.leader} leads {group.name} under epoch {asked.epoch}: {why}"
            award = Award(
                f"leader of {group.name}", reason, each.round, said, more=max(0, len(asked.followers) - NAMED_MAX), under=under
            )
            if not agent or self.giving.give(lot, AgentId(agent), (self.protocol, award), now, out) == "no_room":
                each.due_ms = now.mono_ms + BACKOFF_MS
                each.why = f"{asked.leader}, who leads {group.name}, leaves it for later" if not agent else f"{agent} has no room"

    def explain(self, lot: Lot, now: Now) -> Negotiation | None:
        each = self.wanted.get(lot)
        if each is None:
            return None
        asked = self.open.get(each.key) if each.asked else None
        found = Negotiation(*lot, self.protocol, "open" if asked else "waiting", each.why, each.round, each.since)
        if asked is None:
            return found
        until = now.wall_ms + asked.due_ms - now.mono_ms
        given: list[dict[str, object]] = [{"leader": asked.leader, "epoch": asked.epoch}]
        invited = [one.agent for one in asked.followers[:NAMED_MAX]]
        return msgspec.structs.replace(found, until=until, invited=invited, given=given)


def group_name(group: GroupOfAgents | None, capability: str) -> str:
    """What a group is called: by its name, else by who is in it."""
    if group is None:
        return capability
    return group.name or group.capability or group.label or ",".join(group.agents)


def _defined(fragment: Fragment, plan: CoordinationPlan, capability: str) -> Defined:
    """What the task's definition says of who is in the group, and how it is led."""
    name, _, version = fragment.plan.ref.partition("@")
    of = _of_group(plan.group, capability)
    return Defined(name, Said(version, plan.ttl_ms, plan.lock_delay_ms, dict(plan.priority), (of,)))


def _of_group(group: GroupOfAgents | None, capability: str) -> Who:
    """Who is in it. A group that only has a name is all that can do the task."""
    if group is None or not (group.capability or group.agents or group.label):
        return Who(capability)
    return Who(group.capability, group.agents, group.label)


def _who(group: GroupOfAgents | None, capability: str) -> Who:
    """Who of it can do the task."""
    of = _of_group(group, capability)
    return Who(capability, of.agents, of.label, of.capability)
