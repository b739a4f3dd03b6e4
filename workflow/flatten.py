"""The tasks of a definition laid flat: groups become tasks beside their members, bodies of `map` and `repeat` their own graphs.

A *draft* is one graph in the making, the run's or a body's. A *level* is what stands under one `tasks:`, and thereby which names
can be said there: its own first, then those around it.
"""

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field

from workflow.definition import NESTING, TASKS_MAX, TaskDefinition, WorkflowDefinition
from workflow.expression import Expression
from workflow.parts import Service
from workflow.problems import Place, Problems
from workflow.tasks import LOCAL_BITS, Role, TaskPlan
from workflow.template import Template
from workflow.templates import TemplateCompiler

GROUPS_DEPTH_MAX = 8
BODIES_DEPTH_MAX = 3


@dataclass(slots=True, eq=False)
class Level:
    """Tasks that are written together. `numbers` count in the order of writing, within the draft."""

    draft: "Draft"
    place: Place
    outer: "Level | None" = None
    group: int = -1  # The number of the group that they are inside of.
    is_sequence: bool = False
    depth: int = 0  # Of groups around it.
    held: tuple[str, ...] = ()  # The resources that the tasks around it hold.
    numbers: dict[str, int] = field(default_factory=dict)
    maps: tuple[dict[str, int], ...] = ()
    templates: TemplateCompiler | None = None
    site: Template | None = None

    def name(self) -> None:
        """Give the names their numbers in the plan, once the draft is in order; those of the level around come first."""
        base, index = self.draft.depth << LOCAL_BITS, self.draft.index
        own = {name: base | index[number] for name, number in self.numbers.items()}
        self.maps = (own, *(self.outer.maps if self.outer else ()))

    @property
    def visible(self) -> Mapping[str, int]:
        """The tasks that can be named here, by their numbers as `reads` have them."""
        return self.maps[0] if len(self.maps) == 1 else ChainMap(*self.maps)

    @property
    def compiler(self) -> TemplateCompiler:
        assert self.templates is not None, "templates are compiled after the names are known"
        return self.templates


@dataclass(slots=True, eq=False)
class Draft:
    """One graph. Lists of its first part count tasks as they are written, those of the second as they are in the plan."""

    depth: int = 0
    outer: "Draft | None" = None
    owner: int = -1  # The number of the `map` or `repeat` in the outer draft.
    ids: list[str] = field(default_factory=list)
    tasks: list[TaskDefinition] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    groups: dict[int, Level] = field(default_factory=dict)  # What is inside of a group; those around come first.
    last: dict[int, int] = field(default_factory=dict)  # The last task inside of a group.
    bodies: dict[int, "Draft"] = field(default_factory=dict)
    level: Level | None = None
    hidden: list[tuple[int, Role, Service]] = field(default_factory=list)
    # Set by `workflow.needs`.
    order: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    needs: list[tuple[int, ...]] = field(default_factory=list)
    fallbacks: set[tuple[int, int]] = field(default_factory=set)
    ends: set[tuple[int, int]] = field(default_factory=set)
    is_ordered: bool = True
    # Set by `workflow.task_plans`.
    plans: list[TaskPlan] = field(default_factory=list)
    outputs: set[int] = field(default_factory=set)  # Tasks, of this and of outer drafts, whose outputs are read in it.
    outer_reads: set[int] = field(default_factory=set)  # Tasks of outer drafts that are read in it.
    over: Expression | None = None
    again: Expression | None = None

    @property
    def top(self) -> Level:
        """The level that is in no group."""
        assert self.level is not None, "a draft begins with its level"
        return self.level

    def place(self, number: int) -> Place:
        """Where a task is written."""
        return (*self.levels[number].place, self.local(number))

    def local(self, number: int) -> str:
        """The name of a task among its siblings."""
        return self.ids[number].rpartition(".")[2]


