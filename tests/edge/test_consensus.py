"""Agents vote which of them does a task, at a site without sockets."""

from typing import Any

import msgspec

from edge.voting.inputs import AgentVoted, Proposal, ProposeVotes, Said
from tests.edge.site import Robot, Site
from tests.workflow.plans import plan_of
from workflow.coordination_events import TaskAwarded
from workflow.voting_events import VoteAsked, VoteClosed

NAMES = ("anna", "ben", "cleo")


def sought(**changes: Any) -> Site:
    site = Site()
    for name in NAMES:
        site.join(name, capacity=1, features=("votes",))
    chosen = {"protocol": "consensus", "wait": "10s", **changes}
    site.release(plan_of({"lift": {"with": {"kg": 5}, "coordination": chosen}}))
    site.turn()
    return site


def proposals(robot: Robot) -> list[Proposal]:
    return [item for order in robot.heard if isinstance(order, ProposeVotes) for item in order.items]


def vote(site: Site, name: str, option: str) -> None:
    robot, asked = site.robots[name], proposals(site.robots[name])[-1]
    site.turn(AgentVoted(robot.session, name, [Said(asked.ballot, asked.epoch, option)]))
    site.turn()


def award(site: Site) -> dict[str, Any]:
    (awarded,) = site.events(TaskAwarded)
    return {"agent": awarded.agent, "protocol": awarded.protocol, **msgspec.json.decode(awarded.detail)}


def test_who_is_chosen_gets_the_task_and_the_award_has_every_vote() -> None:
    """The candidates are shown with what they hold; two of three decide."""
    site = sought()
    asked = proposals(site.robots["anna"])[0]
    details = msgspec.json.decode(asked.details)
    assert (asked.what, asked.options, asked.topic) == ("consensus", NAMES, "work")
    assert (details["parameters"], details["candidates"]["ben"]) == ({"kg": 5}, {"load": 0, "capacity": 1, "labels": {}})
    vote(site, "anna", "cleo")
    vote(site, "ben", "cleo")
    assert [key.run for key in site.robots["cleo"].hands] == ["r1"]
    found = award(site)
    assert (found["agent"], found["protocol"], found["rule"]) == ("cleo", "consensus", "majority")
    assert found["given"] == [{"agent": "anna", "option": "cleo"}, {"agent": "ben", "option": "cleo"}]
    assert found["refused"] == [{"agent": "cleo", "code": "silent"}]
    assert [type(event) for event in site.events_of("r1")][-4:-1] == [VoteAsked, VoteClosed, TaskAwarded]


def test_without_a_decision_it_is_asked_again_and_then_handed_out_otherwise() -> None:
    """Three rounds without a majority, each under an epoch of its own; then the least loaded agent gets it, and why is told."""
    site = sought(otherwise="direct", tie="reject")
    for _ in range(3):
        for name in NAMES:
            vote(site, name, name)
        site.pass_ms(5_000)
        site.beat(*site.robots.values())
        site.turn()
    epochs = [event.epoch for event in site.events(VoteAsked)]
    assert len(epochs) == len(set(epochs)) == 3
    assert epochs == sorted(epochs)
    found = award(site)
    assert (found["agent"], found["round"], found["reason"]) == ("", 3, "no decision (not_enough) in round 3")
    assert len([robot for robot in site.robots.values() if robot.hands]) == 1


def test_nobody_found_fails_the_task_if_it_says_so() -> None:
    """With a code that recovery can look at."""
    site = sought(otherwise="fail", quorum=3)
    for name in ("anna", "ben"):
        site.hang_up(site.robots[name], goodbye=True)
    for _ in range(4):
        for _ in range(4):
            site.pass_ms(5_000)
            site.beat(site.robots["cleo"])
        site.turn()
    assert site.outcome() == "failed"
    assert "3 must vote, and 1 are here" in award(site)["reason"]


def test_one_candidate_needs_no_vote() -> None:
    """Only one has room: it gets the task at once."""
    site = Site()
    site.join("anna", capacity=1)
    site.release(plan_of({"lift": {"coordination": {"protocol": "consensus"}}}))
    site.turn()
    assert len(site.robots["anna"].hands) == 1
    assert award(site)["rule"] == "only candidate"
    assert site.events(VoteAsked) == []


def test_a_restart_in_the_middle_of_a_vote_asks_anew() -> None:
    """Votes of before are refused; the task is awarded once."""
    site = sought()
    vote(site, "anna", "cleo")
    site.restart()
    for name in NAMES:
        site.join(name, features=("votes",))
    site.turn()
    for name in ("ben", "anna"):
        vote(site, name, "ben")
    assert award(site)["agent"] == "ben"
    assert sum(len(robot.hands) for robot in site.robots.values()) == 1


def test_what_is_cancelled_is_voted_on_no_longer() -> None:
    """The ballot is withdrawn with the task."""
    site = sought()
    site.cancel()
    site.turn()
    assert site.core.home.polls.open == {}
    assert site.outcome() == "cancelled"
