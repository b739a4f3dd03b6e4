"""A task's context without an agent around it: what a capability sees of one attempt."""

import json

from tiercel.context import TaskContext
from tiercel.lease import Lease
from tiercel.v1 import agent_pb2
from workflow.homes import attempt_epoch


def context(
    run: str = "run-1",
    task: str = "write",
    attempt: int = 1,
    agent: str = "a1",
    effect: str = "repeatable",
    given: object = None,
    home: int = 2,
) -> TaskContext:
    """The context of one attempt, ordered by the run's home of this epoch; `given` are the parameters as the workflow gave them,
    before secrets were resolved."""
    assignment = agent_pb2.Assignment(
        key=agent_pb2.AttemptKey(run=run, task=0, attempt=attempt, epoch=attempt_epoch(home, attempt)),
        task_name=task,
        effect=agent_pb2.Effect.Value(f"EFFECT_{effect.upper()}"),
        parameters=json.dumps(given or {}).encode(),
    )
    return TaskContext(agent, assignment, Lease(), lambda fraction, note: None)
