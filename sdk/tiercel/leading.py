"""How an agent leads a group: the site asks its leader who does what, a function of the agent's author answers.

@agent.lead("cranes")
def plan(lead: Lead) -> dict[str, str | None]:
    near = min(lead.followers, key=lambda one: one.load)
    return {task.id: near.agent for task in lead.tasks}       # None: later
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiercel.asking import Asking
from tiercel.concern import Concern, Hear
from tiercel.holding import Holder
from tiercel.lease import STOP_SHARE, Lease
from tiercel.outbox import Outbox
from tiercel.v1 import agent_pb2

log = logging.getLogger("tiercel.leading")
Planner = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class LeadTask:
    """A task that wants somebody. `parameters` are empty if they are large."""

    id: str
    run: str
    name: str
    capability: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Follower:
    """A member of the group that can do the tasks; the leader is one, too."""

    agent: str
    load: int
    capacity: int
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Lead:
    """What a leader is asked: who of the followers does which of the tasks, within `due_s`. The answer counts under `epoch`
    alone."""

    group: str
    epoch: int
    number: int
    tasks: tuple[LeadTask, ...]
    followers: tuple[Follower, ...]
    due_s: float


@dataclass(frozen=True, slots=True)
class Term:
    """A term of this agent, and until when it counts by its own clock: from when it sent a heartbeat that the site acknowledged
    as one of the leader. Before there was one, it may not act by it."""

    epoch: int
    holder: Holder


@dataclass(slots=True)
class Leading(Concern):
    """Answers for the groups that the agent leads. `terms` has those that it leads as far as it knows; a new session knows of
    none before it is told."""

    name: str
    planners: Mapping[str, Planner]
    asking: Asking
    outbox: Outbox
    lease: Lease
    terms: dict[str, Term] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)  # What did not count of plans and words, by code.

    def features(self) -> tuple[str, ...]:
        return ("leads",)

    def hears(self) -> Mapping[str, Hear]:
        return {"lead_requests": self._asked, "leadership": self._told, "lead_replies": self._refused}

    def opened(self) -> None:
        self.terms.clear()

    def renewed(self, acknowledged: Any, sent_s: float) -> None:
        for kept in acknowledged.terms:
            term = self.terms.get(kept.group)
            if term is not None and term.epoch == kept.epoch:
                term.holder.renew(sent_s * 1_000)

    def leads(self, group: str) -> int:
        """The epoch under which the agent may act as leader now, by its own clock; 0: it may not."""
        term = self.terms.get(group)
        return term.epoch if term is not None and term.holder.may_act(*self.lease.clocks_ms()) else 0

    def hand_over(self, group: str, successor: str) -> bool:
        """Give the term back, to this member or whoever is next; False if the agent does not lead the group, as far as it
        knows. From here on it does not: a site that has not heard it, or refuses it, says so."""
        term = self.terms.get(group)
        if term is None:
            return False
        word = agent_pb2.LeaderWord(group=group, epoch=term.epoch, successor=successor)
        if is_said := self.outbox.add(agent_pb2.AgentMessage(leader_word=word)):
            del self.terms[group]
        return is_said

    def _told(self, told: Any) -> None:
        known = self.terms.get(told.group)
        if told.leader == self.name:
            if known is None or known.epoch != told.epoch:
                holder = Holder(told.ttl_ms or self.lease.lease_ms, STOP_SHARE)
                holder.see(*self.lease.clocks_ms())
                self.terms[told.group] = Term(told.epoch, holder)
        elif known is not None and known.epoch <= told.epoch:
            del self.terms[told.group]

    def _asked(self, requests: Any) -> None:
        for request in requests.items:
            lead = _lead(request)
            planner = self.planners.get(lead.group) or self.planners.get("")
            if planner is None:
                self._say(lead, {}, by_site=True)
            else:
                self._plan(lead, planner)

    def _plan(self, lead: Lead, planner: Planner) -> None:
        def then(answer: Any) -> None:
            plan = _checked(lead, answer)
            self._say(lead, plan or {}, by_site=plan is None)

        def failed(_: Exception) -> None:
            self._say(lead, {}, by_site=True)

        self.asking.ask(f"the plan for {lead.group}", planner, lead, max(lead.due_s, 0.001), then, failed)

    def _say(self, lead: Lead, plan: Mapping[str, str | None], *, by_site: bool) -> None:
        items = [agent_pb2.LeadAssignment(task=task, agent=agent or "") for task, agent in plan.items()]
        said = agent_pb2.LeadPlan(group=lead.group, epoch=lead.epoch, number=lead.number, items=items, by_site=by_site)
        self.outbox.add(agent_pb2.AgentMessage(lead_plans=agent_pb2.LeadPlans(items=[said])))

    def _refused(self, replies: Any) -> None:
        for reply in replies.items:
            what = "the plan for" if reply.number else "what it said as the leader of"
            for refused in reply.refused:
                self.refused[refused.code] += 1
                log.warning(
                    "agent %s: %s %s does not count (%s): %s", self.name, what, reply.group, refused.code, refused.message
                )


def _checked(lead: Lead, answer: Any) -> dict[str, str | None] | None:
    """The plan, or None for no opinion. What is no plan is said, and counts as none."""
    if answer is None:
        return None
    if isinstance(answer, Mapping) and all(isinstance(a, str | None) and isinstance(task, str) for task, a in answer.items()):
        return dict(answer)
    log.error("the plan for %s is %r: wanted is a mapping of task ids to agents; the site spreads the tasks", lead.group, answer)
    return None


def _lead(request: Any) -> Lead:
    tasks = [LeadTask(t.id, t.run, t.task_name, t.capability, json.loads(t.parameters or b"{}")) for t in request.tasks]
    followers = [Follower(one.agent, one.load, one.capacity, dict(one.labels)) for one in request.followers]
    return Lead(request.group, request.epoch, request.number, tuple(tasks), tuple(followers), request.due_ms / 1000)
