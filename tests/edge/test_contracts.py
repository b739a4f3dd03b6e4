"""Levels and autonomy at a site: what leaves, what waits, and what goes on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.alone import WHY, Alone, RunAlone, alone
from edge.executor import Executor
from edge.inputs import AttemptKey
from sync.lag import LONG_AGO, Lag
from sync.levels import Level
from tests.edge.site import HARBOUR, Robot, Site
from workflow.contract import GRACE_MS, HOLD, Autonomy, Contract
from workflow.events import FragmentEnded, TaskAssigned, TaskLost, decode
from workflow.orders import ChangeAutonomy
from workflow.plan import Plan, read_plan
from workflow.steering_events import RollbackBegun

STRONG = Contract(Level("strong"), HOLD)


def plan_of(tasks: int = 4, *, chain: bool = True, **each: Any) -> Plan:
    body = {f"t{n}": {"capability": "work", "needs": [f"t{n - 1}"] if chain and n else [], **each} for n in range(tasks)}
    return read_plan({"name": "chain" if chain else "side", "version": "1", "tasks": body})[1]


def linked(contract: Contract | None, plan: Plan | None = None, **face: Any) -> tuple[Site, Robot]:
    site = Site()
    site.link()
    robot = site.join("anna", **face)
    site.hold()
    site.release(plan or plan_of(), contract=contract)
    return site, robot


# Strong -----------------------------------------------------------------------------------------------------------------


def test_an_assignment_of_a_strong_run_leaves_once_the_cloud_holds_it() -> None:
    """It is durable here at once, and counts only then."""
    site, robot = linked(STRONG)
    assert len(site.events(TaskAssigned)) == 1
    assert not robot.begun
    site.hold(site.end - 1)
    assert not robot.begun
    site.hold()
    assert len(robot.begun) == 1


def test_a_result_of_a_strong_run_is_acknowledged_once_the_cloud_holds_it() -> None:
    """Until then its agent keeps it, and tells it again if asked."""
    site, robot = linked(STRONG)
    site.hold()
    site.done(robot)
    assert robot.journal
    site.hold()
    assert not robot.journal
    assert len(robot.begun) == 2


def test_strong_runs_are_pipelined_and_others_do_not_wait_for_them() -> None:
    """Many are under way at once, and each acknowledgement lets go what is covered, in order."""
    site, robot = linked(STRONG, plan_of(3, chain=False), capacity=64)
    site.release(plan_of(), run="r2")
    assert {key.run for key in robot.begun} == {"r2"}
    site.hold()
    assert sorted(key.run for key in robot.begun) == ["r1", "r1", "r1", "r2"]


def test_a_strong_run_begins_nothing_while_the_link_is_down_and_goes_on_when_it_is_back() -> None:
    """Nothing is recorded meanwhile but what physically happened."""
    site, robot = linked(STRONG)
    site.hold()
    site.cut()
    site.done(robot)
    before = site.end
    site.pass_ms(9_000)
    site.beat(robot)
    assert site.end == before, "nothing is appended"
    assert len(site.events(TaskAssigned)) == 1
    site.link()
    site.hold()
    assert len(robot.begun) == 2


def test_what_was_withheld_from_a_session_that_ended_is_given_out_again_and_never_twice() -> None:
    """It surely was not delivered, so nobody has to find out what became of it, whatever its effect."""
    site, robot = linked(STRONG)
    site.cut()
    robot.restart()
    site.hang_up(robot)
    assert site.states() == ["ready", "pending", "pending", "pending"]
    assert [lost.redeliver for lost in site.events(TaskLost)] == [True]
    site.link()
    site.join("anna")
    site.hold()
    assert [key.attempt for key in robot.begun] == [2]


def test_a_strong_run_that_is_to_fail_while_cut_off_fails_and_says_why() -> None:
    """Recorded here, it counts once the cloud has it."""
    site, robot = linked(Contract(Level("strong", when_cut="fail"), HOLD))
    site.hold()
    site.cut()
    site.done(robot)
    site.pass_ms(GRACE_MS)
    assert site.outcome() == "failed"
    (ended,) = site.events(FragmentEnded)
    assert "unavailable" in ended.detail


def test_a_strong_run_that_is_to_wait_for_a_while_waits_for_so_long() -> None:
    """Its deadline counts from when it had something to begin."""
    site, robot = linked(Contract(Level("strong", wait_ms=60_000), HOLD))
    site.hold()
    site.cut()
    site.done(robot)
    site.pass_ms(50_000)
    assert not site.outcome()
    site.pass_ms(11_000)
    assert site.outcome() == "failed"


# Bounded ----------------------------------------------------------------------------------------------------------------


def test_a_bounded_run_holds_at_k_and_goes_on_with_the_acknowledgement() -> None:
    """K events that the cloud lacks, and no decision more; what happened is recorded all the same."""
    site, robot = linked(Contract(Level("bounded", versions=2)))
    assert site.core.lag.count("r1") == 2  # Adopted, assigned.
    site.cut()
    site.done(robot)
    assert site.core.lag.count("r1") == 3, "a fact stands"
    assert len(robot.begun) == 1
    site.link()
    assert len(robot.begun) == 2


def test_a_bounded_run_holds_when_the_cloud_lacks_something_for_too_long() -> None:
    """By the clock that nobody sets back."""
    site, robot = linked(Contract(Level("bounded", time_ms=2_000)))
    site.cut()
    site.done(robot)
    assert len(robot.begun) == 2, "within the bound it goes on alone"
    site.pass_ms(2_500)
    site.done(robot, task=1)
    assert len(robot.begun) == 2
    site.hold()
    assert len(robot.begun) == 3


def test_a_result_of_a_strong_run_that_ended_before_a_restart_waits_for_the_cloud() -> None:
    """The site does not know any more what the run was promised: its agent keeps the result until the cloud holds its end."""
    site, robot = linked(STRONG, plan_of(1))
    site.hold()
    site.done(robot)
    assert len(site.events(FragmentEnded)) == 1
    site.restart()
    robot = site.join("anna")
    site.report(robot, *robot.journal)
    assert robot.journal
    site.link()
    site.hold()
    assert not robot.journal


def test_after_a_restart_what_the_cloud_lacks_counts_as_older_than_any_bound() -> None:
    """How old it is, nobody knows."""
    site, robot = linked(Contract(Level("bounded", time_ms=3_600_000)))
    site.restart()
    site.join("anna")
    assert site.core.lag.oldest_ms("r1") == LONG_AGO
    site.done(robot)
    assert len(robot.begun) == 1
    site.link()
    assert len(robot.begun) == 2


# Eventual, with an autonomy ---------------------------------------------------------------------------------------------


def cut_off(autonomy: Autonomy, plan: Plan | None = None) -> tuple[Site, Robot]:
    site, robot = linked(Contract(autonomy=autonomy), plan)
    site.hold()
    site.cut()
    return site, robot


def test_who_holds_begins_nothing_and_takes_what_runs() -> None:
    """And goes on with the link."""
    site, robot = cut_off(HOLD)
    site.done(robot)
    assert len(robot.begun) == 1
    site.link()
    assert len(robot.begun) == 2


def test_a_budget_is_of_attempts_while_cut_off_and_survives_a_restart() -> None:
    """A new process does not begin it anew."""
    site, robot = cut_off(Autonomy("continue", budget_tasks=2))
    for task in range(2):
        site.done(robot, task=task)
    assert len(robot.begun) == 3
    site.restart()
    site.join("anna")
    site.done(robot, task=2)
    assert len(robot.begun) == 3
    site.clock.pass_ms(700)
    told = alone(site.core.home, site.core.autonomy.runs, site.clock.now())
    assert told.runs == [RunAlone("r1", "eventual", "continue", 2, 2, WHY["autonomy"], 700)]
    site.link()
    assert len(robot.begun) == 4


def test_a_horizon_ends_what_goes_on_and_a_restart_does_not_put_it_off() -> None:
    """It counts from the cut."""
    site, robot = cut_off(Autonomy("continue", horizon_ms=60_000))
    site.done(robot)
    assert len(robot.begun) == 2
    site.pass_ms(40_000)
    site.restart()
    site.join("anna")
    site.clock.pass_ms(30_000)
    site.join("anna")
    site.done(robot, task=1)
    assert len(robot.begun) == 2


def test_who_compensates_goes_back_once_and_begins_anew_with_the_link() -> None:
    """The compensations run while the site is cut off; then it is held."""
    site, robot = cut_off(Autonomy("compensate"), plan_of(2, compensate={"capability": "work"}))
    site.done(robot)
    site.pass_ms(GRACE_MS)
    (begun,) = site.events(RollbackBegun)
    assert begun.command.startswith("autonomy/")
    site.done(robot, task=begun.compensations[0])
    site.pass_ms(GRACE_MS)
    assert len(site.events(RollbackBegun)) == 1
    assert not robot.hands
    site.link()
    assert [key.task for key in robot.hands] == [0]


def test_plain_runs_are_not_watched() -> None:
    """Nothing is kept of them."""
    site, robot = linked(None)
    site.cut()
    site.done(robot)
    assert len(robot.begun) == 2
    assert not site.core.lag.watched
    told = alone(site.core.home, site.core.autonomy.runs, site.clock.now())
    assert told == Alone(site.clock.wall_ms, [], 0)


# Laws -------------------------------------------------------------------------------------------------------------------

Happening = tuple[str, int]
happenings = st.lists(
    st.tuples(
        st.sampled_from(["done", "done", "done", "hold", "hold_some", "cut", "link", "reboot", "line", "pass", "restart"]),
        st.integers(0, 5),
    ),
    max_size=30,
)


class Watchful(Site):
    """Checks the laws as they must hold whenever something leaves or is decided."""

    linked = False
    facts = 0

    def _deliver(self, robot: Robot, order: object) -> None:
        if hasattr(order, "items"):
            for item in order.items:
                assert self.place_of(item.key) <= self.driver.lag.held, "it left before the cloud held it"  # type: ignore[union-attr]
        super()._deliver(robot, order)

    def place_of(self, key: AttemptKey) -> int:
        """Where in the stream the attempt's assignment is; 0 of one that need not be held."""
        if not self.core.home.gate.is_strong(key.run):
            return 0
        assigned = TaskAssigned.kind
        rows = [r for r in self.log.disk.rows if r.stream == HARBOUR and r.kind == assigned and r.run == key.run]
        events = ((row.seq, decode(row.kind, row.payload)) for row in rows)
        return max(seq for seq, event in events if (event.task, event.attempt) == key[1:3])  # type: ignore[attr-defined]


