"""Plans of leaders on the wire: rows of `edge.talk`."""

from collections.abc import Callable
from typing import Any

from coordination.delegating import TASKS_MAX, Wanted
from edge.leading.inputs import AnswerLeader, AskLeader, LeaderSpoke, PlanMade, TellLeader
from tiercel.v1 import agent_pb2

PLANS_MAX = 1
"""A leader answers one question with one plan; a message carries one."""
NAME_CHARACTERS_MAX = 500


def _plan(session: int, agent: str, plans: Any) -> PlanMade:
    if len(plans.items) != PLANS_MAX or len(plans.items[0].items) > 2 * TASKS_MAX:
        raise ValueError(
            f"{len(plans.items)} plans in one message, or more than {2 * TASKS_MAX} assignments in one; send one plan"
        )
    said, cut = plans.items[0], NAME_CHARACTERS_MAX
    plan = [Wanted(item.task[:cut], item.agent[:cut]) for item in said.items]
    return PlanMade(session, agent, said.group[:cut], said.epoch, said.number, plan, said.by_site)


def _word(session: int, agent: str, word: Any) -> LeaderSpoke:
    cut = NAME_CHARACTERS_MAX
    return LeaderSpoke(session, agent, word.group[:cut], word.epoch, word.successor[:cut])


def _request(order: AskLeader) -> agent_pb2.EdgeMessage:
    tasks = [agent_pb2.LeadTask(**task._asdict()) for task in order.tasks]
    followers = [agent_pb2.LeadFollower(**one._asdict(), labels=labels) for one, labels in order.followers]
    request = agent_pb2.LeadRequest(
        group=order.group, epoch=order.epoch, number=order.number, tasks=tasks, followers=followers, due_ms=order.due_ms
    )
    return agent_pb2.EdgeMessage(lead_requests=agent_pb2.LeadRequests(items=[request]))


def _reply(order: AnswerLeader) -> agent_pb2.EdgeMessage:
    refused = [agent_pb2.LeadRefusal(**one._asdict()) for one in order.refused]
    reply = agent_pb2.LeadReply(group=order.group, epoch=order.epoch, number=order.number, refused=refused)
    return agent_pb2.EdgeMessage(lead_replies=agent_pb2.LeadReplies(items=[reply]))


def _leadership(order: TellLeader) -> agent_pb2.EdgeMessage:
    told = agent_pb2.Leadership(group=order.group, epoch=order.epoch, leader=order.leader, ttl_ms=order.ttl_ms)
    return agent_pb2.EdgeMessage(leadership=told)


HEARS: dict[str, Callable[[int, str, Any], object]] = {"lead_plans": _plan, "leader_word": _word}
SAYS: dict[type, Callable[[Any], agent_pb2.EdgeMessage]] = {AskLeader: _request, AnswerLeader: _reply, TellLeader: _leadership}
