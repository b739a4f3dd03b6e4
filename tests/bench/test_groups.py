"""`bench consensus` and `bench failover` in small: real processes, one of them killed, and the figures that are promised."""

from pathlib import Path

import pytest

from bench import consensus, failover
from bench.options import Options


@pytest.mark.timeout(180)
def test_a_group_in_small(tmp_path: Path) -> None:
    """The keys that are asked for are there, and nothing that was acknowledged is lost with the leader."""
    found = consensus.measure(Options("consensus", data=tmp_path, commits=200, repeats=1, kills=1))
    assert {"p50_ms", "commits_per_s", "failover_p99_ms"} <= found.keys()
    assert all(isinstance(value, float | int) and value > 0 for key, value in found.items() if key.endswith(("_ms", "_per_s")))
    assert (found["lost"], found["twice"]) == (0, 0)
    acknowledged = found["acknowledged"]
    assert isinstance(acknowledged, int)
    assert acknowledged > 200


@pytest.mark.timeout(180)
def test_what_a_group_has_lost_is_counted(tmp_path: Path) -> None:
    """An acknowledgement without its event is one that was lost: the count is no constant."""
    with consensus.running(tmp_path) as group:
        group.load(1, 10)
        group.stop()
        group.acked[(99, 99)] += 1
        events, lost, twice = consensus.check(group)
    assert events >= 10
    assert (lost, twice) == (1, 0)


@pytest.mark.timeout(300)
def test_a_site_in_small(tmp_path: Path) -> None:
    """Another box gives out work after the kill; each task is done once."""
    found = failover.measure(Options("failover", data=tmp_path, kills=1))
    assert {"work_p50_ms", "work_p99_ms", "work_max_ms"} <= found.keys()
    assert (found["kills"], found["lost"], found["twice"], found["not_completed"]) == (1, 0, 0, 0)
