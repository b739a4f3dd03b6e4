"""Operators move the term of a group at a site without sockets: by the cloud's stream, and on the site's own machine."""

from typing import Any

import pytest

from coordination.leading import HeirNamed, LeaderElected, LeaderEnded, TransferRequested
from edge.inputs import AgentDraining
from edge.leading.inputs import LeaderSpoke, MoveTerm, TellLeader, TermMoved
from tests.edge.site import LEASE_MS, Site
from tests.edge.test_children import snapshot
from tests.edge.test_leading import LED, asked, keep, led, plan, refusals
from tests.workflow.plans import plan_of
from workflow.coordination_events import TaskAwarded
from workflow.events import CommandAnswered


def order(site: Site, to: str = "", *, group: str = "cranes", epoch: int = 0, command: str = "c1") -> str:
    """Through the cloud; the site's answer."""
    site.tell(("", 0, TransferRequested(command, "harbour", group, to, epoch)))
    (answer,) = [answer for answer in site.events(CommandAnswered) if answer.command == command]
    return "accepted" if answer.accepted else answer.detail


def move(site: Site, to: str = "", *, group: str = "cranes", epoch: int = 0) -> TermMoved:
    """On the site's own machine."""
    moved = site.ask(lambda token: MoveTerm(token, group, to, epoch))
    assert isinstance(moved, TermMoved)
    return moved


def epoch_of(site: Site) -> int:
    return site.core.leading.groups["cranes"].term.epoch


def test_an_order_moves_the_term_and_the_plan_of_before_does_not_count() -> None:
    """The leader is not asked: it is told, the open question goes to the next one, and its own plan is refused."""
    site = led()
    old = asked(site.robots["anna"])[-1]
    assert order(site, "cleo") == "accepted"
    (ended,) = site.events(LeaderEnded)
    elected = site.events(LeaderElected)[-1]
    assert (ended.agent, ended.reason, ended.heir, ended.delay_ms) == ("anna", "transferred", "cleo", 0)
    assert (elected.agent, elected.reason, elected.epoch > old.epoch) == ("cleo", "transferred", True)
    told = [said for said in site.robots["anna"].heard if isinstance(said, TellLeader)]
    assert (told[-1].leader, told[-1].epoch) == ("cleo", elected.epoch)
    plan(site, "anna", {"r1/0": "anna"}, epoch=old.epoch, number=old.number)
    assert refusals(site.robots["anna"]) == ["old_epoch"]
    plan(site, "cleo", {"r1/0": "ben"})
    assert [award.agent for award in site.events(TaskAwarded)] == ["ben"]


def test_without_a_name_it_is_whoever_is_next_and_here() -> None:
    """One that is silent for a moment is passed over; cut off, the site does the same for who asks it itself."""
    site = led()
    site.cut()
    site.hang_up(site.robots["ben"])
    moved = move(site)
    assert (moved.code, moved.leader, moved.epoch) == ("", "cleo", epoch_of(site))
    assert site.core.leading.groups["cranes"].term.leader == "cleo"


def test_asked_again_it_is_done_already() -> None:
    """Who leads already goes on under its epoch."""
    site = led()
    assert order(site, "ben", command="c1") == "accepted"
    epoch = epoch_of(site)
    assert order(site, "ben", command="c2") == "accepted"
    assert (move(site, "ben").detail, epoch_of(site)) == (f"ben leads cranes under epoch {epoch}", epoch)


@pytest.mark.parametrize(
    ("asked_for", "code"),
    [
        ({"group": "docks", "to": "ben"}, "group_unknown"),
        ({"to": "mallory"}, "not_a_member"),
        ({"to": "dora"}, "not_a_member"),
        ({"to": "ben"}, "agent_silent"),
        ({"to": "cleo"}, "agent_draining"),
        ({}, "nobody_else"),
        ({"to": "cleo", "epoch": 7}, "old_epoch"),
    ],
)
def test_what_cannot_be_done_is_refused_by_code(asked_for: dict[str, Any], code: str) -> None:
    """The same through the cloud and on the spot; nothing changes."""
    site = led()
    site.join("dora", capabilities=("paint",))
    site.hang_up(site.robots["ben"])
    site.turn(AgentDraining(site.robots["cleo"].session, "cleo", "it is stopped"))
    before = epoch_of(site)
    assert order(site, **asked_for).startswith(f"{code}: ")
    assert move(site, **asked_for).code == code
    assert (epoch_of(site), site.events(LeaderEnded)) == (before, [])


