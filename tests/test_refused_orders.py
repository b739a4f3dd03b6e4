"""Orders for runs that have ended and are refused by their home: both tiers stay as they were, whatever dies in between."""

import pytest

from cloud.control.inputs import OrderRun
from cloud.inputs import NewRun, StartRuns
from sync.inputs import Recalled
from sync.outputs import Failed, Reply
from tests.cloud.control import Control
from tests.two_tiers import Tiers
from tests.workflow.plans import plan_of
from workflow.events import CommandAnswered
from workflow.orders import Order, Rerun, Retry, RollBack, encode_order
from workflow.plan import Plan

ONE = plan_of({"a": {"capability": "pick"}, "b": {"capability": "pack", "needs": ["a"]}}, name="one")
PLAN = plan_of({"a": {"capability": "pick"}, "b": {"capability": "pack", "needs": ["a"], "site": "airport"}}, name="two")
REFUSED: list[Order] = [Retry(), RollBack(steps=5), RollBack(checkpoint="never"), RollBack(version=900)]


def ended(cloud: Control | None = None, plan: Plan = PLAN) -> tuple[Tiers, str]:
    tiers = Tiers([plan], cloud or Control())
    tiers.finish()
    assert tiers.cloud.outcome(tiers.runs[0]) == "completed"
    return tiers, tiers.runs[0]


def picture(tiers: Tiers, run: str) -> list[bytes]:
    """All that is known of the run at the cloud and at its sites."""
    sites = [wire.site.log.disk.saved[run].body for wire in tiers.wires.values() if run in wire.site.log.disk.saved]
    return [tiers.known(run).save(), *sites]


@pytest.mark.parametrize("order", REFUSED, ids=lambda order: f"{type(order).__name__}-{REFUSED.index(order)}")
@pytest.mark.parametrize("dies", ["nobody", "cloud", "harbour", "both"])
def test_what_is_refused_changes_neither_side(order: Order, dies: str) -> None:
    """The run is opened for the order at the cloud, and closed again as it was, at every moment of the way over restarts."""
    # Steps and versions are counted by one home.
    by_one = isinstance(order, RollBack) and not order.checkpoint
    tiers, run = ended(plan=ONE if by_one else PLAN)
    before, totals = picture(tiers, run), tiers.cloud.planner.measures.run_totals()
    command = tiers.cloud.order(run, order)
    assert isinstance(command, str), command
    for _ in range(40):
        die(tiers, dies)
        for wire in tiers.wires.values():
            wire.link()
        moved = [wire.send(1) for wire in tiers.wires.values()]
        if not any(moved) and run not in tiers.cloud.planner.runs:
            break
    tiers.drain()
    assert tiers.cloud.planner.intents.commands[command].state == "refused"
    assert picture(tiers, run) == before
    assert (tiers.cloud.outcome(run), run in tiers.cloud.planner.runs) == ("completed", False)
    assert tiers.cloud.planner.measures.run_totals() == totals
    assert (tiers.cloud.planner.admission.active, tiers.cloud.planner.fleet.site("harbour").active_runs) == (0, 0)
    for wire in tiers.wires.values():
        answers = [event.command for event in wire.site.events(CommandAnswered)]
        assert len(answers) == len(set(answers)), "answered twice"
        wire.site.restart()
    tiers.live("restart_cloud", "harbour", 0, 0)
    assert picture(tiers, run) == before
    assert run not in tiers.cloud.planner.runs


def die(tiers: Tiers, who: str) -> None:
    if who in ("cloud", "both"):
        tiers.live("restart_cloud", "harbour", 0, 0)
    if who in ("harbour", "both"):
        tiers.live("restart_site", "harbour", 0, 0)


class Failing(Control):
    """A cloud whose commits may fail."""

    def refolded(self, error: BaseException) -> None:
        """The links would begin anew."""

    def fail(self, *inputs: object) -> None:
        """Decide inputs, and lose them with the disk."""
        self.log.at_once = False
        self.driver.turn(inputs)
        self.log.fail(OSError("the disk is full"))
        self.log.finish_all()
        self.log.tell()
        self.log.at_once = True


@pytest.mark.parametrize("is_asked_for", [True, False], ids=["read", "unread"])
def test_who_waits_for_a_tombstone_hears_of_a_failed_commit(is_asked_for: bool) -> None:
    """The core that had kept the request is folded anew and knows nothing of it: whoever asked is told, and may ask again."""
    cloud = Failing()
    tiers, run = ended(cloud)
    before = picture(tiers, run)
    asked = OrderRun(1_000, run, encode_order(Rerun("b")))
    another = StartRuns(1_001, PLAN.ref, [NewRun(b"{}", {})], None)
    if is_asked_for:
        cloud.driver.turn([asked])
        assert cloud.recalls == [run]
        cloud.fail(another)
    else:
        cloud.fail(another, asked)
    cloud.turn()
    answers = {
        effect.token: type(effect.value) for effect in cloud.sent if isinstance(effect, Reply) and effect.token in (1_000, 1_001)
    }
    assert answers == {1_000: Failed, 1_001: Failed}
    assert picture(tiers, run) == before
    assert isinstance(cloud.order(run, Rerun("b")), str)


def test_a_tombstone_that_comes_late_breaks_no_history() -> None:
    """It was asked for before the core was folded anew, and comes when the run is open again."""
    cloud = Failing()
    tiers, run = ended(cloud)
    tombstone = cloud.log.disk.saved[run]
    assert isinstance(cloud.order(run, Rerun("b")), str)
    cloud.turn(Recalled(run, tombstone))
    tiers.finish()
    rows = {row.pos: row for row in cloud.log.disk.rows}
    at, kinds = cloud.log.disk.saved[run].last, []
    while at:
        kinds.append(rows[at].kind)
        at = rows[at].prev
    assert (kinds.count("RunEnded"), kinds.count("RunReopened"), kinds[-1]) == (2, 1, "RunCreated")
