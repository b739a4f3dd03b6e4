"""Who leads groups, and who is to, at the planner: what is recorded, whom it reaches when, what a restart knows."""

from typing import Any

import pytest

from cloud.intents import COMMANDS_KEPT, Intent
from cloud.leading.inputs import TransferTerm
from cloud.port import Problem
from coordination.leading import HeirNamed, LeaderElected, LeaderEnded, TransferRequested
from tests.cloud.control import Control
from workflow.events import CommandAnswered


@pytest.fixture
def cloud() -> Control:
    cloud = Control()
    cloud.join("harbour", "lift", agent="anna")
    cloud.join("airport", "lift", agent="bert")
    return cloud


def order(cloud: Control, to: str = "ben", site: str = "harbour", epoch: int = 0) -> str:
    command = cloud.ask(lambda token: TransferTerm(token, site, "cranes", to, epoch))
    assert isinstance(command, str), command
    return command


def told(cloud: Control, site: str = "harbour") -> list[TransferRequested]:
    return [event for _, event in cloud.outposts[site].inbox if isinstance(event, TransferRequested)]


def say(cloud: Control, *events: Any) -> None:
    for event in events:
        cloud.outposts["harbour"].say("", event)
    cloud.hear("harbour")


def test_an_order_goes_to_its_site_alone_and_is_answered_by_it(cloud: Control) -> None:
    """Pending until then; what the site said is kept."""
    command = order(cloud, epoch=7)
    assert told(cloud) == [TransferRequested(command, "harbour", "cranes", "ben", 7)]
    assert told(cloud, "airport") == []
    assert [(intent.id, group, to) for intent, group, to in cloud.planner.groups.under_way()] == [(command, "cranes", "ben")]
    say(cloud, CommandAnswered(command, False, "agent_silent: ben is not connected"))
    intent = cloud.planner.intents.commands[command]
    assert (intent.state, intent.detail) == ("refused", "agent_silent: ben is not connected")
    assert list(cloud.planner.groups.under_way()) == []


@pytest.mark.parametrize("snapshot", [False, True])
def test_a_site_that_is_away_is_told_when_it_greets(cloud: Control, snapshot: bool) -> None:
    """Once, after a restart of the cloud, too, and not what it has answered."""
    cloud.begin_anew()
    cloud.turn()
    command = order(cloud)
    assert told(cloud) == []
    if snapshot:
        cloud.snapshot()
    cloud.begin_anew()
    cloud.turn()
    cloud.link("harbour")
    assert [event.command for event in told(cloud)] == [command]
    cloud.link("harbour")
    assert [kind for _, kind in cloud.said_to("harbour") if kind == "TransferRequested"] == ["TransferRequested"]


def test_unknown_sites_and_too_many_orders_are_refused(cloud: Control) -> None:
    """By code, with nothing recorded."""
    refused = cloud.ask(lambda token: TransferTerm(token, "moon", "cranes", "ben", 0))
    assert isinstance(refused, Problem)
    assert (refused.code, refused.detail) == ("site_unknown", "site moon is not known (known: airport, harbour)")
    for number in range(COMMANDS_KEPT):
        cloud.planner.intents.keep(Intent(f"x{number}", "", "clear-cache", "pending", 1, [], targets=["harbour"]), "")
    full = cloud.ask(lambda token: TransferTerm(token, "harbour", "cranes", "ben", 0))
    assert isinstance(full, Problem)
    assert (full.status, full.code) == (503, "commands_full")


def test_the_picture_of_a_group_follows_its_events(cloud: Control) -> None:
    """Its term with the times of that, its end with who is next, and so after a restart from a snapshot."""
    say(cloud, LeaderElected("cranes", "anna", 3, "only", 20_000, 5_000))
    term = cloud.planner.groups.terms[("harbour", "cranes")]
    assert (term.leader, term.epoch, term.ttl_ms, term.lock_delay_ms) == ("anna", 3, 20_000, 5_000)
    say(cloud, LeaderEnded("cranes", "anna", 3, "transferred", 25_000, "ben"))
    assert cloud.planner.groups.terms[("harbour", "cranes")].heir == "ben"
    say(cloud, HeirNamed("cranes", "cleo"))
    cloud.snapshot()
    cloud.restart()
    term = cloud.planner.groups.terms[("harbour", "cranes")]
    assert (term.leader, term.reason, term.heir) == ("", "transferred", "cleo")
