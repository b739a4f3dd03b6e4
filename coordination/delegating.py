"""A leader's plan: which of the tasks that it was asked about goes to which of its followers, and what of it counts.

A plan is asked for under a number and the epoch of the leader's term. What comes back counts only while both hold; of the rest
each assignment stands for itself, so that one mistake does not hold up the others. Without a word of the leader's own, and where
it has no opinion, the least loaded follower with room gets the task.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from coordination.leading import Group

TASKS_MAX = 200
"""A leader is asked about so many tasks at once; the others wait for the next time."""


class Follower(NamedTuple):
    """A member of the group, the leader too, with what it holds and how much it takes."""

    agent: str
    load: int
    capacity: int


class Wanted(NamedTuple):
    """One assignment of a plan. `agent` empty: the leader leaves the task for later."""

    task: str
    agent: str


class Refused(NamedTuple):
    """What does not count, and why; `task` empty: all of it. Codes of a plan: old_epoch, not_leader, old_plan, unknown_task,
    unknown_follower, full, twice; of a leader's word (`edge.leading.heirs`) the first two, and what its heir lacks."""

    task: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a leader was asked: these tasks, these followers, under this epoch and number."""

    number: int
    epoch: int
    leader: str
    tasks: tuple[str, ...]
    followers: tuple[Follower, ...]
    due_ms: int


@dataclass(slots=True)
class Judged:
    """A plan that was looked at: who gets what, what is left for later, what was refused."""

    given: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def refusal_of(group: Group, agent: str, epoch: int) -> Refused | None:
    """Why nothing counts that `agent` says under `epoch` as the leader of the group."""
    if not (why := group.admits(agent, epoch)):
        return None
    return Refused("", "old_epoch" if epoch != group.term.epoch or not group.term.leader else "not_leader", why)


def judge_plan(group: Group, asked: Asked | None, agent: str, epoch: int, number: int, plan: Iterable[Wanted]) -> Judged:
    """What counts of a plan that `agent` gave under `epoch` as the answer to `number`."""
    if refused := refusal_of(group, agent, epoch):
        return Judged(refused=[refused])
    if asked is None or asked.number != number or asked.epoch != epoch:
        return Judged(refused=[Refused("", "old_plan", f"group {group.name} was not asked under number {number}, or no more")])
    judged, room = Judged(), {one.agent: one.capacity - one.load for one in asked.followers}
    for task, follower in plan:
        if refused := _refusal(asked, judged, room, task, follower):
            judged.refused.append(refused)
        elif not follower:
            judged.left.append(task)
        else:
            room[follower] -= 1
            judged.given[task] = follower
    return judged


def _refusal(asked: Asked, judged: Judged, room: Mapping[str, int], task: str, follower: str) -> Refused | None:
    if task not in asked.tasks:
        return Refused(task, "unknown_task", f"task {task} was not asked about")
    if task in judged.given or task in judged.left:
        return Refused(task, "twice", f"task {task} is in the plan twice: the first time counts")
    if follower and follower not in room:
        return Refused(task, "unknown_follower", f"{follower} is no member that can do task {task}")
    if follower and room[follower] <= 0:
        return Refused(task, "full", f"{follower} has no room for task {task}")
    return None


def spread(tasks: Iterable[str], followers: Iterable[Follower]) -> dict[str, str]:
    """Each task to the least loaded follower with room, the lowest name first; tasks for which there is no room are left out."""
    loads = {one.agent: [one.load, one.capacity] for one in followers}
    given: dict[str, str] = {}
    for task in tasks:
        free = [(load, agent) for agent, (load, capacity) in loads.items() if load < capacity]
        if not free:
            break
        _, agent = min(free)
        loads[agent][0] += 1
        given[task] = agent
    return given
