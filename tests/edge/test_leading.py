"""Groups with a leader at a site without sockets: who leads, what its plans come to, and what happens when it goes."""

from typing import Any

import msgspec
import pytest

from coordination.delegating import Wanted
from coordination.leading import LeaderElected, LeaderEnded
from edge.inputs import AgentDraining
from edge.leading.inputs import AnswerLeader, AskLeader, LeaderSpoke, PlanMade, TellLeader
from tests.edge.site import LEASE_MS, Robot, Site
from tests.workflow.plans import plan_of
from workflow.coordination_events import TaskAwarded

NAMES = ("anna", "ben", "cleo")
LED: dict[str, Any] = {"protocol": "leader", "group": {"name": "cranes", "capability": "work"}, "wait": "5s"}


def led(tasks: int = 1, **changes: Any) -> Site:
    """Three agents of a group, and tasks for it."""
    site = Site()
    for name in NAMES:
        site.join(name, capacity=2, features=("leads",))
    site.release(plan_of({f"t{n}": {"with": {"n": n}, "coordination": {**LED, **changes}} for n in range(tasks)}))
    site.turn()
    return site


def asked(robot: Robot) -> list[AskLeader]:
    return [order for order in robot.heard if isinstance(order, AskLeader)]


def plan(site: Site, name: str, given: dict[str, str], *, by_site: bool = False, epoch: int = 0, number: int = 0) -> None:
    robot = site.robots[name]
    question = asked(robot)[-1] if asked(robot) else None
    about = epoch or (question.epoch if question else 0), number or (question.number if question else 0)
    items = [Wanted(task, agent) for task, agent in given.items()]
    site.turn(PlanMade(robot.session, name, "cranes", *about, items, by_site))


def refusals(robot: Robot) -> list[str]:
    return [refused.code for order in robot.heard if isinstance(order, AnswerLeader) for refused in order.refused]


