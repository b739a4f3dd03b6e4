"""What definitions say of how groups are led, at a site without sockets: for how long, after which delay, who first."""

from typing import Any

from coordination.leading import GroupDefined, LeaderElected, LeaderEnded
from edge.leading.inputs import TellLeader
from tests.edge.site import LEASE_MS, Site
from tests.edge.test_children import snapshot
from tests.edge.test_leading import LED, asked, keep, led, plan
from tests.workflow.plans import plan_of
from workflow.coordination_events import TaskAwarded


def add(site: Site, name: str, run: str, version: str = "1.0.0", **terms: Any) -> None:
    """A task of another definition for the same group."""
    site.release(plan_of({"t0": {"coordination": {**LED, **terms}}}, name=name, version=version), run)
    site.turn()


def elected(site: Site) -> list[LeaderElected]:
    return site.events(LeaderElected)


def test_the_highest_priority_leads_whatever_labels_say() -> None:
    """Who is not named has that of its label; who comes first does not matter."""
    site = Site()
    for name, label in (("anna", "0"), ("ben", "5"), ("cleo", "1")):
        site.join(name, labels={"priority": label}, features=("leads",))
    add(site, "one", "r1", priority={"cleo": 9, "ben": -1})
    site.hang_up(site.robots["cleo"], goodbye=True)
    site.turn()
    assert [(each.agent, each.reason) for each in elected(site)] == [("cleo", "priority"), ("anna", "priority")]


def test_a_leader_with_a_longer_time_is_waited_for() -> None:
    """Its session's lease is over, its term is not: it comes back and leads on under its epoch; another second of silence and
    it would not. Its members are told for how long it is believed."""
    site = led(ttl="40s")
    (first,) = elected(site)
    assert (first.agent, first.ttl_ms) == ("anna", 40_000)
    assert next(said.ttl_ms for said in site.robots["ben"].heard if isinstance(said, TellLeader) and said.leader) == 40_000
    site.hang_up(site.robots["anna"])
    keep(site, LEASE_MS + 20_000)
    assert site.events(LeaderEnded) == []
    site.join("anna", features=("leads",))
    keep(site, 1_000)
    assert (len(elected(site)), asked(site.robots["anna"])[-1].epoch) == (1, first.epoch)
    site.hang_up(site.robots["anna"])
    keep(site, 36_000)
    assert len(elected(site)) == 1
    keep(site, 9_000)
    assert ([each.reason for each in site.events(LeaderEnded)], elected(site)[-1].agent) == (["lost"], "ben")


def test_a_longer_time_is_believed_after_a_restart_too() -> None:
    """The leader that the log knows has the time of its term to come back, from a snapshot or not."""
    site = led(ttl="40s")
    snapshot(site)
    site.restart()
    site.join("ben", features=("leads",))
    keep(site, 36_000)
    assert len(elected(site)) == 1
    keep(site, 9_000)
    assert [each.agent for each in elected(site)] == ["anna", "ben"]


def test_nobody_follows_a_lost_leader_before_its_lock_delay() -> None:
    """It stands in the events, and holds for whoever is folded from them."""
    site = led(lock_delay="20s")
    site.hang_up(site.robots["anna"])
    keep(site, LEASE_MS + 3_000)
    (ended,) = site.events(LeaderEnded)
    assert (ended.reason, ended.delay_ms, elected(site)[0].lock_delay_ms) == ("lost", 20_000, 20_000)
    keep(site, 12_000)
    assert len(elected(site)) == 1
    keep(site, 9_000)
    assert [each.agent for each in elected(site)] == ["anna", "ben"]
    site.hang_up(site.robots["ben"], goodbye=True)  # By its own word.
    site.turn()
    assert elected(site)[-1].agent == "cleo"


def test_two_definitions_that_say_different_things() -> None:
    """The more careful holds, in either order: the longer lock-delay at once, the longer time from the next term on; a newer
    version takes back what its older one said."""
    site = led(lock_delay="5s", ttl="12s")
    add(site, "two", "r2", ttl="30s", lock_delay="20s")
    add(site, "two", "r3", ttl="30s", lock_delay="20s")
    assert [(said.definition, said.ttl_ms, said.lock_delay_ms) for said in site.events(GroupDefined)] == [
        ("story", 12_000, 5_000),
        ("two", 30_000, 20_000),
    ]
    site.hang_up(site.robots["anna"])
    keep(site, 12_000 + 3_000)
    assert (site.events(LeaderEnded)[0].delay_ms, len(elected(site))) == (20_000, 1)
    keep(site, 21_000)
    assert (elected(site)[-1].agent, elected(site)[-1].ttl_ms, elected(site)[-1].lock_delay_ms) == ("ben", 30_000, 20_000)
    add(site, "two", "r4", "2.0.0")
    add(site, "two", "r5", "1.0.0", ttl="30s", lock_delay="20s")  # Of before: it says nothing any more.
    site.hang_up(site.robots["ben"], goodbye=True)
    site.turn()
    assert (elected(site)[-1].agent, elected(site)[-1].ttl_ms, elected(site)[-1].lock_delay_ms) == ("cleo", 12_000, 5_000)


def test_definitions_that_name_different_members_have_one_leader() -> None:
    """Whoever belongs by any of them is a member; tasks go to those whom their own definition names. Nobody is deposed because
    the other's task came last."""
    site = Site()
    for name in ("anna", "ben", "cleo"):
        site.join(name, features=("leads",))
    add(site, "one", "r1", group={"name": "cranes", "agents": ["anna", "ben"]})
    add(site, "two", "r2", group={"name": "cranes", "agents": ["ben", "cleo"]})
    add(site, "one", "r3", group={"name": "cranes", "agents": ["anna", "ben"]})
    assert [(each.agent, each.group) for each in elected(site)] == [("anna", "cranes")]
    questions = asked(site.robots["anna"])
    followers = {question.tasks[0].run: [one.agent for one, _ in question.followers] for question in questions}
    assert followers == {"r1": ["anna", "ben"], "r2": ["ben", "cleo"]}
    for question, agent in ((questions[0], "ben"), (questions[1], "cleo")):
        plan(site, "anna", {task.id: agent for task in question.tasks}, epoch=question.epoch, number=question.number)
    assert [award.agent for award in site.events(TaskAwarded)] == ["ben", "cleo"]
