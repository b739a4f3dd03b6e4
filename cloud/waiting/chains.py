"""For whom a task waits, for whom that one waits, and so on, as a sentence."""

from cloud.runs import Run
from cloud.waiting.graph import CloudWaits, parted, place
from coordination.deadlock_events import Waited, words
from coordination.waits import Node, Step, circle_from, stuck, trail

STEPS_MAX = 12


def chain_of(waits: CloudWaits, site: str, run: Run, task: str) -> str:
    """Empty if the task waits for nobody, or only for somebody who waits for nobody."""
    fragment = run.fragment(site)
    if fragment is None:
        return ""
    node = Node(place(site, run.id), fragment.index_of(task))
    left = stuck([node], waits.expand)
    if node in left:
        circle = circle_from(left, node)[:STEPS_MAX]
        return f"they wait for each other: {_told(waits, circle)}; one of them gives way within seconds"
    steps = trail(node, waits.expand, STEPS_MAX)
    if sum(step.kind in ("resource", "child", "sync_point", "barrier", "dependency") for step in steps) < 2:
        return ""
    end = Waited(parted(steps[-1].on.run)[1], waits.name(steps[-1].on), "", "")
    return _told(waits, steps, end)


def _told(waits: CloudWaits, steps: list[Step], end: Waited | None = None) -> str:
    told = [Waited(parted(step.node.run)[1], waits.name(step.node), step.kind, step.what) for step in steps]
    return words(told, end)
