"""How often a task has been begun anew: part of the key under which its effect happens once.

Attempts of one generation stand for one and the same effect. After a rollback, a rerun or a person's retry the effect is wanted
once more, so whoever keeps what was done under a key must see another one.
"""

from typing import TYPE_CHECKING
from zlib import crc32

from workflow.states import COMPLETED

if TYPE_CHECKING:
    from workflow.fragment import Fragment


def generation_of(fragment: "Fragment", task: int) -> int:
    """From 0. A copy carries those of the maps and repeats around it: its names are the same when these begin anew."""
    if fragment.extras is None:
        return 0
    known = fragment.extras.generations
    generation, copy = known.get(task, 0), fragment.copy_around(task)
    while copy is not None and copy.owner >= 0:
        generation += known.get(copy.owner, 0)
        copy = fragment.copy_around(copy.owner)
    return generation


def begin_anew(fragment: "Fragment", task: int) -> None:
    """The task will be done once more; that counts if it had been given out, or done by a result that was kept."""
    if fragment.attempt(task) or (fragment.states[task] == COMPLETED and fragment.task(task).cache is not None):
        known = fragment.more().generations
        known[task] = known.get(task, 0) + 1


def outgrow(fragment: "Fragment", owner: int, generation: int) -> None:
    """A map or repeat makes its copies anew: theirs come after `generation`, the highest of those before."""
    known = fragment.more().generations
    known[owner] = known.get(owner, 0) + generation + 1 - generation_of(fragment, owner)


def recovery_key(fragment: "Fragment", task: int) -> int:
    """Under which it is counted how often a task's recovery was used. A map that goes back makes other copies, with other
    numbers: what is in the same place in them goes on counting, or it would go back for ever."""
    if task < len(fragment.plan.tasks):
        return task
    return (1 << 32) | crc32(fragment.id_of(task).encode())
