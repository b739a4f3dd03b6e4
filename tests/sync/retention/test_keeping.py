"""A node keeps to its policy by itself: soon after its start, then every few hours, and never longer than it lives."""

import asyncio
from pathlib import Path

import pytest

from sync.commit import Commit
from sync.cut import begin_cut
from sync.log import EventLog
from sync.retention import driver
from sync.retention.driver import Pass, Retention
from sync.retention.policy import Policy
from tests.sync.chained import Scribe, commit, open_log
from tests.sync.retention.test_cutting import FAR_MS, floored, keeper
from tests.sync.station import until


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EventLog:
    """A log of 50 events that may all go, in a node whose first pass comes at once."""
    monkeypatch.setattr(driver, "START_S", 0.0)
    log, scribe = open_log(tmp_path / "harbour.db"), Scribe()
    commit(log, floored(scribe, scribe.rows(50)))
    return log


def cut_of(log: EventLog) -> int:
    return log.read(lambda reader: reader.cut).result()


async def test_a_node_cuts_by_itself(log: EventLog) -> None:
    """With a policy; and the next pass is hours away: there is nothing to be done meanwhile."""
    keeping = asyncio.ensure_future(keeper(log, None).keep(lambda: True, pytest.fail))
    await until(lambda: cut_of(log) == 50)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    log.close()


async def test_without_a_policy_there_is_nothing_to_keep_to(log: EventLog) -> None:
    """It ends at once, and cuts nothing; but what an earlier cut has left is deleted."""
    plain = Retention(log, Policy(), lambda: FAR_MS, pause_s=0)
    await asyncio.wait_for(plain.keep(lambda: True, pytest.fail), 60)
    assert (cut_of(log), plain.last.at_ms) == (0, 0)
    made = keeper(log, None)._build(Pass())
    assert made is not None
    log.alter(lambda execute, extent: begin_cut(execute, extent, *made)).result()
    await asyncio.wait_for(plain.keep(lambda: True, pytest.fail), 60)
    assert plain.last.deleted == 50
    log.close()


async def test_a_node_that_may_not_cut_does_not(log: EventLog) -> None:
    """While its log is damaged, or events come back, nothing leaves."""
    asked = asyncio.Event()

    def may_run() -> bool:
        asked.set()
        return False

    keeping = asyncio.ensure_future(keeper(log, None).keep(may_run, pytest.fail))
    await asyncio.wait_for(asked.wait(), 60)
    assert cut_of(log) == 0
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    log.close()


async def test_a_pass_ends_with_its_node(log: EventLog) -> None:
    """A node that stops in the middle of a pass does not wait for it, and what was not cut is cut after the next start."""
    slow = Retention(log, Policy(1.0, no_archive=True), lambda: FAR_MS, pause_s=3_600)
    keeping = asyncio.ensure_future(slow.keep(lambda: True, pytest.fail))
    await until(slow._one.locked)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await until(lambda: not slow._one.locked())
    assert cut_of(log) == 0
    log.close()


async def test_what_goes_wrong_is_said_and_cuts_nothing(log: EventLog, tmp_path: Path) -> None:
    """An archive that cannot be written: the pass tells why, the log is whole and takes commits."""
    (tmp_path / "file").write_text("no directory")
    blocked = Retention(log, Policy(1.0, tmp_path / "file"), lambda: FAR_MS, pause_s=0)
    done = await blocked.run_in_thread(pytest.fail)
    assert ("File exists" in done.problem, cut_of(log)) == (True, 0)
    commit(log, Commit(persisted={"still": b"works"}))
    log.close()


async def test_a_full_disk_puts_a_cut_off(tmp_path: Path) -> None:
    """A log at its limit refuses the note of the cut, and stays as it is; it goes on, and so does the cut once there is room."""
    path, scribe = tmp_path / "harbour.db", Scribe()
    log = open_log(path)
    commit(log, floored(scribe, scribe.rows(50)))
    log.close()
    log = open_log(path, page_count_max=1)
    done = await keeper(log, None).run_in_thread(pytest.fail)
    log.close()
    assert ("no room" in done.problem) == (not done.segments), done
    log = open_log(path)
    keeper(log, None).run()
    assert cut_of(log) == 50
    log.close()
