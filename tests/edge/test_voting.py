"""Tasks whose question agents decide, at a site without sockets: who is asked, what counts, and what follows."""

from typing import Any

import msgspec
import pytest

from edge.voting.inputs import AgentVoted, AnswerVotes, Proposal, ProposeVotes, Reply, Said
from tests.edge.site import LEASE_MS, Robot, Site
from tests.workflow.plans import plan_of
from workflow.events import TaskCompleted
from workflow.explain import explain
from workflow.orders import Skip, Terminate
from workflow.voting_events import VoteAsked, VoteClosed

NAMES = ("anna", "ben", "cleo")


def inspected(**changes: Any) -> dict[str, dict[str, Any]]:
    vote = {"question": "Is it good?", "voters": list(NAMES), "quorum": 2, "deadline": 30, **changes}
    return {
        "inspect": {"vote": vote, "with": {"batch": 7}},
        "ship": {"needs": ["inspect"], "with": {"by": "${{ tasks.inspect.output.option }}"}},
    }


def opened(**changes: Any) -> Site:
    """Three inspectors are asked."""
    site = Site()
    for name in NAMES:
        site.join(name, features=("votes",))
    site.release(plan_of(inspected(**changes)))
    site.turn()
    return site


def asked(robot: Robot) -> list[Proposal]:
    return [item for order in robot.heard if isinstance(order, ProposeVotes) for item in order.items]


def told(robot: Robot) -> list[Reply]:
    return [item for order in robot.heard if isinstance(order, AnswerVotes) for item in order.items]


def vote(site: Site, name: str, option: str, *, epoch: int = 0, ballot: str = "r1/inspect") -> None:
    robot = site.robots[name]
    said = Said(ballot, epoch or asked(robot)[-1].epoch, option)
    site.turn(AgentVoted(robot.session, name, [said]))
    site.turn()


def result(site: Site) -> dict[str, Any]:
    (closed,) = site.events(VoteClosed)
    found: dict[str, Any] = msgspec.json.decode(closed.result)
    return found


def test_agents_decide_and_the_result_with_every_vote_is_the_tasks_output() -> None:
    """All are asked once; two of three settle it; who had not voted is named; what reads the output goes on."""
    site = opened()
    (proposal,) = asked(site.robots["anna"])
    assert (proposal.question, proposal.options, proposal.details) == ("Is it good?", ("accept", "reject"), b'{"batch":7}')
    assert (proposal.topic, proposal.due_ms, proposal.rule) == ("inspect", 30_000, "majority")
    vote(site, "anna", "accept")
    assert site.states() == ["waiting", "pending"]
    assert told(site.robots["anna"]) == []
    (shown,) = site.core.dispatch.coordinating.negotiations(site.clock.now())
    assert (shown.protocol, shown.why) == ("vote", "1 of 3 agents have voted; waits for ben, cleo")
    assert shown.given == [{"agent": "anna", "option": "accept"}]
    vote(site, "ben", "accept")
    (done,) = site.events(TaskCompleted)
    assert msgspec.json.decode(done.output) == result(site)
    assert result(site)["votes"] == {"anna": "accept", "ben": "accept"}
    assert (result(site)["missing"], result(site)["ended"]) == ({"cleo": "silent"}, "early")
    assert told(site.robots["anna"]) == told(site.robots["ben"]) == [Reply("r1/inspect", proposal.epoch, result="accept")]
    assert site.states()[0] == "completed"
    assert site.robots["anna"].hands or site.robots["ben"].hands or site.robots["cleo"].hands


@pytest.mark.parametrize(("on_reject", "state"), [("fail", "failed"), ("skip", "skipped"), ("complete", "completed")])
def test_what_follows_a_rejection_is_what_the_definition_says(on_reject: str, state: str) -> None:
    """The result is on record in each case."""
    site = opened(on_reject=on_reject, quorum=1)
    vote(site, "anna", "reject")
    vote(site, "cleo", "reject")
    assert _ended(site) == [state]
    assert (result(site)["accepted"], result(site)["option"], result(site)["reason"]) == (False, "", "rejected")


def _ended(site: Site) -> list[str]:
    kinds = {"TaskCompleted": "completed", "TaskSkipped": "skipped", "TaskFailed": "failed"}
    return [kinds[event.kind] for event in site.events_of("r1") if event.kind in kinds and getattr(event, "task", -1) == 0]


def test_a_restart_asks_anew_and_votes_of_before_do_not_count() -> None:
    """A higher epoch; who had voted is asked again; an old vote is refused by name; nothing that was not durable was
    acknowledged."""
    site = opened()
    vote(site, "anna", "accept")
    before = asked(site.robots["anna"])[-1].epoch
    site.restart()
    for name in NAMES:
        site.join(name, features=("votes",))
    site.turn()
    after = asked(site.robots["anna"])[-1].epoch
    assert after > before
    vote(site, "ben", "accept", epoch=before)
    assert [reply.code for reply in told(site.robots["ben"])] == ["old_epoch"]
    vote(site, "anna", "reject")
    vote(site, "cleo", "reject")
    assert result(site)["votes"] == {"anna": "reject", "cleo": "reject"}
    assert result(site)["refused"] == {"old_epoch": 1}
    assert [event.epoch for event in site.events(VoteAsked)] == [before, after]


