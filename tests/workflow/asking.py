"""What people ask of a run at random: any order, of any task that there is. And what an agent's answer may be."""

from collections.abc import Callable
from typing import Any

import msgspec

from workflow.fragment import Fragment
from workflow.orders import (
    AddTasks,
    Approve,
    EditPlan,
    EndChild,
    Hold,
    Lift,
    Order,
    Pause,
    Prioritise,
    Rerun,
    Resume,
    Retry,
    RollBack,
    Seen,
    Settle,
    Signal,
    Skip,
    TakeCheckpoint,
    Terminate,
    Update,
)
from workflow.planning.editing import read_operations, seen_by
from workflow.states import ABSENT, RECONCILE, STUCK, WAITING
from workflow.tasks import Role

PEOPLE = (
    *("pause", "resume", "signal", "skip", "retry", "rerun", "steps", "version", "back", "named", "update", "hold", "lift"),
    *("settle", "checkpoint", "approve", "child", "priority", "terminate", "cancel", "add", "add", "edit", "edit"),
)


def random_order(fragment: Fragment, what: str, number: int, variant: int) -> Order | None:
    """An order for the run, as far as there is anything to ask; many of them are to be refused."""
    shown = [fragment.id_of(task) for task, state in enumerate(fragment.states) if state not in ABSENT]
    name = shown[(number + variant) % len(shown)]
    stuck = [t for t, s in enumerate(fragment.states) if s in (STUCK, RECONCILE)]
    orders: dict[str, Callable[[], Order | None]] = {
        "pause": lambda: Pause([name] if variant % 2 else []),
        "resume": Resume,
        "signal": lambda: Signal("go", variant),
        "skip": lambda: Skip(name),
        "retry": lambda: Retry([name] if variant % 2 else []),
        "rerun": lambda: Rerun(name),
        "steps": lambda: RollBack(steps=1 + variant % 3),
        "version": lambda: RollBack(version=fragment.version * number // 12),
        "back": lambda: RollBack(task=name),
        "named": lambda: RollBack(checkpoint=f"n{variant}"),
        "update": lambda: Update(name, {"x": variant}),
        "hold": lambda: Hold(name if variant % 3 else "", "r9", "waits for run r9"),
        "lift": lambda: Lift("", "r9", met=variant % 3 > 0),
        "settle": lambda: settlement(fragment, stuck[number % len(stuck)], variant) if stuck else None,
        "checkpoint": lambda: TakeCheckpoint(f"n{variant}"),
        "approve": lambda: approval(fragment, variant),
        "child": lambda: child(fragment, variant),
        "priority": lambda: Prioritise(variant % 10),
        "terminate": lambda: Terminate() if variant == 0 else None,
        "add": lambda: addition(fragment, name, number, variant),
        "edit": lambda: edit(fragment, shown, number, variant),
    }
    return orders[what]() if what in orders else None


def settlement(fragment: Fragment, task: int, variant: int) -> Order:
    return Settle(fragment.id_of(task), ("completed", "failed", "retry")[variant % 3], "ann", {"n": 1})


def approval(fragment: Fragment, variant: int) -> Order | None:
    asked = fragment.extras.approvals if fragment.extras is not None else {}
    if not asked:
        return None
    task, request = next(iter(sorted(asked.items())))
    free = [person for person in request.by or ["ann", "bob"] if person not in request.given]
    return Approve(fragment.id_of(task), free[0] if free else "", variant % 4 > 0, request.hash)


def child(fragment: Fragment, variant: int) -> Order | None:
    children = fragment.extras.children if fragment.extras is not None else {}
    waiting = [run for task, run in sorted(children.items()) if fragment.states[task] == WAITING]
    return EndChild(waiting[0], "completed" if variant % 3 else "failed", 7) if waiting else None


def addition(fragment: Fragment, name: str, number: int, variant: int) -> Order:
    """Some tasks after one that there is (inside a group it may not be named, which is refused), and perhaps before another."""
    fresh = f"x{len(fragment.extras.added) if fragment.extras is not None else 0}"
    tasks = grown(fresh, variant)
    tasks[fresh]["needs"] = [{"task": name, "after": ("success", "end", "failure")[variant % 3]}] if variant % 4 else []
    unbegun = [fragment.id_of(t) for t in range(len(fragment.states)) if fragment.is_unbegun(t) and fragment.parent_of(t) < 0]
    links = {unbegun[number % len(unbegun)]: [fresh]} if unbegun and number % 2 else {}
    return AddTasks(tasks, "ann", links)


def edit(fragment: Fragment, shown: list[str], number: int, variant: int) -> Order:
    """Operations on the plan: a new task between two that there are, an edge, a parameter, a skip; some on what was never so."""
    fresh, name, other = f"e{fragment.version}", shown[number % len(shown)], shown[(number + 1 + variant) % len(shown)]
    operations: list[dict[str, Any]] = [
        {"op": "add_edge", "source": name, "target": other},
        {"op": "put", "node": name, "field": "with.x", "new": variant},
        {"op": "add_node", "id": fresh, "fields": grown(fresh, variant)[fresh]},
        {"op": "add_edge", "source": name, "target": fresh},
        {"op": "add_edge", "source": fresh, "target": other},
        {"op": "del_node", "id": other},
    ]
    chosen = (operations[:1], operations[1:2], operations[2:5], operations[5:], operations[:2])[variant % 5]
    seen = seen_by(fragment, read_operations(chosen))
    if number % 4 == 0:  # It looked otherwise to whoever edits.
        seen = Seen({node: {**fields, "with.x": -1} for node, fields in seen.nodes.items()}, seen.edges[:1])
    return EditPlan(chosen, seen, "ann", latest=number % 4 == 1)


def grown(fresh: str, variant: int) -> dict[str, Any]:
    """One or two new tasks, the first of them named `fresh`."""
    work: dict[str, Any] = {"capability": "pick", "effect": "repeatable", "retry": {"max_attempts": 2, "delay": 1, "jitter": 0}}
    shapes: list[dict[str, Any]] = [
        dict(work),
        {"capability": "pack", "compensate": {"capability": "pick", "effect": "repeatable"}},
        {"wait": {"for": 5}},
        {"parallel": {"tasks": {f"{fresh}-a": work, f"{fresh}-b": work}, "join": "any"}},
        {"map": {"over": "[1, 2]", "tasks": {f"{fresh}-c": work}}},
        {"capability": "pick", "grows": True, "cleanup": {"capability": "pack", "effect": "repeatable"}},
    ]
    tasks = {fresh: shapes[variant % len(shapes)]}
    if variant % 2:
        tasks[f"{fresh}-next"] = {**work, "needs": [fresh]}
    return tasks


def output_of(fragment: Fragment, task: int, variant: int) -> bytes:
    """What an agent gives: a verdict if it was asked for one, more tasks if it may ask for them, else a value."""
    plan = fragment.task(task)
    if plan.role is Role.VALIDATE:
        return b"true" if variant % 3 else b"false"
    if plan.role is Role.RECONCILE:
        return (b'{"outcome":"completed","output":1}', b'{"outcome":"failed"}', b'{"outcome":"retry"}', b"null")[variant % 4]
    if plan.grows and variant % 3:
        fresh = f"g{len(fragment.extras.added) if fragment.extras is not None else 0}"
        return msgspec.json.encode({"tasks": grown(fresh if variant % 5 else "t0", variant), "n": 1})
    return b'{"n":1}' if variant % 5 else b"null"
