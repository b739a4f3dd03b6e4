"""Sync points at their home: who may arrive, what follows when an agent goes or comes back, restarts, ends of runs."""

from typing import Any

import pytest

from edge.points import ArriveHere, LookAtPoints, Refusal, TellGone, TellPoint, WithdrawHere
from sync.points.events import PartyDied, PartyWithdrew, PointArrived, PointBroken, PointReleased
from sync.points.showing import PointView
from tests.edge.site import LEASE_MS, Robot, Site
from tests.edge.test_contracts import STRONG
from workflow.orders import ArriveAt, ResetPoint, Retry, WithdrawFrom
from workflow.plan import Plan, read_plan

DEADLINE_MS = 60_000


def plan_of(retries: int = 1, **terms: Any) -> Plan:
    """Three tasks side by side, and one point where those who do them meet."""
    task = {"capability": "work", "effect": "repeatable", "retry": {"max_attempts": retries, "delay": "1s"}}
    document = {
        "name": "lifting",
        "version": "1",
        "sync_points": {"lift": {"parties": ["anna", "ben", "carl"], "deadline": "60s", **terms}},
        "tasks": dict.fromkeys(("left", "middle", "right"), task),
    }
    return read_plan(document)[1]


class Meeting(Site):
    """Keeps what those who wait are told, and speaks for agents."""

    def __init__(self) -> None:
        self.told: list[TellPoint | TellGone] = []
        self.asked = 0
        super().__init__()

    def send(self, effects: list[object]) -> None:
        self.told += [effect for effect in effects if isinstance(effect, TellPoint | TellGone)]
        super().send(effects)

    def arrive(self, agent: str, arrival: str = "", generation: int = 0, point: str = "lift") -> Any:
        return self.ask(lambda token: ArriveHere(token, "r1", ArriveAt(point, agent, arrival, generation)))

    def withdraw(self, agent: str) -> Any:
        return self.ask(lambda token: WithdrawHere(token, "r1", WithdrawFrom("lift", agent)))

    def look(self) -> PointView:
        found = self.ask(lambda token: LookAtPoints(token, "r1", "lift"))
        assert isinstance(found, list)
        view = found[0]
        assert isinstance(view, PointView)
        return view

    def ask(self, make: Any) -> object:
        self.asked += 1
        self.turn(make(token := -self.asked))
        return self.replies[token]


def begun(plan: Plan | None = None, *agents: str) -> Meeting:
    site = Meeting()
    for agent in agents or ("anna", "ben", "carl"):
        site.join(agent, capacity=1)
    site.release(plan or plan_of())
    return site


