"""The laws of a site: agents that come, go, lie, restart and forget, a site that is killed, and what must hold all the same."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.inputs import AttemptKey
from tests.edge.site import LEASE_MS, Robot, Site
from tests.workflow.plans import documents, plan_of
from workflow.commands import Complete
from workflow.coordination_events import TaskAwarded
from workflow.events import AttemptResumed, TaskAssigned, TaskCompleted, TaskFailed, TaskLost, decode
from workflow.homes import attempt_epoch
from workflow.plan import Effect, Plan
from workflow.states import COMPLETED, RECONCILE

ROBOTS = {"anna": ("pick",), "ben": ("pick", "pack"), "cleo": ("pack",)}
BIDDERS = ("ben",)  # For the others the site bids.
WHAT = (
    *(
        "join",
        "finish",
        "finish",
        "finish",
        "report",
        "report",
        "fail",
        "stop",
        "decline",
        "beat",
        "lose_line",
        "hang_up",
        "restart_robot",
    ),
    *("pass_little", "pass_much", "release", "cancel", "hand", "kill_site", "lie", "say", "say", "bid", "bid"),
)
Happening = tuple[str, str, int]
AUCTION = {"coordination": {"protocol": "auction", "window": "20ms", "otherwise": "direct"}}
# What some tasks have besides: they must be heard of, may be done by what another run's task gave, are auctioned.
MORE = st.sampled_from([{}, {}, {"heartbeat": 3}, {"cache": {"key": "${{ inputs }}", "lifetime": 600}}, AUCTION, AUCTION])
happenings = st.lists(
    st.tuples(st.sampled_from(WHAT), st.sampled_from(sorted(ROBOTS)), st.integers(0, 9)), min_size=15, max_size=60
)


@dataclass
class Story:
    """A site and its robots. `runs` are the released ones; each robot keeps a list of what it has begun."""

    plan: Plan
    places: list[int]
    site: Site = field(default_factory=Site)
    runs: list[str] = field(default_factory=list)
    effects: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, capabilities in ROBOTS.items():
            self.site.join(name, capabilities=capabilities, features=("bids",) if name in BIDDERS else ())
        self.live("release", "anna", 0)

    def live(self, what: str, name: str, number: int) -> None:
        robot = self.site.robots[name]
        match what:
            case "join":
                robot.capacity = 1 + number % 3
                self.site.join(name)
            case "finish" | "fail" | "stop" | "decline" if robot.hands:
                key = sorted(robot.hands)[number % len(robot.hands)]
                getattr(robot, what)(key)
            case "report" if robot.journal:
                self.site.report(robot, *sorted(robot.journal)[: 1 + number])
            case "beat":
                self.site.beat(*self.site.robots.values())
            case "lose_line":
                robot.connected = False
            case "hang_up" if robot.session:
                self.site.hang_up(robot, goodbye=number == 0)
            case "restart_robot":
                robot.restart()
            case "pass_little":
                self.site.pass_ms(number * 300)
            case "pass_much":
                self.site.pass_ms(LEASE_MS // 2 + 600 * number)
            case "release" if len(self.runs) < 4:
                self.runs.append(f"r{len(self.runs)}")
                self.site.release(self.plan, self.runs[-1], self.places)
            case "cancel" if number == 0 and self.runs:
                self.site.cancel(self.runs[-1])
            case "hand" if self.runs:
                self.hand(self.runs[number % len(self.runs)], 1 + number)
            case "kill_site":
                self.site.restart()
            case "lie" if robot.connected:
                self.lie(robot, number)
            case "bid" if robot.connected:
                self.bid(robot, number)
            case "say" if robot.connected and robot.hands:
                self.site.say(robot, sorted(robot.hands)[number % len(robot.hands)], number / 10 if number else None)

    def bid(self, robot: Robot, number: int) -> None:
        """Answer the latest offers, or some before them; a third of the bids makes no sense."""
        for lot in robot.offers[-1 - number % 2 :][:1]:
            for offered in lot.lots:
                said: dict[str, Any] = {"units": 9} if number % 3 == 2 else {}
                self.site.bid(robot, float(number), run=offered.key.run, task=offered.key.task, **said)

    def hand(self, run: str, count: int) -> None:
        """The other site's tasks are done, as far as what they need is, and their values come, each before what needs it."""
        handed: list[int] = []
        fragment = self.site.core.fragments.get(run)
        for task, place in enumerate(self.places if fragment is not None else ()):
            here = [need for need in self.plan.needs[task] if not self.places[need]]
            there = [need for need in self.plan.needs[task] if self.places[need]]
            done = fragment is not None and all(fragment.states[need] == COMPLETED for need in here)
            if place and done and all(need in handed for need in there) and len(handed) < count:
                handed.append(task)
        for task in handed:
            self.site.hand(task, run=run)

    def lie(self, robot: Robot, number: int) -> None:
        """A result for an attempt that is another agent's, or nobody's: nothing may come of it."""
        run, task = f"r{number % 4}", number % len(self.plan.tasks)
        held = {key for slot in self.site.core.roster.slots.values() for key in slot.held if slot.agent == robot.name}
        fragment = self.site.core.fragments.get(run)
        past = (fragment.past or {}) if fragment is not None else {}
        if (run, task) in held or past.get((task, 1)) == robot.name:
            return
        before = len(self.site.events(TaskCompleted))
        self.site.lie(robot, AttemptKey(run, task, 1, 1), Complete(task, 1, robot.name, b'"a lie"', None))
        assert len(self.site.events(TaskCompleted)) == before

    def check(self) -> None:
        """What the log must never say, whatever has happened."""
        known: dict[str, dict[int, str]] = {run: {} for run in self.runs}
        awards: dict[tuple[str, int, int], str] = {}
        for row in self.site.log.disk.rows:
            if row.run not in known or row.stream != "harbour@1":
                continue
            states, event = known[row.run], decode(row.kind, row.payload)
            match event:
                case TaskAwarded(task, _, agent, epoch):
                    assert (row.run, task, epoch) not in awards, f"task {task} awarded twice under epoch {epoch}"
                    awards[(row.run, task, epoch)] = agent
                case TaskAssigned(task, attempt, agent):
                    awarded = awards.get((row.run, task, attempt_epoch(row.epoch, attempt)))
                    assert awarded in (None, "", agent), f"task {task} awarded to {awarded}, assigned to {agent}"
                    assert states.get(task, "free") in ("free", "redeliver"), f"task {task} assigned while {states[task]}"
                    states[task] = "held"
                case AttemptResumed(task):
                    assert states[task] == "unknown", f"task {task} resumed while {states[task]}"
                    states[task] = "held"
                case TaskCompleted(task):
                    assert states.get(task) != "done", f"task {task} completed twice"
                    states[task] = "done"
                case TaskFailed(task):
                    states[task] = "free"
                case TaskLost(task, _, reason, redeliver):
                    safe = self.plan.tasks[task].effect is Effect.REPEATABLE or reason in ("never delivered", "busy")
                    assert redeliver is safe, "an effect that may have happened must not be repeated"
                    states[task] = "redeliver" if redeliver else "unknown"
                case _:
                    pass

    def begun_blindly(self) -> list[AttemptKey]:
        """Attempts of tasks with an effect that were begun although an earlier one had begun and not failed: must be none."""
        reported = {
            (row.run, event.task, event.attempt)
            for row in self.site.log.disk.rows
            if isinstance(event := decode(row.kind, row.payload), TaskFailed | TaskLost)
            if not (isinstance(event, TaskLost) and event.reason != "busy")
        }
        begun = sorted(key for robot in self.site.robots.values() for key in robot.begun)
        return [
            later
            for earlier in begun
            for later in begun
            if earlier[:2] == later[:2] and earlier.attempt < later.attempt
            if self.plan.tasks[later.task].effect is not Effect.REPEATABLE and earlier[:3] not in reported
        ]

    def finish(self) -> None:
        """Everybody comes back and does his work: only what a person must look at may stay open."""
        for _ in range(6 * len(self.plan.tasks) * len(self.runs) + 6):
            if all(RECONCILE in fragment.states for fragment in self.site.core.fragments.values()):
                return
            for run in self.runs:
                self.hand(run, len(self.places))
            for name in sorted(ROBOTS):
                robot = self.site.join(name)
                for key in sorted(robot.hands):
                    robot.finish(key)
                self.site.report(robot)
            self.site.pass_ms(LEASE_MS // 2)
            self.site.pass_ms(20)
            for name in BIDDERS:
                self.bid(self.site.robots[name], 0)
            self.site.pass_ms(60_000 if not any(self.site.core.roster.slots[name].held for name in ROBOTS) else 0)
        raise AssertionError(f"some never end: {[self.site.states(run) for run in self.site.core.fragments]}")


@settings(max_examples=120, deadline=None)
@given(
    documents(tasks_max=5),
    st.lists(st.integers(0, 3), min_size=5, max_size=5),
    happenings,
    st.lists(MORE, min_size=5, max_size=5),
)
def test_a_site_keeps_its_laws(
    tasks: dict[str, dict[str, Any]], places: list[int], story: list[Happening], more: list[dict[str, Any]]
) -> None:
    """Every live task is in one agent's hands within its capacity, no task is done twice or begun blindly, the log alone
    gives the same site, and once everybody is back all ends but what is to be reconciled."""
    for task, fields in zip(tasks.values(), more, strict=False):
        task.update(fields if "capability" in task else {})
    plan = plan_of(tasks)
    told = Story(plan, [0, *(int(place == 3) for place in places)][: len(plan.tasks)])
    for happening in story:
        told.live(*happening)
    told.check()
    before = saved(told.site)
    told.site.restart()
    assert saved(told.site) == before
    told.finish()
    told.check()
    assert told.begun_blindly() == []


def saved(site: Site) -> dict[str, bytes]:
    """The state of every fragment, agents' comings and goings aside."""
    return {run: fragment.save() for run, fragment in sorted(site.core.fragments.items())}
