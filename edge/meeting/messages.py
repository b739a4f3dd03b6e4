"""Sync points as agents are shown them."""

from edge.points import Refusal
from sync.points.showing import PointView
from tiercel.v1 import sync_point_pb2


def shown_message(view: PointView) -> sync_point_pb2.PointShown:
    """A point as it travels."""
    return sync_point_pb2.PointShown(
        point=view.point,
        state=view.state,
        generation=view.generation,
        here=[sync_point_pb2.PointParty(agent=p.agent, since_ms=p.since, place=p.place) for p in view.here],
        missing=view.missing,
        lacking=view.lacking,
        gone=view.gone,
        since_ms=view.since,
        deadline_ms=view.deadline,
        parties=view.parties,
        code=view.code,
        reason=view.reason,
        ended_ms=view.ended,
        cyclic=view.cyclic,
    )


def answer_message(answer: PointView | Refusal) -> sync_point_pb2.PointAnswer:
    """The point, or why not."""
    if isinstance(answer, Refusal):
        return sync_point_pb2.PointAnswer(refused=refused_message(answer))
    return sync_point_pb2.PointAnswer(shown=shown_message(answer))


def refused_message(refusal: Refusal) -> sync_point_pb2.PointRefused:
    return sync_point_pb2.PointRefused(code=refusal.code, message=refusal.reason)