def test_nobody_leads_and_who_is_next_needs_no_order() -> None:
    """But who is to lead may be named, also one that has stepped down."""
    site = Site()
    site.join("anna", features=("leads",))
    site.release(plan_of({"t0": {"coordination": {**LED, "lock_delay": "30s"}}}))
    site.turn()
    site.turn(LeaderSpoke(site.robots["anna"].session, "anna", "cranes", epoch_of(site), ""))
    assert move(site).code == "no_leader"
    assert move(site, "anna", epoch=epoch_of(site)).leader == "anna"


def test_where_nobody_checks_epochs_the_next_one_waits() -> None:
    """For the lease of the leader of before and the lock-delay, whom nobody has heard saying that it has stopped. A restart waits
    anew, and still knows who is next; what is ordered meanwhile, too."""
    site = led(lock_delay="20s")
    moved = move(site, "cleo")
    assert (moved.code, moved.leader) == ("", "")
    (ended,) = site.events(LeaderEnded)
    assert 20_000 < ended.delay_ms <= 20_000 + LEASE_MS * 1.02
    keep(site, ended.delay_ms // 2)
    assert move(site, "ben").leader == ""
    assert [named.heir for named in site.events(HeirNamed)] == ["ben"]
    site.restart()
    for name in ("anna", "ben", "cleo"):
        site.join(name, features=("leads",))
    keep(site, ended.delay_ms - 1_000)
    assert len(site.events(LeaderElected)) == 1
    keep(site, 6_000)
    elected = site.events(LeaderElected)[-1]
    assert (elected.agent, elected.reason) == ("ben", "transferred")


def test_an_order_after_a_restart_finds_its_group() -> None:
    """Who belongs to a group is in the log: nothing has to want it first."""
    site = led()
    plan(site, "anna", {"r1/0": "anna"})
    site.robots["anna"].finish(site.robots["anna"].key())
    site.report(site.robots["anna"])
    assert site.outcome() == "completed"
    snapshot(site)
    site.restart()
    for name in ("anna", "ben"):
        site.join(name, features=("leads",))
    assert order(site, "ben") == "accepted"
    assert site.events(LeaderElected)[-1].agent == "ben"


def test_what_is_acknowledged_names_the_terms_that_hold() -> None:
    """From the moment of the decision, which nobody has been told yet: heartbeats keep no term that is over, and no session."""
    site = led(lock_delay="20s")
    anna, core = site.robots["anna"], site.core
    assert core.honours(anna.session, "anna") == {"cranes": epoch_of(site)}
    assert core.honours(site.robots["ben"].session, "ben") == {}
    move(site, "cleo")
    assert core.honours(anna.session, "anna") == {}
    assert core.honours(anna.session + 1_000, "anna") is None
    site.clock.pass_ms(LEASE_MS + 1_000)
    site.turn()
    assert core.honours(anna.session, "anna") is None
    assert core.honours(anna.session, "nobody") is None


def test_an_order_waits_for_who_may_still_come_back_after_a_restart() -> None:
    """Named or not, from the cloud or on the spot; through further restarts what the cloud ordered is answered once. Who comes
    leads; who does not is refused when its lease is over."""
    site = led()
    site.link()
    site.restart()
    site.link()
    site.join("anna", features=("leads",))
    tell(site, "ben", "c1")
    site.turn(MoveTerm(91, "cranes", "cleo", 0), MoveTerm(92, "cranes", "", 0))
    assert (site.answer("c1"), site.replies, site.core.asking()) == ("", {}, [91, 92])
    site.join("cleo", features=("leads",))
    assert [site.replies[token].leader for token in (91, 92)] == ["cleo", "anna"]  # type: ignore[attr-defined]
    snapshot(site)
    site.restart()
    site.link()
    assert site.answer("c1") == ""
    site.link()  # Both have compared once more: it waits once.
    site.join("ben", features=("leads",))
    assert site.answer("c1") == f"ben leads cranes under epoch {epoch_of(site)}"
    site.restart()
    site.link()
    tell(site, "cleo", "c2")
    site.pass_ms(LEASE_MS + 1_000)
    assert site.answer("c2").startswith("agent_silent: ")
    assert site.core.unheard.said == {}


def tell(site: Site, to: str, command: str) -> None:
    site.tell(("", 0, TransferRequested(command, "harbour", "cranes", to, 0)))
