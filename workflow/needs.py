"""Who waits for whom: the needs of a draft as numbers, an order to run in, and who is upstream of whom."""

from collections.abc import Sequence
from dataclasses import dataclass

from workflow.flatten import Draft, Level
from workflow.graph import Needs, find_cycles, not_upstream, topological_order
from workflow.parts import Need, NeedItem
from workflow.problems import Problems

CYCLE_TASKS_SHOWN_MAX = 20


@dataclass(slots=True)
class Upstream:
    """What is asked after the order: can a task start before another has ended? A group starts, and it ends: two nodes, between
    which its members lie."""

    needs: Needs
    starts: Sequence[int]
    finishes: Sequence[int]

    def refused(self, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Of the pairs (task, other), those where `task` can start before `other` has ended."""
        asked = {(self.starts[task], self.finishes[other]): (task, other) for task, other in pairs}
        return sorted(asked[pair] for pair in not_upstream(self.needs, list(asked)))


def arrange(draft: Draft, problems: Problems) -> Upstream:
    """Find the needs and the order of a draft, and set them in it; what is wrong is added to `problems`."""
    written = _written(draft, problems)
    order = topological_order(written)
    draft.is_ordered = len(order) == len(written)
    if not draft.is_ordered:
        for cycle in find_cycles(written, order):
            _add_cycle(cycle, draft, problems)
        order = list(range(len(written)))
    nodes: _Nodes | None = None
    if draft.is_ordered and draft.groups:
        nodes = _Nodes(draft, written)
        order = nodes.order
    draft.order = order
    places = draft.index = [0] * len(order)
    for place, number in enumerate(order):
        places[number] = place
    draft.needs = [tuple(sorted([places[need] for need in written[number]])) for number in order]
    if draft.fallbacks or draft.ends:
        draft.fallbacks = {(places[need], places[task]) for need, task in draft.fallbacks}
        draft.ends = {(places[need], places[task]) for need, task in draft.ends}
    if nodes is None:
        own = range(len(order))
        return Upstream(draft.needs, own, own)
    return nodes.upstream()


class _Nodes:
    """A draft with groups as a graph in which a group is two nodes, its start before its members and its end after them."""

    def __init__(self, draft: Draft, written: Needs) -> None:
        self._start: list[int] = []
        self._end: dict[int, int] = {}
        closing: dict[int, list[int]] = {}
        for group, last in draft.last.items():
            closing.setdefault(last, []).append(group)
        count = 0
        numbers: dict[int, int] = {}
        for number in range(len(written)):
            self._start.append(count)
            numbers[count] = number
            count += 1
            # Inner groups were closed first when they were collected, and are so here.
            for group in closing.get(number, ()):
                self._end[group] = count
                count += 1
        self._needs: list[list[int]] = [[] for _ in range(count)]
        for number, level in enumerate(draft.levels):
            self._needs[self._start[number]] += map(self._finish, written[number])
            if level.group >= 0:
                self._needs[self._start[number]].append(self._start[level.group])
                self._needs[self._end[level.group]].append(self._finish(number))
        self._ranked = topological_order(self._needs)
        self.order = [numbers[node] for node in self._ranked if node in numbers]

    def _finish(self, number: int) -> int:
        return self._end.get(number, self._start[number])

    def upstream(self) -> Upstream:
        rank = {node: place for place, node in enumerate(self._ranked)}
        needs = [[rank[need] for need in self._needs[node]] for node in self._ranked]
        starts = [rank[self._start[number]] for number in self.order]
        return Upstream(needs, starts, [rank[self._finish(number)] for number in self.order])


# Needs as they are written --------------------------------------------------------------------------------------------


def _written(draft: Draft, problems: Problems) -> list[list[int]]:
    """The needs of each task as numbers in the order of writing. A need that is met by more than success is noted apart."""
    needs: list[list[int]] = []
    previous: dict[int, int] = {}
    for number, (task, level) in enumerate(zip(draft.tasks, draft.levels, strict=True)):
        numbers = level.numbers
        if level.is_sequence:
            _refuse_needs(draft, number, problems)
            needs.append([previous[level.group]] if level.group in previous else [])
            previous[level.group] = number
            continue
        wanted = task.needs
        known = [numbers[need] for need in wanted if need in numbers]
        if len(known) < len(wanted) or (len(known) > 1 and len(set(known)) < len(known)):
            known = _needed(draft, number, level, wanted, problems)
        if task.join > len(wanted):
            place = (*draft.place(number), "join")
            problems.add(place, f"join asks for {task.join} of {len(wanted)} needs", "as many as there are needs")
        needs.append(known)
    return needs


def _refuse_needs(draft: Draft, number: int, problems: Problems) -> None:
    task = draft.tasks[number]
    for word, given in (("needs", task.needs), ("join", task.join)):
        if given:
            problems.add((*draft.place(number), word), f"in a sequence nobody has {word}", "the order of writing; or parallel")


def _needed(draft: Draft, number: int, level: Level, needs: list[NeedItem], problems: Problems) -> list[int]:
    """The needs of a task that names some in the long form, or wrong ones."""
    numbers, found = level.numbers, dict[int, None]()
    for position, need in enumerate(needs):
        name, after = (need.task, need.after) if isinstance(need, Need) else (need, "success")
        place = (*draft.place(number), "needs", position)
        known = numbers.get(name)
        if known is None:
            problems.add_unknown(place, "task", name, numbers)
        elif known in found:
            problems.add(place, f"task {name!r} is named twice", "each task once")
        else:
            found[known] = None
            if after == "failure":
                draft.fallbacks.add((known, number))
            elif after == "end":
                draft.ends.add((known, number))
    return list(found)


def _add_cycle(cycle: list[int], draft: Draft, problems: Problems) -> None:
    first = cycle.index(min(cycle))
    names = [draft.ids[number] for number in (*cycle[first:], *cycle[:first])]
    left_out = len(names) - CYCLE_TASKS_SHOWN_MAX
    shown = [*names[:CYCLE_TASKS_SHOWN_MAX], f"... ({left_out} more)"] if left_out > 0 else names
    message = f"tasks need each other in a circle: {' -> '.join([*shown, names[0]])}"
    problems.add((*draft.place(cycle[first]), "needs"), message, "needs without circles")
