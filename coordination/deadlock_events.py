"""What is recorded of circles in which runs waited for each other."""

import msgspec

from sync.event import Event


class Waited(msgspec.Struct, array_like=True, frozen=True):
    """A step of a circle, for people: the task (empty: the run as a whole) waited for `what`, by a wait of this kind, that the
    next one has, or is."""

    run: str
    task: str
    kind: str
    what: str


class DeadlockFound(Event, frozen=True):
    """These waited for each other and for nobody else: each for the next, the last for the first. `victim` (of `victim_run`)
    gives way by `rule`, and `remedy` says how: `wound` (what it has done is undone, and it begins again), `incident` (a person
    decides), `broken_point` (those who wait there are told) or `person` (nobody can give way: somebody has to see to it)."""

    deadlock: str
    circle: list[Waited]
    victim_run: str
    victim: str
    rule: str
    remedy: str
    detail: str = ""


class HolderWounded(Event, frozen=True):
    """Wound-wait: `victim` (of `victim_run`) holds what `yields_to` (of `for_run`) waits for, and waits in vain for another
    that is older or more urgent. It gives way by `rule`, before anybody knows of a circle: what it has done is undone, and it
    begins again. `chain` tells it step by step, the last one waits for `behind` (of `behind_run`)."""

    wound: str
    chain: list[Waited]
    victim_run: str
    victim: str
    for_run: str
    yields_to: str
    behind_run: str
    behind: str
    rule: str


EVENTS = (DeadlockFound, HolderWounded)

_WORDS = {
    "resource": " waits for {what}, held by ",
    "line": " stands in line for {what} behind ",
    "members": ", in which ",
    "run": ", in which ",
    "needs": " begins after ",
    "group": " begins with ",
    "child": " waits for ",
    "sync_point": " is at {what} and waits for ",
    "barrier": " is at {what}, and waits for who would come with ",
    "dependency": " waits for the end of ",
}


def words(steps: list[Waited], end: Waited | None = None) -> str:
    """A circle as a sentence; with an `end`, a chain that leads there."""
    parts = [_place(step) + _WORDS.get(step.kind, " waits for ").format(what=step.what) for step in steps]
    return "".join([*parts, _place(end or steps[0])])


def _place(step: Waited) -> str:
    return f"{step.run}/{step.task}" if step.task else f"run {step.run}"
