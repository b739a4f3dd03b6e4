"""Agents vote which of them does a task: the protocol `consensus`.

Whoever can do the task may vote, and whoever has room stands for it. Where there is only one, nobody has to be asked. A ballot
that decides nothing is held again, some rounds and ever less often; then `otherwise` holds. The result, with every vote, is in
the award and an event of its own.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import msgspec

from coordination.ballot import BallotClosed, result_of
from coordination.tallying import Rule, Terms, Tie
from edge.coordinating.members import belongs, has_room, who_may
from edge.coordinating.seeker import Giving, Lot, Negotiation, Seeker
from edge.home import Home
from edge.roster import Slot
from edge.voting.polls import Question
from sync.values import AgentId, Now
from workflow.commands import AskVote
from workflow.coordinating import Award
from workflow.fragment import Fragment
from workflow.tasks import CoordinationPlan
from workflow.voting_events import VoteClosed

ROUNDS = 3
BACKOFF_MS, BACKOFF_MS_MAX = 500, 30_000
VOTERS_MAX = 100
WEIGHT_UNITS = 1_000
"""Weights of definitions have fractions; ballots count whole units."""
PARAMETER_BYTES_MAX = 16_384


@dataclass(slots=True)
class Wanted:
    """A task that is voted on, or will be: in which round, not before when (monotonic ms), since when (UTC ms)."""

    plan: CoordinationPlan
    since_ms: int
    round: int = 1
    due_ms: int = 0
    ballot: str = ""
    why: str = "waits for an agent that can do it and has room"
    closed: BallotClosed | None = None


@dataclass(slots=True)
class Consensus(Seeker):
    """The protocol `consensus`."""

    protocol: ClassVar[str] = "consensus"
    home: Home
    giving: Giving
    wanted: dict[Lot, Wanted] = field(default_factory=dict)

    def seek(self, fragment: Fragment, task: int, plan: CoordinationPlan, now: Now, out: list[object]) -> None:
        lot = Lot(fragment.run, task)
        known = self.wanted.get(lot)
        if known is not None and known.plan == plan:
            return
        self.withdraw(lot)
        self.wanted[lot] = Wanted(plan, now.wall_ms)

    def withdraw(self, lot: Lot) -> None:
        known = self.wanted.pop(lot, None)
        if known is not None and known.ballot:
            self.home.polls.withdraw(known.ballot)

    def wake_mono_ms(self) -> int | None:
        return min((each.due_ms for each in self.wanted.values() if each.due_ms or each.closed is not None), default=None)

    def counts(self) -> dict[str, int]:
        return {f"vote_{code}": count for code, count in self.home.polls.refused.items()}

    def settle(self, now: Now, out: list[object]) -> None:
        for lot, each in list(self.wanted.items()):
            if self.wanted.get(lot) is not each:
                continue  # What was awarded just now has taken it along.
            if each.closed is not None:
                self._conclude(lot, each, each.closed, now, out)
            elif each.ballot and not self.giving.is_sought(lot):
                self.giving.forget(lot)
            elif not each.ballot and now.mono_ms >= each.due_ms:
                self._ask(lot, each, now, out)

    def _ask(self, lot: Lot, each: Wanted, now: Now, out: list[object]) -> None:
        fragment = self.home.fragments.get(lot.run)
        if fragment is None or not self.giving.is_sought(lot):
            self.giving.forget(lot)
            return
        each.due_ms = 0
        roster, who = self.home.roster, who_may(fragment.task(lot.task), each.plan.group)
        if not has_room(roster, who):
            return
        voters = [slot for _, slot in sorted(roster.slots.items()) if slot.present and belongs(slot, who)][:VOTERS_MAX]
        if len(voters) < each.plan.quorum:
            each.why = f"{each.plan.quorum} must vote, and {len(voters)} are here"
            self._again(lot, each, None, now, out)
            return
        # Who has just lost its line, or has not come back since a restart, may be chosen too: it is there until its lease ends.
        free = [
            slot for slot in voters if (roster.assigner.room(slot.agent) if slot.session else slot.capacity - slot.load()) > 0
        ]
        if len(free) == len(voters) == 1:
            award = Award("only candidate", f"{free[0].agent} alone can do it and has room", each.round)
            self.giving.give(lot, free[0].agent, (self.protocol, award), now, out)
        elif free:
            self._open(lot, each, fragment, voters, free, now, out)

    def _open(
        self, lot: Lot, each: Wanted, fragment: Fragment, voters: list[Slot], free: list[Slot], now: Now, out: list[object]
    ) -> None:
        plan, name = each.plan, fragment.id_of(lot.task)
        terms = terms_of(plan, [slot.agent for slot in voters], [slot.agent for slot in free])
        epoch = fragment.version + 1
        self.home.decide(fragment, AskVote(lot.task, self.protocol, tuple(sorted(terms.weights))), now, out)
        details = msgspec.json.encode({"parameters": self._parameters(lot), "candidates": _shown(free)})
        capability = fragment.task(lot.task).capability
        question = Question(lot.run, lot.task, name, capability, f"Who does {name}?", details, plan.wait_ms, self.protocol)
        each.ballot, each.why = f"{lot.run}/{name}", "agents vote"
        self.home.polls.begin(epoch, question, terms, lambda closed, _now, _out: self._closed(lot, each, closed), now, out)

    def _parameters(self, lot: Lot) -> msgspec.Raw:
        told = self.giving.parameters_of(lot)
        return msgspec.Raw(told if 0 < len(told) <= PARAMETER_BYTES_MAX else b"{}")

    def _closed(self, lot: Lot, each: Wanted, closed: BallotClosed) -> None:
        if self.wanted.get(lot) is each:
            each.ballot, each.closed = "", closed

    def _conclude(self, lot: Lot, each: Wanted, closed: BallotClosed, now: Now, out: list[object]) -> None:
        each.closed = None
        fragment = self.home.fragments.get(lot.run)
        if fragment is None or not self.giving.is_sought(lot):
            self.giving.forget(lot)
            return
        said = VoteClosed(lot.task, closed.epoch, closed.option, msgspec.json.encode(result_of(closed)))
        self.home.fold(fragment, [said], out)
        self.home.changed[lot.run] = None
        if closed.option:
            award = (self.protocol, award_of(closed, each.round))
            if self.giving.give(lot, AgentId(closed.option), award, now, out) != "no_room":
                return
            each.why = f"{closed.option} was chosen, and has no room any more"
        else:
            each.why = f"no decision ({closed.reason}) in round {each.round}"
        self._again(lot, each, closed, now, out)

    def _again(self, lot: Lot, each: Wanted, closed: BallotClosed | None, now: Now, out: list[object]) -> None:
        if each.plan.otherwise != "wait" and each.round >= ROUNDS:
            blank = Award(each.plan.rule, each.why, each.round)
            award = self.protocol, award_of(closed, each.round, each.why) if closed is not None else blank
            self.giving.give_up(lot, each.plan.otherwise, award, "no_consensus", now, out)
            return
        each.due_ms = now.mono_ms + min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** min(each.round, 10))
        each.round += 1

    def explain(self, lot: Lot, now: Now) -> Negotiation | None:
        each = self.wanted.get(lot)
        if each is None:
            return None
        poll = self.home.polls.open.get(each.ballot)
        found = Negotiation(*lot, self.protocol, "open" if poll is not None else "waiting", each.why, each.round, each.since_ms)
        if poll is None:
            return found
        ballot = poll.ballot
        until = now.wall_ms + ballot.deadline_mono_ms - now.mono_ms
        given: list[dict[str, object]] = [{"agent": agent, "option": option} for agent, option in sorted(ballot.votes.items())]
        waits_for = ", ".join(ballot.waited_for()[:20]) or "nobody"
        why = f"{len(ballot.votes)} of {len(ballot.terms.weights)} agents have voted; waits for {waits_for}"
        return msgspec.structs.replace(found, why=why, until=until, invited=sorted(ballot.terms.weights)[:20], given=given[:20])


def terms_of(plan: CoordinationPlan, voters: list[AgentId], candidates: list[AgentId]) -> Terms:
    """What decides, among those who are there."""
    said = {agent: max(1, round(weight * WEIGHT_UNITS)) for agent, weight in plan.weights}
    here = set(voters)
    vetoes = tuple(agent for agent in plan.veto if agent in here)
    rule = Rule(plan.rule or Rule.MAJORITY)
    return Terms(
        options=tuple(sorted(candidates)),
        weights={agent: said.get(agent, WEIGHT_UNITS) for agent in voters},
        rule=rule if rule is not Rule.VETO or vetoes else Rule.MAJORITY,
        quorum=plan.quorum or 1,
        tie=Tie(plan.tie or Tie.LOWEST),
        vetoes=vetoes,
        no="",
    )


def award_of(closed: BallotClosed, number: int, why: str = "") -> Award:
    """What the award says of the ballot: every vote, who did not vote, the rule and the reason."""
    given: list[dict[str, object]] = [{"agent": agent, "option": option or None} for agent, option in closed.votes.items()]
    missing: list[dict[str, object]] = [{"agent": agent, "code": reason} for agent, reason in closed.missing.items()]
    reason = why or f"{closed.option} has {closed.tally[closed.option]} of {sum(closed.tally.values())} ({closed.reason})"
    return Award(closed.rule, reason, number, given, missing, sorted(closed.weights))


def _shown(free: list[Slot]) -> dict[str, dict[str, object]]:
    return {slot.agent: {"load": slot.load(), "capacity": slot.capacity, "labels": slot.labels} for slot in free}
