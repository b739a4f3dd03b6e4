"""Three processes, kill -9 of the leader under load: safety alone, for how long it takes says the bench."""

import os
import signal
from pathlib import Path

from bench.consensus import NAMES, check, running
from bench.disk import real_directory, scratch


def test_a_leader_that_stood_still_acknowledges_nothing_more() -> None:
    """Its process is stopped under load until another one leads; when it goes on it is no leader, and all logs are equal."""
    with scratch(real_directory(None)) as place, running(Path(place)) as group:
        stopped, term = group.leader, group.term
        group.pipes[stopped].send(("load", 50, 0))
        group.listen(0.5)
        pid = group.processes[stopped].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            group.wait_for_leader(term)
        finally:
            os.kill(pid, signal.SIGCONT)
        group.wait_until_whole()
        group.stop()
        _events, lost, twice = check(group)
        assert (lost, twice) == (0, 0)
        assert group.term > term


def test_nothing_acknowledged_is_lost_when_leaders_are_killed() -> None:
    """Each kill is in the middle of commits. In the end all three logs are equal, and hold all that was acknowledged, once."""
    with scratch(real_directory(None)) as place, running(Path(place)) as group:
        terms = []
        for _ in range(3):
            terms.append(group.term)
            group.kill_leader()
        group.stop()
        events, lost, twice = check(group)
        assert len(set(terms)) == 3
        assert (lost, twice) == (0, 0)
        assert events >= len(group.acked) > 100
        assert {process.exitcode for process in group.processes.values()} == {0}
        assert len(NAMES) == 3