def play(site: Watchful, robot: Robot, happened: list[Happening]) -> None:
    for what, number in happened:
        match what:
            case "done" if robot.hands:
                robot.finish(sorted(robot.hands)[number % len(robot.hands)])
                site.report(robot)
            case "hold":
                site.hold()
            case "hold_some":
                site.hold(max(site.driver.lag.held, site.end - number))  # type: ignore[union-attr]
            case "cut":
                site.cut()
            case "link":
                site.link()
            case "reboot":
                robot.restart()
                site.hang_up(robot)
                site.join("anna")
            case "line":
                site.hang_up(robot)
                site.join("anna")
            case "pass":
                site.pass_ms(700 * number)
                site.beat(robot)
            case "restart":
                site.restart()
                site.join("anna")


def story(site: Watchful, happened: list[Happening], contract: Contract) -> Robot:
    site.link()
    robot = site.join("anna", capacity=3)
    site.hold()
    site.release(plan_of(5, chain=False, effect="repeatable"), contract=contract)
    play(site, robot, happened)
    return robot


@given(happenings)
def test_nothing_of_a_strong_run_leaves_before_the_cloud_holds_it_and_it_ends_once_that_does(happened: list[Happening]) -> None:
    """Whatever is cut, restarted or acknowledged in whatever order."""
    site = Watchful()
    robot = story(site, happened, STRONG)
    for _ in range(20):
        site.link()
        site.hold()
        site.join("anna")
        play(site, robot, [("done", 0)])
    assert site.outcome() == "completed"