def flatten(definition: WorkflowDefinition, problems: Problems) -> list[Draft]:
    """The drafts of a definition: the run's, then those of bodies, each after the one around it."""
    deadlock = definition.deadlock
    collector = _Collector(problems, is_free=deadlock is not None and deadlock.order == "free")
    draft = Draft()
    draft.level = Level(draft, ("tasks",))
    collector.add(draft.level, definition.tasks, "")
    if len(draft.tasks) < collector.count > TASKS_MAX:
        problems.add(("tasks",), f"there are {collector.count:,} tasks, those inside of others counted", f"{TASKS_MAX:,} at most")
    return [draft, *collector.bodies]


class _Collector:
    """Walks through the levels of a definition; what lies too deep is refused and left out."""

    def __init__(self, problems: Problems, *, is_free: bool) -> None:
        """`is_free`: resources may be taken in any order, and a circle is broken when it closes."""
        self.problems = problems
        self.is_free = is_free
        self.bodies: list[Draft] = []
        self.count = 0

    def add(self, level: Level, tasks: Mapping[str, TaskDefinition], prefix: str) -> None:
        draft = level.draft
        for name, task in tasks.items():
            number = len(draft.ids)
            level.numbers[name] = number
            draft.ids.append(prefix + name)
            draft.tasks.append(task)
            draft.levels.append(level)
            if not task.model_fields_set.isdisjoint(_RARE):
                self._add_rare(level, number, task)
        self.count += len(tasks)

    def _add_rare(self, level: Level, number: int, task: TaskDefinition) -> None:
        draft = level.draft
        if task.site is not None and level.place != ("tasks",):
            self.problems.add(
                (*draft.place(number), "site"), "a task inside of another has no site", "the site goes on the group"
            )
        validator = task.validation.service if task.validation else None
        services = (
            (Role.VALIDATE, validator),
            (Role.CLEANUP, task.cleanup),
            (Role.COMPENSATE, task.compensate),
            (Role.RECONCILE, task.reconcile),
        )
        found = [(number, role, service) for role, service in services if service is not None]
        draft.hidden += found
        self.count += len(found)
        held = self._held(level, number, task) if task.resources else level.held
        if group := task.parallel or task.sequential:
            word = "parallel" if task.parallel else "sequential"
            place = (*draft.place(number), word, "tasks")
            if level.depth >= GROUPS_DEPTH_MAX:
                self.problems.add(place, "groups are nested too deep", f"{GROUPS_DEPTH_MAX} levels")
                return
            inner = Level(draft, place, level, number, word == "sequential", level.depth + 1, held)
            draft.groups[number] = inner
            self.add(inner, group.tasks, f"{draft.ids[number]}.")
            draft.last[number] = len(draft.ids) - 1
        elif body := task.map or task.repeat:
            place = (*draft.place(number), "map" if task.map else "repeat", "tasks")
            if draft.depth >= BODIES_DEPTH_MAX:
                self.problems.add(place, "map and repeat are nested too deep", f"{BODIES_DEPTH_MAX} levels")
                return
            copied = Draft(draft.depth + 1, draft, number)
            draft.bodies[number] = copied
            self.bodies.append(copied)
            copied.level = Level(copied, place, level, depth=level.depth, held=held)
            self.add(copied.level, body.tasks, "")

    def _held(self, level: Level, number: int, task: TaskDefinition) -> tuple[str, ...]:
        """Resources are taken in one order of names, or two tasks could wait for each other for ever."""
        names: list[str] = []
        last = max(level.held, default="")
        for position, resource in enumerate(task.resources or ()):
            place = (*level.draft.place(number), "resources", position)
            if resource.name in names:
                self.problems.add(place, f"resource {resource.name!r} is named twice", "each resource once")
            elif resource.name in level.held:
                message = f"a task around this one holds {resource.name!r}: it would wait for what is around it"
                self.problems.add(place, message, "another name, or all units of it on the task around")
            elif resource.name < last and not self.is_free:
                message = (
                    f"a task around this one holds {last!r}, and {resource.name!r} comes no later in the alphabet: taken "
                    "out of order, two such tasks could wait for each other for ever"
                )
                allowed = f"names after {last!r}; or {resource.name!r} on the task around, too; or `deadlock: {{order: free}}`"
                self.problems.add(place, message, allowed)
            names.append(resource.name)
        return (*level.held, *names)


_RARE = NESTING | {"site", "validation", "cleanup", "compensate", "reconcile", "resources"}
