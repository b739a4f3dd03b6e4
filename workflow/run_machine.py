"""The life of a run and of a task as machines, and what people may ask of a run in which state.

A run with several tasks under way is where the foremost of them is, so inside `active` any place may follow any other. An end
is final in that nothing leads on by itself; `retry`, `rerun` and `rollback` open it again.
"""

from collections.abc import Collection, Mapping

from workflow.machine import Composite, Machine
from workflow.problems import choices

STEPS = ("step_preparation", "step_execution", "step_validation", "step_cleanup")
_EXECUTING = tuple(f"active.executing.{step}" for step in STEPS)
_WORKING = ("active.executing", *_EXECUTING, "active.waiting_for_resource", "active.synchronizing")

RUN = Machine.build(
    "a run",
    {
        "pending": None,
        "active": Composite(
            {
                "initializing": None,
                "executing": Composite(dict.fromkeys(STEPS), initial=STEPS[0]),
                "waiting_for_resource": None,
                "synchronizing": None,
            },
            initial="initializing",
            history=True,
        ),
        "paused": None,
        "completed": None,
        "failed": None,
        "cancelled": None,
    },
    {
        "pending": ("active", "paused", "failed", "cancelled"),
        "active": (*_WORKING, "paused", "completed", "failed", "cancelled"),
        "paused": ("active.*", "pending", "failed", "cancelled"),
        "completed": ("active",),
        "failed": ("active",),
        "cancelled": ("active",),
    },
    initial="pending",
    final=("completed", "failed", "cancelled"),
)

_AGAIN = ("pending", "ready")
TASK = Machine.build(
    "a task",
    dict.fromkeys(
        (
            *("pending", "ready", "waiting", "waiting_for_resource", "offered", "running", "validating"),
            *("completed", "failed", "skipped", "cancelled", "unreachable", "reconcile"),
        )
    ),
    {
        "pending": ("ready", "skipped", "cancelled"),
        # A check, a group or a wait has nobody to be offered to, and a result that is kept needs nobody.
        "ready": (
            *("waiting_for_resource", "offered", "running", "waiting", "validating"),
            *("completed", "failed", "skipped", "cancelled"),
        ),
        "waiting": ("ready", "waiting_for_resource", "offered", "running", "completed", "failed", "skipped", "cancelled"),
        "waiting_for_resource": ("ready", "offered", "running", "validating", "completed", "failed", "skipped", "cancelled"),
        "offered": ("running", "ready", "waiting", "failed", "skipped", "cancelled"),
        "running": ("validating", "completed", "waiting", "ready", "unreachable", "reconcile", "failed", "skipped", "cancelled"),
        # Silent is not dead: its agent may come back, with the result even.
        "unreachable": ("running", "validating", "completed", "waiting", "ready", "reconcile", "failed", "skipped", "cancelled"),
        "validating": ("completed", "waiting", "ready", "failed", "skipped", "cancelled"),
        "reconcile": ("completed", "validating", "ready", "failed", "skipped", "cancelled"),
        "completed": _AGAIN,
        "failed": (*_AGAIN, "skipped"),
        "skipped": _AGAIN,
        "cancelled": _AGAIN,
    },
    initial="pending",
    final=("completed", "failed", "skipped", "cancelled"),
)

# By the state of the run, or one around it. What ended has left memory: only what opens it again or begins anew is allowed there.
_LIVE = (
    "cancel",
    "terminate",
    "retry",
    "skip",
    "rerun",
    "rollback",
    "signal",
    "update",
    "prioritise",
    "autonomy",
    "coordination",
    "checkpoint",
    "fork",
)
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "pending": ("pause", "resume", "cancel", "terminate", "prioritise", "fork"),
    "active": ("pause", *_LIVE),
    "paused": ("resume", *_LIVE),
    "completed": ("rerun", "rollback", "fork"),
    "failed": ("retry", "rerun", "rollback", "fork"),
    "cancelled": ("rerun", "rollback", "fork"),
}
# What may be asked of one task, by its state; the run's state must allow it, too.
TASK_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "failed": ("retry", "skip"),
    "reconcile": ("retry", "skip"),
    "cancelled": ("retry",),
    **dict.fromkeys(("pending", "ready", "waiting", "waiting_for_resource", "offered"), ("skip",)),
}
ALL_COMMANDS = tuple(dict.fromkeys(command for commands in COMMANDS.values() for command in commands))

# The foremost first: which task's state says where its run is.
_PLACES: tuple[tuple[str, str], ...] = (
    ("validating", "active.executing.step_validation"),
    ("running", "active.executing.step_execution"),
    ("unreachable", "active.executing.step_execution"),
    ("reconcile", "active.executing.step_execution"),
    ("waiting", "active.executing.step_execution"),
    ("offered", "active.executing.step_preparation"),
    ("ready", "active.executing.step_preparation"),
    ("waiting_for_resource", "active.waiting_for_resource"),
)


def run_place(states: Collection[str], *, cleaning: bool = False, synchronizing: bool = False) -> str:
    """Where inside `active` a run is whose tasks have these states. `cleaning`: a clean-up is what runs; `synchronizing`:
    all that is under way waits for other parties."""
    if cleaning and "validating" not in states:  # What is validated is so before its validator is at work.
        return "active.executing.step_cleanup"
    if synchronizing:
        return "active.synchronizing"
    return next((place for state, place in _PLACES if state in states), "active.initializing")


def allowed_commands(path: str) -> tuple[str, ...]:
    """What may be asked of a run that is in this leaf."""
    return next(COMMANDS[state] for state in RUN.around(path) if state in COMMANDS)


def run_refusal(command: str, run: str, path: str) -> str:
    """Why the command is not for this run as it is; empty if it is."""
    allowed = allowed_commands(path)
    if command in allowed:
        return ""
    outermost = [*RUN.around(path)][-1]
    if command not in ALL_COMMANDS:
        return f"there is no command {command}; run {run} is {outermost}; allowed there: {choices(allowed)}"
    return f"run {run} is {outermost}, {command} is for runs that are {_states_for(command)}; allowed there: {choices(allowed)}"


def task_refusal(command: str, run: str, task: str, state: str) -> str:
    """Why the command is not for this task as it is; empty if it is."""
    allowed = TASK_COMMANDS.get(state, ())
    if command in allowed:
        return ""
    return f"task {task} of run {run} is {state}; allowed there: {choices(allowed)}"


def _states_for(command: str) -> str:
    return " or ".join(state for state, commands in COMMANDS.items() if command in commands)