class Counting(Watchful):
    """Counts what the cloud lacks whenever an attempt is decided, by the log and not by the core's own books."""

    furthest = 0  # What the cloud lacked with a decision, at most.
    longest_ms = 0  # For how long, at most.

    def turn(self, *inputs: object) -> None:
        before = self.end
        super().turn(*inputs)
        held = self.driver.lag.held  # type: ignore[union-attr]
        rows = [row for row in self.log.disk.rows if row.stream == HARBOUR and row.run == "r1" and row.seq > held]
        for number, row in enumerate(rows, 1):
            if row.kind == TaskAssigned.kind and row.seq > before:
                self.furthest = max(self.furthest, number)
                self.longest_ms = max(self.longest_ms, self.clock.wall_ms - (rows[0].time >> 16))


@given(happenings)
def test_a_bounded_run_is_never_ahead_by_more_than_k_by_its_own_decisions(happened: list[Happening]) -> None:
    """What agents report is a fact and counts, too."""
    site = Counting()
    story(site, happened, Contract(Level("bounded", versions=3), Autonomy("continue")))
    assert site.furthest <= 3


@given(happenings)
def test_a_bounded_run_decides_nothing_once_the_cloud_lacks_something_for_longer_than_t(happened: list[Happening]) -> None:
    """By the clock."""
    site = Counting()
    story(site, happened, Contract(Level("bounded", time_ms=2_000), Autonomy("continue")))
    assert site.longest_ms <= 2_000