def keep(site: Site, ms: int) -> None:
    """Time passes, and those who are connected are heard."""
    for _ in range(max(1, ms // 3_000)):
        site.clock.pass_ms(min(ms, 3_000))
        site.beat(*site.robots.values())
    site.turn()


def test_a_leaders_plan_is_carried_out_under_its_epoch() -> None:
    """It is asked once for all that is ready; followers get the work with the epoch of the term; the award says who led."""
    site = led(tasks=3)
    (elected,) = site.events(LeaderElected)
    (question,) = asked(site.robots["anna"])
    assert (elected.agent, elected.group, question.epoch) == ("anna", "cranes", elected.epoch)
    assert ([task.id for task in question.tasks], question.tasks[1].parameters) == (["r1/0", "r1/1", "r1/2"], b'{"n":1}')
    assert [one.agent for one, _ in question.followers] == list(NAMES)
    plan(site, "anna", {"r1/0": "cleo", "r1/1": "cleo", "r1/2": "anna"})
    assert {name: len(site.robots[name].hands) for name in NAMES} == {"anna": 1, "ben": 0, "cleo": 2}
    assert all(item.leases == (("leader/cranes", elected.epoch),) for item in site.robots["cleo"].hands.values())
    awards = site.events(TaskAwarded)
    assert [award.agent for award in awards] == ["cleo", "cleo", "anna"]
    detail = msgspec.json.decode(awards[0].detail)
    assert (detail["rule"], detail["under"]) == ("leader of cranes", {"leader/cranes": elected.epoch})
    assert any(isinstance(order, TellLeader) and order.leader == "anna" for order in site.robots["ben"].heard)


def test_what_makes_no_sense_in_a_plan_is_refused_and_asked_again() -> None:
    """By name and code; the rest counts; what was left out is put to the leader once more."""
    site = led(tasks=2)
    plan(site, "anna", {"r1/0": "mallory", "r1/1": "ben", "r9/0": "ben"})
    assert refusals(site.robots["anna"]) == ["unknown_follower", "unknown_task"]
    assert len(site.robots["ben"].hands) == 1
    keep(site, 1_000)
    assert [task.id for task in asked(site.robots["anna"])[-1].tasks] == ["r1/0"]
    plan(site, "anna", {"r1/0": ""})
    assert site.states() == ["ready", "running"]
    keep(site, 1_000)
    plan(site, "anna", {}, by_site=True)
    assert site.states() == ["running", "running"]


def test_a_leader_that_is_lost_is_replaced_and_its_plan_does_not_count() -> None:
    """The next term has a higher epoch; a plan under the old one is refused; the task is awarded once."""
    site = led()
    old = asked(site.robots["anna"])[-1]
    site.hang_up(site.robots["anna"])
    keep(site, LEASE_MS + 3_000)
    ended, elected = site.events(LeaderEnded)[0], site.events(LeaderElected)[1]
    assert (ended.agent, ended.reason, elected.agent, elected.epoch > old.epoch) == ("anna", "lost", "ben", True)
    site.join("anna", features=("leads",))
    plan(site, "anna", {"r1/0": "anna"}, epoch=old.epoch, number=old.number)
    assert refusals(site.robots["anna"]) == ["old_epoch"]
    plan(site, "ben", {"r1/0": "cleo"})
    assert [award.agent for award in site.events(TaskAwarded)] == ["cleo"]


def test_a_leader_hands_over_and_steps_down() -> None:
    """To whom it names, or to whoever is next; an open question goes to the new leader at once."""
    site = led()
    anna = site.robots["anna"]
    site.turn(LeaderSpoke(anna.session, "anna", "cranes", asked(anna)[-1].epoch, "cleo"))
    site.turn()
    assert [event.agent for event in site.events(LeaderElected)] == ["anna", "cleo"]
    question = asked(site.robots["cleo"])[-1]
    site.turn(LeaderSpoke(anna.session, "anna", "cranes", question.epoch, "anna"))
    assert refusals(anna) == ["not_leader"]
    site.turn(LeaderSpoke(site.robots["cleo"].session, "cleo", "cranes", question.epoch, ""))
    site.turn()
    assert [(event.agent, event.reason) for event in site.events(LeaderEnded)] == [
        ("anna", "transferred"),
        ("cleo", "stepped_down"),
    ]
    assert site.events(LeaderElected)[-1].agent == "anna"


def test_work_that_waits_for_a_leader_gets_one_when_all_have_stepped_down() -> None:
    """A lease time later the first of them leads again, and is asked; one that has gone for good meanwhile does not."""
    site = led(otherwise="wait")
    for name in NAMES:
        question = asked(site.robots[name])[-1]
        site.turn(LeaderSpoke(site.robots[name].session, name, "cranes", question.epoch, ""))
    assert [event.agent for event in site.events(LeaderElected)] == list(NAMES)
    assert site.core.leading.groups["cranes"].term.leader == ""
    site.hang_up(site.robots["anna"], goodbye=True)
    for _ in range(2 * LEASE_MS // 3_000):
        if not site.core.leading.groups["cranes"].term.leader:
            keep(site, 3_000)
    assert [event.agent for event in site.events(LeaderElected)] == [*NAMES, "ben"]
    plan(site, "ben", {"r1/0": "cleo"})
    assert [award.agent for award in site.events(TaskAwarded)] == ["cleo"]


def test_epochs_go_on_after_a_restart_and_the_leader_too() -> None:
    """Its lease is not believed: it has one lease time to come back, and leads on under its epoch; one that does not come is
    replaced under a higher one."""
    site = led()
    epoch = site.events(LeaderElected)[0].epoch
    site.restart()
    for name in NAMES:
        site.join(name, features=("leads",))
    site.turn()
    assert len(site.events(LeaderElected)) == 1
    assert asked(site.robots["anna"])[-1].epoch == epoch
    plan(site, "anna", {})  # Of the followers that were back first.
    keep(site, 1_000)
    plan(site, "anna", {"r1/0": "ben"})
    assert site.states() == ["running"]
    site.restart()
    for name in ("ben", "cleo"):
        site.join(name, features=("leads",))
    keep(site, LEASE_MS + 3_000)
    site.release(plan_of({"more": {"coordination": LED}}, name="more"), "r2")
    site.turn()
    assert site.events(LeaderElected)[-1].epoch > epoch


def test_who_does_not_answer_is_asked_again_and_then_something_else_happens() -> None:
    """Three rounds; then the task is handed out directly, and the award says why."""
    site = led(otherwise="direct")
    for _ in range(8):
        keep(site, 3_000)
    assert site.states() == ["running"]
    awarded = site.events(TaskAwarded)[0]
    assert (awarded.agent, msgspec.json.decode(awarded.detail)["reason"]) == ("", "anna, who leads cranes, has not answered")


def test_a_group_without_anybody_fails_its_tasks_in_time() -> None:
    """Nobody leads it."""
    site = Site()
    site.release(plan_of({"t0": {"coordination": {**LED, "otherwise": "fail"}}}))
    site.turn()
    site.pass_ms(6_000)
    site.turn()
    assert site.outcome() == "failed"
    assert msgspec.json.decode(site.events(TaskAwarded)[0].detail)["reason"] == "nobody leads cranes"


def test_an_agent_of_an_older_sdk_leads_by_the_sites_hand() -> None:
    """It cannot be asked: the site spreads the tasks over the least loaded followers, under its term."""
    site = Site()
    for name in NAMES:
        site.join(name, capacity=1)
    site.release(plan_of({f"t{n}": {"coordination": LED} for n in range(4)}))
    site.turn()
    assert sorted(site.states()) == ["ready", "running", "running", "running"]
    site.done(site.robots["ben"], task=site.robots["ben"].key("r1", 1).task)
    keep(site, 1_000)
    assert site.states().count("running") == 3


def test_there_are_so_many_groups_and_no_epoch_comes_twice() -> None:
    """The first group makes room for the third; made anew, its terms lie above those that it had."""
    site = Site()
    site.core.leading.groups_max = 2
    site.join("anna", capacity=9, features=("leads",))
    for number, name in enumerate(("cranes", "docks", "belts", "cranes")):
        group = {**LED, "group": {"name": name, "capability": "work"}}
        site.release(plan_of({"t0": {"coordination": group}}, name=f"story-{number}"), f"r{number}")
        site.turn()
    assert sorted(site.core.leading.groups) == ["belts", "cranes"]
    epochs = [event.epoch for event in site.events(LeaderElected) if event.group == "cranes"]
    assert len(epochs) >= 2
    assert epochs == sorted(set(epochs))


def test_what_waits_for_an_answer_wants_no_turn() -> None:
    """While its leader thinks about some, others that were to be put again have fallen due: the site sleeps until the answer is
    late, and is not woken without end."""
    site = led(tasks=2)
    plan(site, "anna", {"r1/0": "", "r1/1": ""})  # Both a little later.
    site.release(plan_of({"t0": {"coordination": LED}}, name="more"), "r2")
    site.turn()
    assert [task.id for task in asked(site.robots["anna"])[-1].tasks] == ["r2/0"]
    keep(site, 1_000)
    coordinating = site.core.dispatch.coordinating
    assert coordinating is not None
    due_ms, now_ms = coordinating.wake_mono_ms(), site.clock.now().mono_ms
    assert due_ms is not None
    assert due_ms > now_ms


def test_more_than_one_question_holds_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """All have fallen due, and nobody has room: those behind the bound of a question wait for that, too, and want no turn."""
    monkeypatch.setattr("edge.coordinating.leader.TASKS_MAX", 3)
    site = Site()
    anna = site.join("anna", capacity=1, features=("leads",))
    site.release(plan_of({f"t{n}": {"coordination": LED} for n in range(5)}))
    site.turn()
    for _ in range(2):
        plan(site, "anna", {task.id: "" for task in asked(anna)[-1].tasks})
    site.release(plan_of({"t0": {}}, name="direct"), "r2")
    site.turn()
    keep(site, 1_000)
    coordinating = site.core.dispatch.coordinating
    assert coordinating is not None
    assert (len(anna.hands), coordinating.wake_mono_ms()) == (1, None)
    anna.finish(anna.key("r2"))
    site.report(anna)
    assert len(asked(anna)[-1].tasks) == 3


def test_a_blink_of_the_leader_costs_no_task_that_had_queued() -> None:
    """The wait for a leader counts from when it was lost, and anew when it is lost again."""
    site = led(tasks=8, otherwise="fail")
    plan(site, "anna", {}, by_site=True)
    keep(site, 12_000)
    for _ in range(2):
        site.hang_up(site.robots["anna"])
        keep(site, 3_000)
        site.join("anna", features=("leads",))
    assert (sorted(set(site.states())), site.events(TaskAwarded)[6:]) == (["ready", "running"], [])


def test_who_may_come_back_and_lead_on_is_waited_for() -> None:
    """After a restart of the site for one lease, also by a task that would wait for less; then nobody leads, and it fails."""
    site = led(wait="3s", otherwise="fail")
    site.restart()
    site.pass_ms(LEASE_MS - 1_000)
    assert site.states() == ["ready"]
    for _ in range(4):
        site.pass_ms(1_000)
    assert site.outcome() == "failed"
    assert msgspec.json.decode(site.events(TaskAwarded)[0].detail)["reason"] == "nobody leads cranes"


@pytest.mark.parametrize(
    ("group", "later", "successor", "code"),
    [
        ("docks", 0, "ben", "group_unknown"),
        ("cranes", -1, "ben", "old_epoch"),
        ("cranes", 1, "", "old_epoch"),
        ("cranes", 0, "typo", "not_a_member"),
        ("cranes", 0, "dora", "not_a_member"),
        ("cranes", 0, "anna", "leads_already"),
        ("cranes", 0, "ben", "agent_silent"),
        ("cranes", 0, "cleo", "agent_draining"),
    ],
)
def test_a_word_that_does_not_count_is_refused_and_the_leader_stays(group: str, later: int, successor: str, code: str) -> None:
    """By code, and counted; the leader is told that it leads on, for it has taken its own word for the end."""
    site = led()
    anna = site.robots["anna"]
    site.join("dora", capabilities=("paint",))
    site.hang_up(site.robots["ben"])
    site.turn(AgentDraining(site.robots["cleo"].session, "cleo", "it is stopped"))
    epoch = asked(anna)[-1].epoch
    told = len(anna.heard)
    site.turn(LeaderSpoke(anna.session, "anna", group, epoch + later, successor))
    (answer, *more) = anna.heard[told:]
    assert isinstance(answer, AnswerLeader)
    assert (answer.group, answer.epoch, answer.number, refusals(anna)) == (group, epoch + later, 0, [code])
    assert [(said.leader, said.epoch) for said in more] == ([("anna", epoch)] if group == "cranes" else [])
    assert (site.core.leading.groups["cranes"].term.leader, site.events(LeaderEnded)) == ("anna", [])
    coordinating = site.core.dispatch.coordinating
    assert coordinating is not None
    assert coordinating.refused() == {f"word_{code}": 1}


def test_who_has_stepped_down_may_be_named_again() -> None:
    """It stands no more by itself, and is a member all the same."""
    site = led()
    for name, successor in (("anna", ""), ("ben", "anna")):
        epoch = site.core.leading.groups["cranes"].term.epoch
        site.turn(LeaderSpoke(site.robots[name].session, name, "cranes", epoch, successor))
    assert [event.agent for event in site.events(LeaderElected)] == ["anna", "ben", "anna"]
