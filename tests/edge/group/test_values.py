"""What an operator says of a box of a site, and what he is told when it is wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from edge.driver import EdgeConfig
from edge.group.driver import group_config
from edge.group.values import Asked, Box, box_of, peers_of

PEERS = "a=10.0.0.1:7500,b=10.0.0.2:7500,c=10.0.0.3:7500"
ASKED = Asked("a", PEERS, listen="10.0.0.1:7444", is_secured=True)


def test_a_box_is_what_was_asked_for() -> None:
    """Agents are sent to where it listens, unless another address is named."""
    peers = {"a": "10.0.0.1:7500", "b": "10.0.0.2:7500", "c": "10.0.0.3:7500"}
    assert box_of(ASKED) == Box("a", peers, "10.0.0.1:7444")
    named = replace(ASKED, listen="0.0.0.0:7444", advertise="box-a:7444", peer_listen="0.0.0.0:7500", join=True)
    assert box_of(named) == Box("a", peers, "box-a:7444", "0.0.0.0:7500", joins=True)


@pytest.mark.parametrize(("election_ms", "tick_ms"), [(100, 12), (400, 50), (2_000, 250), (10_000, 1_250)])
def test_how_long_a_leader_may_be_silent_is_said(election_ms: int, tick_ms: int) -> None:
    """Heartbeats, and all else that goes by ticks, go along with it."""
    box = box_of(replace(ASKED, election_ms=election_ms))
    assert box is not None
    config = group_config(EdgeConfig("harbour", Path("data"), Path("run"), "cloud:1", box=box), box)
    assert (config.tick_ms, config.election_ticks) == (tick_ms, 8)


def test_without_peers_it_is_a_site_of_one_node() -> None:
    """As `tiercel edge --site S` has ever been."""
    assert box_of(Asked(listen="127.0.0.1:7444")) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"peers": "a=10.0.0.1:7500,b=10.0.0.2:7500"}, "1, 3 or 5 nodes, not by 2"),
        ({"peers": ",".join(f"{name}=10.0.0.{n}:7500" for n, name in enumerate("abcdef", 1))}, "not by 6"),
        ({"node": "z"}, "none of --peers"),
        ({"node": ""}, "which of a, b, c is this one"),
        ({"peers": "a=10.0.0.1:7500,b=10.0.0.1:7500,c=10.0.0.3:7500"}, "two nodes have the address"),
        ({"peers": "a=10.0.0.1:7500,a=10.0.0.2:7500,c=10.0.0.3:7500"}, "a is named twice"),
        ({"peers": "a=10.0.0.1,b=10.0.0.2:7500,c=10.0.0.3:7500"}, "name=host:port"),
        ({"peers": "a=10.0.0.1:7500,b=10.0.0.2:99999,c=10.0.0.3:7500"}, "name=host:port"),
        ({"peers": "a=10.0.0.1:7500,B!=10.0.0.2:7500,c=10.0.0.3:7500"}, "cannot be a node's name"),
        ({"peers": "a=10.0.0.1:7500", "join": True}, "name at least one node of the group"),
        ({"is_secured": False}, "--tls-dir"),
        ({"listen": "0.0.0.0:7444"}, "--advertise"),
        ({"advertise": "0.0.0.0:7444"}, "names this box"),
        ({"advertise": "box-a"}, "host:port"),
        ({"peers": "", "node": ""}, ""),
        ({"peers": "", "join": True, "node": ""}, "--join without --peers"),
        ({"peers": ""}, "--node without --peers"),
        ({"election_ms": 99}, "--election-timeout 99: allowed are 100 to 10000 milliseconds"),
        ({"election_ms": 10_001}, "--election-timeout 10001"),
        ({"priority": 101}, "--priority 101: allowed are 0 to 100"),
        ({"priority": -1}, "--priority -1"),
        ({"peers": "", "node": "", "priority": 5}, "--priority without --peers"),
        ({"peers": "", "node": "", "election_ms": 1_000}, "--election-timeout without --peers"),
    ],
)
def test_what_cannot_be_is_refused_with_what_helps(changes: dict[str, object], why: str) -> None:
    """Each with its own words; where nothing is wrong (the empty one) there is no error."""
    asked = replace(ASKED, **changes)  # type: ignore[arg-type]
    if not why:
        assert box_of(asked) is None
        return
    with pytest.raises(ValueError, match="--") as refused:
        box_of(asked)
    assert why in str(refused.value)


def test_spaces_between_peers_do_no_harm() -> None:
    """People write them."""
    assert peers_of("a=h:1, b=h:2") == {"a": "h:1", "b": "h:2"}