def test_who_is_gone_is_not_waited_for_and_who_returns_is_asked() -> None:
    """An agent whose lease has run out abstains; one whose line was cut is asked again over the next session, and may vote."""
    site = opened(quorum=1, rule="unanimous")
    vote(site, "anna", "accept")
    site.hang_up(site.robots["ben"])
    site.hang_up(site.robots["cleo"], goodbye=True)
    site.join("ben", features=("votes",))
    assert len(asked(site.robots["ben"])) == 2
    site.hang_up(site.robots["ben"])
    site.beat(site.robots["anna"])
    site.pass_ms(LEASE_MS // 2)
    site.beat(site.robots["anna"])
    site.pass_ms(LEASE_MS)
    site.turn()
    assert result(site)["missing"] == {"ben": "unreachable", "cleo": "left"}
    assert (result(site)["accepted"], result(site)["ended"]) == (True, "all")


@pytest.mark.parametrize(("rule", "needed"), [("majority", 2), ("unanimous", 3)])
def test_without_a_quorum_those_who_are_away_are_waited_for(rule: str, needed: int) -> None:
    """Of three inspectors one is there: its vote alone approves nothing, and at the deadline the quorum was missed."""
    site = Site()
    site.release(plan_of({"inspect": {"vote": {"question": "Good?", "voters": list(NAMES), "rule": rule, "deadline": 30}}}))
    site.join("anna", features=("votes",))
    site.turn()
    vote(site, "anna", "accept")
    assert site.events(VoteClosed) == []
    for _ in range(7):
        site.pass_ms(5_000)
        site.beat(*site.robots.values())
    site.turn()
    assert (result(site)["reason"], result(site)["ended"], result(site)["quorum"]) == ("no_quorum", "deadline", needed)
    assert site.outcome() == "failed"


def test_all_with_a_capability_may_vote_once_there_are_enough() -> None:
    """Nobody is asked before the quorum is there; who else comes later is not among them."""
    site = Site()
    site.release(plan_of({"inspect": {"vote": {"question": "Good?", "voters": "work", "quorum": 2, "deadline": 60}}}))
    site.join("anna", features=("votes",))
    site.turn()
    assert asked(site.robots["anna"]) == []
    assert next(reason.why for reason in explain(site.fragment())) == "waits for agents with work to vote"
    site.join("ben", features=("votes",))
    site.turn()
    site.join("cleo", features=("votes",))
    site.turn()
    assert [len(asked(site.robots[name])) for name in NAMES] == [1, 1, 0]
    assert asked(site.robots["anna"])[0].topic == "work"
    vote(site, "cleo", "accept", epoch=asked(site.robots["anna"])[0].epoch)
    assert [reply.code for reply in told(site.robots["cleo"])] == ["not_invited"]


def test_a_question_that_nobody_can_answer_is_rejected_in_its_time() -> None:
    """The time of a question runs while too few are there."""
    site = Site()
    site.release(plan_of({"inspect": {"vote": {"question": "Good?", "voters": "work", "quorum": 2, "deadline": 60}}}))
    site.join("anna", features=("votes",))
    site.turn()
    site.hang_up(site.robots["anna"], goodbye=True)
    site.pass_ms(61_000)
    site.turn()
    assert site.outcome() == "failed"
    assert result(site)["reason"] == "no_quorum"


def test_at_the_deadline_what_was_said_counts() -> None:
    """Too few: rejected; who votes afterwards is told that it is over."""
    site = opened(quorum=3)
    vote(site, "anna", "accept")
    epoch = asked(site.robots["anna"])[-1].epoch
    for _ in range(7):
        site.pass_ms(5_000)
        site.beat(*site.robots.values())
    site.turn()
    assert (result(site)["reason"], result(site)["ended"]) == ("no_quorum", "deadline")
    vote(site, "ben", "accept", epoch=epoch)
    vote(site, "anna", "accept", epoch=epoch)
    assert [reply.code for reply in told(site.robots["ben"])] == ["late"]
    assert [reply.code for reply in told(site.robots["anna"])] == ["", ""]


@pytest.mark.parametrize("how", ["skip", "cancel", "terminate"])
def test_what_nobody_wants_to_know_any_more_is_asked_no_longer(how: str) -> None:
    """The ballot is withdrawn, and late votes are refused."""
    site = opened()
    match how:
        case "skip":
            assert site.order(Skip("inspect")) == "accepted"
        case "cancel":
            site.cancel()
        case _:
            assert site.order(Terminate("enough")) == "accepted"
    assert site.core.home.polls.open == {}
    vote(site, "anna", "accept")
    assert [reply.code for reply in told(site.robots["anna"])] == ["late"]
    assert site.events(VoteClosed) == []


def test_a_vote_is_the_sessions_own() -> None:
    """Whoever speaks over a session that another has taken over is not heard, and nobody votes for somebody else."""
    site = opened()
    old = site.robots["anna"].session
    site.join("anna", features=("votes",))
    epoch = asked(site.robots["anna"])[-1].epoch
    site.turn(AgentVoted(old, "anna", [Said("r1/inspect", epoch, "accept")]))
    assert site.core.home.polls.open["r1/inspect"].ballot.votes == {}
    vote(site, "anna", "accept", ballot="r1/other")
    assert [reply.code for reply in told(site.robots["anna"])] == ["other_ballot"]
    assert site.core.home.polls.refused == {"other_ballot": 1}
