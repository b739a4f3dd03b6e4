"""Votes on the wire: rows of `edge.talk`."""

from collections.abc import Callable
from typing import Any

from edge.voting.inputs import AgentVoted, AnswerVotes, ProposeVotes, Said
from tiercel.v1 import agent_pb2

VOTES_MAX = 1_000
NAME_CHARACTERS_MAX = 500


def _heard(session: int, agent: str, votes: Any) -> AgentVoted:
    if len(votes.items) > VOTES_MAX:
        raise ValueError(f"{len(votes.items):,} votes in one message; at most {VOTES_MAX:,} are taken")
    cut = NAME_CHARACTERS_MAX
    return AgentVoted(session, agent, [Said(item.ballot[:cut], item.epoch, item.option[:cut]) for item in votes.items])


def _proposals(order: ProposeVotes) -> agent_pb2.EdgeMessage:
    items = [agent_pb2.Proposal(**item._asdict()) for item in order.items]
    return agent_pb2.EdgeMessage(proposals=agent_pb2.Proposals(items=items))


def _replies(order: AnswerVotes) -> agent_pb2.EdgeMessage:
    items = [
        agent_pb2.VoteReply(
            ballot=item.ballot,
            epoch=item.epoch,
            counted=not item.code,
            code=item.code,
            message=item.message,
            result=item.result,
        )
        for item in order.items
    ]
    return agent_pb2.EdgeMessage(vote_replies=agent_pb2.VoteReplies(items=items))


HEARS: dict[str, Callable[[int, str, Any], object]] = {"votes": _heard}
SAYS: dict[type, Callable[[Any], agent_pb2.EdgeMessage]] = {ProposeVotes: _proposals, AnswerVotes: _replies}