AHEAD: list[Happening] = [("cut", 0), *[("done", 0)] * 3]


class Hasty(Watchful):
    """A site whose effects do not wait for the cloud."""

    def _make_core(self) -> Executor:
        core = super()._make_core()
        core.home.gate.lag.strong = _Nothing()
        return core

    def place_of(self, key: AttemptKey) -> int:
        return self.end


class _Nothing(dict[str, None]):
    def __contains__(self, run: object) -> bool:
        return False


class Boundless(Counting):
    """A site that does not count."""

    def _make_core(self) -> Executor:
        core = super()._make_core()
        lag: Lag = core.home.gate.lag
        core.home.gate.lag = core.lag = _Blindfold(lag.stream)
        return core


class _Blindfold(Lag):
    def count(self, run: str) -> int:
        return 0

    def oldest_ms(self, run: str) -> int | None:
        return None


def test_ablation_confirmed_effects() -> None:
    """The law notices a site whose assignments leave with their commit."""
    with pytest.raises(AssertionError, match="left before the cloud held it"):
        story(Hasty(), [], STRONG)


def test_ablation_k_bound() -> None:
    """The law notices a site that does not count."""
    site = Boundless()
    story(site, AHEAD, Contract(Level("bounded", versions=3), Autonomy("continue")))
    assert site.furthest > 3


def test_ablation_t_bound() -> None:
    """The law notices a site that does not look at the clock."""
    site = Boundless()
    story(site, [("cut", 0), ("pass", 5), ("done", 0)], Contract(Level("bounded", time_ms=2_000), Autonomy("continue")))
    assert site.longest_ms > 2_000


# Changed on the way -----------------------------------------------------------------------------------------------------


def test_a_person_changes_the_autonomy_of_a_run_at_its_home() -> None:
    """From there on, and after a restart."""
    site, robot = linked(None)
    assert site.order(ChangeAutonomy("hold")) == "accepted"
    site.cut()
    site.done(robot)
    assert len(robot.begun) == 1
    site.restart()
    site.join("anna")
    assert site.fragment().contract == Contract(autonomy=HOLD)
    site.link()
    assert len(robot.begun) == 2


def test_an_autonomy_that_the_level_does_not_allow_is_refused() -> None:
    """With what is."""
    site, _ = linked(STRONG)
    assert "allowed: hold, compensate" in site.order(ChangeAutonomy("continue"))


def test_what_is_added_while_cut_off_waits_for_the_link_unless_the_run_is_to_continue() -> None:
    """The default finishes what was released; after a restart, too."""
    for contract, begun in ((None, 1), (Contract(autonomy=Autonomy("continue")), 2)):
        site, robot = linked(contract, plan_of(1, grows=True))
        site.hold()
        site.cut()
        site.done(robot, output=b'{"tasks": {"more": {"capability": "work"}}}')
        assert len(robot.begun) == begun
        if begun == 1:
            site.restart()
            site.join("anna")
            assert len(robot.begun) == 1
            told = alone(site.core.home, (), site.clock.now())
            assert [(run.run, run.held) for run in told.runs] == [("r1", WHY["added"])]
        site.link()
        assert len(robot.begun) == 2