def silent(site: Meeting, *agents: str) -> None:
    """These hang up, and nobody hears of them until their leases have ended; the others are heard of."""
    for agent in agents:
        site.hang_up(site.robots[agent])
    for _ in range(4):
        site.pass_ms(LEASE_MS // 3)
        site.beat(*site.robots.values())


def test_all_parties_go_on_together_and_once() -> None:
    """The last arrival releases the point; said again, an arrival changes nothing and is answered as before."""
    site = begun()
    assert [site.arrive("anna").state, site.arrive("ben").state] == ["waiting", "waiting"]
    view = site.look()
    assert (view.missing, view.lacking, view.deadline) == (["carl"], 1, view.since + DEADLINE_MS)
    released = site.arrive("carl")
    assert (released.state, released.parties) == ("released", ["anna", "ben", "carl"])
    assert site.arrive("anna") == site.arrive("carl") == released
    assert len(site.events(PointReleased)) == 1
    assert [told.view.state for told in site.told if isinstance(told, TellPoint)] == ["waiting", "waiting", "released"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (("anna", "", 0, "drop"), "point_unknown"),
        (("dora", "", 0, "lift"), "party_unknown"),
        (("nobody", "", 0, "lift"), "agent_unknown"),
        (("anna", "", 7, "lift"), "generation_unknown"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(asked: tuple[str, str, int, str], code: str) -> None:
    """And nothing is recorded of it."""
    site = begun(None, "anna", "ben", "carl", "dora")
    refused = site.arrive(*asked)
    assert isinstance(refused, Refusal)
    assert (refused.code, site.events(PointArrived)) == (code, [])
    assert asked[0] in refused.reason or asked[3] in refused.reason


def test_an_older_generation_is_refused_unless_the_agent_was_there() -> None:
    """Of a cyclic point: whoever was released is told so, and a stranger to that generation that it is over."""
    site = begun(plan_of(parties=2, cyclic=True))
    site.arrive("anna")
    site.arrive("ben")
    assert (site.arrive("anna", generation=1).state, site.arrive("carl", generation=1).code) == ("released", "generation_over")
    assert (site.arrive("carl").generation, site.look().lacking) == (2, 1)


def test_silence_is_not_death_but_the_end_of_a_lease_is() -> None:
    """Who hangs up is waited for until its lease has ended; then, with `fail`, all who wait are told that it is broken."""
    site = begun()
    site.arrive("anna")
    site.arrive("ben")
    site.hang_up(site.robots["ben"])
    site.pass_ms(LEASE_MS // 2)
    site.beat(site.robots["anna"], site.robots["carl"])
    assert site.look().state == "waiting"
    silent(site)
    view = site.look()
    assert (view.state, view.code, view.parties) == ("broken", "party_died", ["anna"])
    assert "ben is gone (unreachable)" in view.reason
    assert [e.agent for e in site.events(PartyDied)] == ["ben"]


def test_with_proceed_the_others_go_on_when_somebody_dies() -> None:
    """As long as they are a quorum; else it is broken."""
    site = begun(plan_of(on_death="proceed", quorum=2))
    site.arrive("anna")
    site.arrive("ben")
    silent(site, "carl")
    view = site.look()
    assert (view.state, view.parties) == ("released", ["anna", "ben"])
    few = begun(plan_of(on_death="proceed", quorum=2))
    few.arrive("anna")
    silent(few, "carl", "ben")
    assert (few.look().state, few.look().code) == ("broken", "no_quorum")


def test_with_proceed_nobody_goes_on_without_a_party_that_came_back() -> None:
    """It is waited for again from its return on."""
    site = begun(plan_of(on_death="proceed", quorum=1))
    site.arrive("anna")
    silent(site, "carl")
    assert (site.look().missing, site.look().gone) == (["ben"], ["carl"])
    site.join("carl")
    assert site.look().missing == ["ben", "carl"]
    site.arrive("ben")
    assert site.look().state == "waiting"
    assert site.arrive("carl").parties == ["anna", "ben", "carl"]


def test_with_replace_another_that_can_do_the_same_takes_the_place() -> None:
    """Nobody comes in for who is here; the one who comes back finds its place taken."""
    site = begun(plan_of(on_death="replace"), "anna", "ben", "carl", "dora")
    site.join("emil", capabilities=("paint",), capacity=1)
    site.arrive("anna")
    site.arrive("ben")
    assert site.arrive("dora").code == "party_unknown"
    silent(site, "carl")
    assert "cannot do what carl can" in site.arrive("emil").reason
    released = site.arrive("dora")
    assert (released.state, released.parties) == ("released", ["anna", "ben", "dora"])
    assert [(e.agent, e.place) for e in site.events(PointArrived)][-1] == ("dora", "carl")


def test_a_party_whose_place_was_taken_is_told_by_whom() -> None:
    """It waits for the next generation."""
    site = begun(plan_of(on_death="replace"), "anna", "ben", "carl", "dora")
    site.arrive("anna")
    silent(site, "carl")
    site.arrive("dora")
    site.join("carl")
    refused = site.arrive("carl")
    assert (refused.code, "dora stands in for carl" in refused.reason) == ("party_replaced", True)


def test_the_deadline_ends_the_wait_for_who_does_not_come() -> None:
    """From the first arrival on; a restart in between changes nothing about it."""
    site = begun()
    site.arrive("anna")
    site.restart()
    for agent in ("anna", "ben", "carl"):
        site.join(agent)
    for _ in range(12):
        site.pass_ms(LEASE_MS // 2)
        site.beat(*site.robots.values())
    view = site.look()
    assert (view.state, view.code) == ("broken", "deadline")
    assert "ben, carl" in view.reason
    assert len(site.events(PointBroken)) == 1


def test_who_waits_keeps_its_place_over_a_restart_of_the_site() -> None:
    """What was recorded is folded again: the others come, and all go on."""
    site = begun()
    site.arrive("anna", "a/1")
    site.restart()
    for agent in ("anna", "ben", "carl"):
        site.join(agent)
    site.arrive("ben")
    assert site.arrive("anna", "a/1", 1).missing == ["carl"]
    assert site.arrive("carl").parties == ["anna", "ben", "carl"]
    site.restart()
    site.join("anna")
    assert site.arrive("anna", "a/1").state == "released"


def test_who_does_not_return_after_a_restart_of_the_site_is_gone_with_its_lease() -> None:
    """Until then it is waited for."""
    site = begun()
    site.arrive("anna")
    site.arrive("ben")
    site.restart()
    site.join("anna")
    site.join("carl")
    assert site.look().state == "waiting"
    silent(site)
    assert site.look().code == "party_died"


def test_a_new_process_of_an_agent_is_not_there_for_the_old_one() -> None:
    """Its arrival is taken back: nobody would hear of the release."""
    site = begun()
    site.arrive("anna")
    site.robots["anna"].restart()
    site.join("anna")
    assert (site.look().state, [e.agent for e in site.events(PartyWithdrew)]) == ("idle", ["anna"])


def test_a_party_that_is_back_has_its_place_again_in_the_next_generation() -> None:
    """Nobody stands in for one who is here, though another did when it was gone."""
    site = begun(plan_of(on_death="replace", cyclic=True), "anna", "ben", "carl", "dora")
    site.arrive("anna")
    silent(site, "carl")
    site.arrive("dora")
    site.join("carl")
    assert site.arrive("ben").parties == ["anna", "dora", "ben"]
    refused = site.arrive("dora")
    assert isinstance(refused, Refusal)
    assert (refused.code, site.look().gone) == ("party_unknown", [])
    assert site.arrive("carl").generation == 2


@pytest.mark.parametrize("restarts", [False, True])
def test_a_process_that_crashes_again_and_again_does_not_put_the_deadline_off(restarts: bool) -> None:
    """It counts from the first arrival, stands in the event, and keeps its length over restarts of the site."""
    site = begun()
    since, wall_ms = site.arrive("anna").since, site.clock.wall_ms
    for _ in range(5):
        site.pass_ms(DEADLINE_MS // 6)
        site.beat(*site.robots.values())
        site.robots["anna"].restart()
        site.join("anna")
        if restarts:
            site.restart()
            for agent in ("anna", "ben", "carl"):
                site.join(agent)
        assert (site.look().state, site.look().deadline) == ("idle", since + DEADLINE_MS)
        site.arrive("anna")
    assert {(e.opened_ms, e.deadline_ms) for e in site.events(PointArrived)} == {(wall_ms, wall_ms + DEADLINE_MS)}
    site.pass_ms(DEADLINE_MS // 6)
    assert (site.look().state, site.look().code, len(site.events(PointBroken))) == ("broken", "deadline", 1)


@pytest.mark.parametrize("set_ms", [3_600_000, -3_600_000])
def test_a_deadline_keeps_its_length_when_the_clock_is_set_and_the_site_restarts(set_ms: int) -> None:
    """It is a span of time, whatever the clock says."""
    site = begun()
    site.arrive("anna")
    site.turn()
    site.clock.wall_ms += set_ms
    site.turn()
    site.restart()
    for agent in ("anna", "ben", "carl"):
        site.join(agent)
    for _ in range(11):
        site.pass_ms(LEASE_MS // 2)
        site.beat(*site.robots.values())
    assert site.look().state == "waiting"
    site.pass_ms(LEASE_MS // 2)
    assert site.look().code == "deadline"


def test_a_deadline_ends_a_generation_whose_only_process_is_gone() -> None:
    """What it waited for is over when it comes back, and not begun anew by that."""
    site = begun(plan_of(cyclic=True))
    site.arrive("anna")
    site.robots["anna"].restart()
    site.join("anna")
    for _ in range(12):
        site.pass_ms(LEASE_MS // 2)
        site.beat(*site.robots.values())
    assert [(e.generation, e.code) for e in site.events(PointBroken)] == [(1, "deadline")]
    assert (site.look().generation, site.look().deadline) == (2, 0)


def test_who_withdraws_is_waited_for_again() -> None:
    """And may come again in the same generation; the deadline counts from the first who waits."""
    site = begun()
    site.arrive("anna")
    assert site.withdraw("anna").state == "idle"
    site.pass_ms(DEADLINE_MS // 12)
    assert site.arrive("anna").since == site.clock.wall_ms
    site.arrive("ben")
    assert site.arrive("carl").state == "released"
    assert site.withdraw("anna").state == "released"


def test_a_withdrawal_of_an_earlier_process_changes_nothing() -> None:
    """It comes late, over the connection of the new process; the present one may take its own arrival back."""
    site = begun()
    old = site.core.home.roster.slots["anna"].boot
    site.robots["anna"].restart()
    site.join("anna")
    boot = site.core.home.roster.slots["anna"].boot
    assert boot != old
    site.arrive("anna")
    site.ask(lambda token: WithdrawHere(token, "r1", WithdrawFrom("lift", "anna", boot=old)))
    assert [party.agent for party in site.look().here] == ["anna"]
    site.ask(lambda token: WithdrawHere(token, "r1", WithdrawFrom("lift", "anna", boot=boot)))
    assert site.look().state == "idle"


def test_a_run_that_is_stopped_lets_nobody_wait() -> None:
    """Who waits is told why, and nobody can arrive any more; when the run has ended they are told so."""
    site = begun()
    site.arrive("anna")
    site.cancel()
    assert (site.look().state, site.look().code) == ("broken", "run_stopping")
    assert site.arrive("ben").state == "broken"
    for robot in site.robots.values():
        site.stop_all(robot, "r1")
    assert site.told[-1] == TellGone("r1")
    assert site.arrive("ben").code == "run_elsewhere"


def test_what_broke_begins_anew_when_a_person_retries() -> None:
    """A point that is not cyclic stays broken until its tasks are done anew, or somebody resets it."""
    site = begun()
    site.arrive("anna")
    site.hang_up(site.robots["carl"], goodbye=True)
    assert site.arrive("anna").code == "party_died"
    assert site.order(ResetPoint("lift")) == "accepted"
    assert site.look().generation == 2
    site.join("carl")
    site.arrive("anna")
    robot: Robot = site.robots["anna"]
    site.hang_up(site.robots["ben"], goodbye=True)
    assert site.look().code == "party_died"
    robot.fail(robot.key("r1", next(iter(robot.hands)).task), retryable=False)
    site.report(robot)
    for other in site.robots.values():
        site.stop_all(other, "r1")
    assert "r1" not in site.core.fragments
    assert site.order(Retry()) == "accepted"
    assert (site.look().state, site.look().generation) == ("idle", 3)


def test_agents_arrive_through_the_cloud_too() -> None:
    """By orders, which are refused with the same codes; one of another site is known by the word of the cloud alone."""
    site = begun()
    assert site.order(ArriveAt("lift", "anna")) == "accepted"
    assert site.order(ArriveAt("drop", "anna")).startswith("point_unknown: run r1 has no sync point 'drop'; it has: lift")
    assert site.order(ArriveAt("lift", "ben", site="airport", capabilities=["work"])) == "accepted"
    assert site.order(WithdrawFrom("lift", "anna")) == "accepted"
    assert [party.agent for party in site.look().here] == ["ben"]


def test_a_withdrawal_for_a_generation_that_is_over_is_refused() -> None:
    """Through the cloud, by the number that it names; an agent itself is told how its own ended."""
    site = begun(plan_of(parties=2, cyclic=True))
    site.arrive("anna")
    site.arrive("ben")
    site.arrive("anna")
    refused = site.order(WithdrawFrom("lift", "anna", 1))
    assert refused.startswith("generation_over: generation 1 of lift is over (released: all parties are here)")
    assert refused.endswith("the present one is 2")
    assert site.order(WithdrawFrom("lift", "anna", 3)).startswith("generation_unknown")
    assert [party.agent for party in site.look().here] == ["anna"]
    assert [site.order(WithdrawFrom("lift", "anna", 2)) for _ in range(2)] == ["accepted", "accepted"]
    assert site.look().state == "idle"
    own = site.ask(lambda token: WithdrawHere(token, "r1", WithdrawFrom("lift", "anna", 1)))
    assert isinstance(own, PointView)
    assert (own.state, own.parties) == ("released", ["anna", "ben"])


def test_of_a_point_that_stays_as_it_ended_nobody_withdraws_by_number() -> None:
    """The agent went on, and whoever takes back for it is told so."""
    site = begun(plan_of(parties=2))
    site.arrive("anna")
    site.arrive("ben")
    assert site.order(WithdrawFrom("lift", "anna", 1)).startswith("generation_over")
    assert site.order(WithdrawFrom("lift", "anna")) == "accepted"


def test_a_counted_point_takes_who_has_the_capability() -> None:
    """Nobody is named, so whoever died is only one less."""
    site = begun(plan_of(parties=2, capability="work", cyclic=True))
    site.join("emil", capabilities=("paint",), capacity=1)
    assert "has not the capability work" in site.arrive("emil").reason
    site.arrive("anna")
    assert site.arrive("carl").parties == ["anna", "carl"]
    site.arrive("ben")
    silent(site, "ben")
    assert (site.look().generation, site.look().state) == (3, "idle")


def test_of_a_strong_run_nobody_is_told_before_the_cloud_holds_it() -> None:
    """Neither who arrives nor who waits; cut off, nobody arrives."""
    site = Meeting()
    site.link()
    for agent in ("anna", "ben", "carl"):
        site.join(agent, capacity=1)
    site.hold()
    site.release(plan_of(parties=2), contract=STRONG)
    site.hold()
    site.turn(ArriveHere(1, "r1", ArriveAt("lift", "anna")))
    site.turn(ArriveHere(2, "r1", ArriveAt("lift", "ben")))
    assert (site.told, 1 in site.replies) == ([], False)
    site.hold()
    assert [told.view.state for told in site.told if isinstance(told, TellPoint)] == ["waiting", "released"]
    assert isinstance(site.replies[2], PointView)
    site.cut()
    refused = site.arrive("carl")
    assert isinstance(refused, Refusal)
    assert refused.code == "point_over"
    waiting = Meeting()
    waiting.link()
    waiting.join("anna", capacity=1)
    waiting.hold()
    waiting.release(plan_of(), contract=STRONG)
    waiting.hold()
    waiting.cut()
    barred = waiting.arrive("anna")
    assert isinstance(barred, Refusal)
    assert (barred.code, waiting.events(PointArrived)) == ("unavailable", [])


def test_an_earlier_process_of_an_agent_is_not_heard() -> None:
    """What it said was under way when the next one registered."""
    site = begun()
    site.robots["anna"].restart()
    site.join("anna")
    asked = ArriveAt("lift", "anna", boot="boot-1")
    refused = site.ask(lambda token: ArriveHere(token, "r1", asked))
    assert isinstance(refused, Refusal)
    assert (refused.code, site.events(PointArrived)) == ("agent_replaced", [])
