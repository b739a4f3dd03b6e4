"""The tasks of one run and how they hang together: those of its definition, and what was appended to them at run time."""

from collections.abc import Iterator
from dataclasses import dataclass

from sync.values import RunId
from workflow.extras import Copy, Network
from workflow.plan import Plan
from workflow.states import ABSENT
from workflow.tasks import LOCAL_BITS, After, Graph, Role, TaskPlan


@dataclass(slots=True, kw_only=True)
class Shape:
    """Tasks are integers. Those of the definition come first; the others are in `network`."""

    run: RunId
    plan: Plan
    states: bytearray
    network: Network | None = None

    def is_plain(self) -> bool:
        """Is the run what its plan is: a graph of work, all needs after success? What is added to it need not be, so a run that
        has grown is no longer plain."""
        return self.plan.is_plain and self.network is None

    def task(self, task: int) -> TaskPlan:
        """The plan of a task. Those of a copy count their neighbours from the copy's `base`."""
        beyond = task - len(self.plan.tasks)
        if beyond < 0:
            return self.plan.tasks[task]
        assert self.network is not None, f"run {self.run} has no task {task}"
        return self.network.tasks[beyond]

    def copy_around(self, task: int) -> Copy | None:
        """The innermost copy that the task belongs to."""
        beyond = task - len(self.plan.tasks)
        return self.network.copy_of[beyond] if beyond >= 0 and self.network is not None else None

    def base_of(self, task: int) -> int:
        """Where the numbers in the task's plan count from."""
        copy = self.copy_around(task)
        return copy.base if copy is not None else 0

    def graph_of(self, task: int) -> Plan | Graph:
        """Who waits for whom around the task, counted from its base."""
        copy = self.copy_around(task)
        return self.plan if copy is None else copy.body.graph

    def edges_of(self, task: int) -> Iterator[tuple[int, After]]:
        """Those that wait for the task's end, and for which end."""
        if self.network is not None:
            yield from self.network.dependents.get(task, ())
        graph, base = self.graph_of(task), self.base_of(task)
        for dependent in graph.dependents[task - base]:
            yield base + dependent, After.END if (task - base, dependent) in graph.ends else After.SUCCESS
        for dependent in graph.fallbacks.get(task - base, ()):
            yield base + dependent, After.FAILURE

    def needs_of(self, task: int) -> tuple[int, ...]:
        """The tasks that the task waits for."""
        base = self.base_of(task)
        needs = self.graph_of(task).needs[task - base]
        if base:
            needs = tuple(base + need for need in needs)
        if self.network is not None and task in self.network.needs:
            needs = (*needs, *(need for need, _ in self.network.needs[task]))
        return needs

    def needs_count(self, task: int) -> int:
        """How many needs a task has; the start of the group whose first it is counts too."""
        return len(self.needs_of(task)) + self.is_first(task)

    def is_first(self, task: int) -> bool:
        """Does the task wait for the start of the group around it?"""
        parent = self.task(task).parent
        if parent < 0:
            return False
        base = self.base_of(task)
        group = self.task(base + parent).group
        return group is not None and task - base in group.first

    def parent_of(self, task: int) -> int:
        """The group, map or repeat around the task; -1 if there is none."""
        plan, copy = self.task(task), self.copy_around(task)
        if plan.parent >= 0:
            return plan.parent + (copy.base if copy is not None else 0)
        return copy.owner if copy is not None and plan.role is Role.WORK else -1

    def members_of(self, task: int) -> list[int]:
        """The tasks directly inside a group, or inside the present copies of a map or repeat."""
        plan = self.task(task)
        if plan.group is not None:
            base = self.base_of(task)
            return [base + member for member in plan.group.members]
        if plan.body is not None:
            return [c.base + member for c in self.copies_of(task) if not c.is_void for member in plan.body.members]
        return []

    def copies_of(self, task: int) -> list[Copy]:
        """All copies of the task's body, void ones too."""
        return self.network.copies.get(task, []) if self.network is not None else []

    def resolve(self, task: int, number: int) -> int:
        """The task that a reference in the plan of `task` means."""
        depth = number >> LOCAL_BITS
        copy = self.copy_around(task)
        if not depth or copy is None:
            return number
        return copy.bases[depth - 1] + (number & ((1 << LOCAL_BITS) - 1))

    def reads_of(self, task: int) -> tuple[int, ...]:
        """The references to outputs, states and errors in the task's plan."""
        plan = self.task(task)
        return (*plan.parameters.reads, *plan.reads) if plan.reads else plan.parameters.reads

    def is_retained(self, task: int) -> bool:
        """Does any expression read the task's output?"""
        if self.network is not None and task in self.network.read:
            return True
        return self.graph_of(task).retained[task - self.base_of(task)]

    def id_of(self, task: int) -> str:
        """The task's name in this run: `pick`, `pack.box`, `ship[3].label`."""
        plan, copy = self.task(task), self.copy_around(task)
        if copy is None:
            return plan.id
        if copy.owner < 0:
            return plan.id
        outer = f"{self.id_of(copy.owner)}[{copy.number}]"
        return outer if len(copy.body.graph.tasks) == 1 else f"{outer}.{plan.id}"

    def index_of(self, name: str) -> int:
        """The task of this name. Raises KeyError.

        Of several copies the latest is meant: others are of earlier tries. So a name that was read when tasks were added means
        the same when they are put back as they were made, before anybody knows which of them were void by then.
        """
        found = self.plan.index.get(name)
        if found is None:
            first = len(self.plan.tasks)
            for task in range(len(self.states) - 1, first - 1, -1):
                if self.states[task] not in ABSENT and self.id_of(task) == name:
                    return task
            raise KeyError(name)
        return found

    def has(self, name: str) -> bool:
        """Is there a task of this name?"""
        try:
            self.index_of(name)
        except KeyError:
            return False
        return True

    def after_of(self, need: int, task: int) -> After:
        """For which end of `need` the task waits."""
        for drawn, after in self.network.needs.get(task, ()) if self.network is not None else ():
            if drawn == need:
                return after
        base = self.base_of(task)
        graph = self.graph_of(task)
        if (need - base, task - base) in graph.ends:
            return After.END
        return After.FAILURE if task - base in graph.fallbacks.get(need - base, ()) else After.SUCCESS
