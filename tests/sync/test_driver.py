"""The Driver's promises: nothing leaves before it is durable, nothing durable is forgotten, and a failed commit never was."""

import pytest
from structlog.testing import capture_logs

import sync.driver
from sync.commit import Row, Snapshot
from sync.driver import Driver
from sync.inputs import Recalled, Recovered, Replicated
from sync.log_errors import LogFull
from sync.outputs import Acknowledge, Reply, SetTimer
from sync.values import Now, StreamId
from tests.ports import MemoryLog, Outbox, StillClock
from tests.sync.chained import Scribe
from tests.sync.notebook import Keep, Look, Note, Notebook, Noted, Shown, Tear, Wake

CLOUD = StreamId("cloud>harbour@1")
FULL = LogFull("no room for another event")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def out() -> Outbox:
    return Outbox()


@pytest.fixture
def driver(log: MemoryLog, clock: StillClock, out: Outbox) -> Driver:
    return Driver(Notebook, log, clock, out)


def notebook(driver: Driver) -> Notebook:
    assert isinstance(driver.core, Notebook)
    return driver.core


def from_cloud(count: int, scribe: Scribe | None = None) -> list[Row]:
    """Verified rows of the cloud's stream, as a session hands them on."""
    payload = Notebook().encode(Noted("hello"))
    rows = (scribe or Scribe()).rows(count, CLOUD, run="r1", payload=payload, kind="Noted")
    return [row._replace(pos=0, prev=0) for row in rows]


# Holding back


def test_effects_and_replies_wait_for_their_commit(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """Before the commit is durable nothing is sent; then everything is, in order."""
    driver.turn([Note(1, "r1", "a"), Note(2, "r2", "b")])
    assert (out.sent, out.rows) == ([], [])
    log.finish()
    assert [Shown("r1", 1), Reply(1, 1), Shown("r2", 1), Reply(2, 1)] == out.sent
    assert [row.pos for row in out.rows] == [1, 2]


def test_the_next_batch_is_decided_while_one_commits(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """A second turn sees what the first decided, though that is not durable yet; both leave in order."""
    driver.turn([Note(1, "r1", "a")])
    driver.turn([Note(2, "r1", "b")])
    assert (driver.in_flight, driver.committed_pos) == (2, 0)
    log.finish()
    assert (out.replies(), driver.committed_pos) == ({1: 1}, 1)
    log.finish()
    assert (out.replies(), driver.committed_pos) == ({1: 1, 2: 2}, 2)


def test_a_batch_that_ends_early_waits_for_the_one_before(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """Even if the log told of the second commit first, its effects stay behind those of the first."""
    told: list[Row] = []
    driver.turn([Note(1, "r1", "a")])
    driver.turn([Note(2, "r1", "b")])
    first, second = log.queue
    assert first is not None
    assert second is not None
    second[1](None)
    assert told == out.sent
    first[1](None)
    assert list(out.replies()) == [1, 2]


def test_an_answer_without_a_commit_waits_for_what_it_may_tell_of(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """A read is answered at once when nothing is under way, else behind the commit whose result it may show."""
    driver.turn([Look(1, "r1")])
    assert out.replies() == {1: 0}
    driver.turn([Note(2, "r1", "a")])
    driver.turn([Look(3, "r1")])
    assert out.replies() == {1: 0}
    log.finish()
    assert out.replies() == {1: 0, 2: 1, 3: 1}


def test_nothing_to_write_is_no_commit(driver: Driver, log: MemoryLog) -> None:
    """A turn without events, timers or bytes to keep costs no transaction."""
    driver.turn([])
    driver.turn([Look(1, "r1")])
    assert not log.queue


def test_a_position_noted_rides_with_the_next_commit(driver: Driver, log: MemoryLog) -> None:
    """How far a peer is costs no commit of its own."""
    driver.note_position("cloud", StreamId("harbour@1"), 7)
    driver.turn([])
    assert not log.queue
    driver.turn([Note(1, "r1", "a")])
    log.finish()
    assert log.disk.positions == {("cloud", "harbour@1"): 7}


def test_a_run_can_be_read_backwards(driver: Driver, log: MemoryLog) -> None:
    """Each row knows the place of the event before it of the same run, also across an earlier commit."""
    driver.turn([Note(1, "r1", "a"), Note(2, "r2", "b"), Note(3, "r1", "c")])
    driver.turn([Note(4, "r2", "d")])
    log.finish_all()
    assert [row.prev for row in log.disk.rows] == [0, 0, 1, 2]
    assert (driver.last_pos("r1"), driver.last_pos("r2")) == (3, 4)


# Failing


def test_a_failed_commit_never_was(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """Everything decided since is dropped, who waits hears of it, nothing else is sent, and the state is that of the log."""
    driver.turn([Note(1, "r1", "kept")])
    log.finish()
    before = notebook(driver).state()
    out.sent.clear()
    driver.turn([Note(2, "r1", "lost")])
    driver.turn([Note(3, "r1", "lost too"), Look(4, "r1")])
    log.fail(FULL)
    log.tell()
    assert {2, 3, 4} == out.failed()
    assert len(out.sent) == 3
    assert out.refolds == [FULL]
    assert (before, 1, 0) == (notebook(driver).state(), driver.pos, driver.in_flight)


def test_work_goes_on_after_a_failed_commit(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """The next event takes the place that the lost one would have had, in the same chain."""
    driver.turn([Note(1, "r1", "kept")])
    log.finish()
    driver.turn([Note(2, "r1", "lost")])
    log.fail(FULL)
    driver.turn([Note(3, "r1", "b")])
    log.finish_all()
    log.tell()
    assert [row.seq for row in log.disk.rows] == [1, 2]
    assert {token: value for token, value in out.replies().items() if token not in out.failed()} == {1: 1, 3: 2}


def test_late_word_of_a_dropped_batch_changes_nothing(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """The batch behind the failed one hears of its end after the refold; a batch decided since, equal to it, is not meant."""
    driver.turn([Note(1, "r1", "lost")])
    driver.turn([Wake("r1", "alarm", 5)])
    log.fail(FULL)
    driver.turn([Wake("r1", "alarm", 5)])
    log.tell()
    assert (len(out.refolds), driver.in_flight) == (1, 1)
    log.finish_all()
    assert log.disk.due == {("r1", "alarm"): 5}


def test_who_waits_hears_even_if_the_log_can_no_longer_be_read(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """A disk that fails for good leaves nobody hanging."""
    driver.turn([Note(1, "r1", "lost")])
    log.refuses_to_load = LogFull("the disk is gone")
    with pytest.raises(LogFull, match="gone"):
        log.fail(FULL)
    assert {1} == out.failed()


def test_a_peers_events_that_follow_lost_ones_are_left_for_the_next_session(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """After a failed commit, events that were already waiting in the inbox have a gap before them: they are not taken."""
    rows = from_cloud(4)
    driver.turn([Replicated(CLOUD, rows[:2])])
    log.fail(FULL)
    driver.turn([Replicated(CLOUD, rows[2:]), Note(1, "r1", "a")])
    log.finish_all()
    log.tell()
    assert (out.replies(), out.of(Acknowledge)) == ({1: 1}, [])
    driver.turn([Replicated(CLOUD, rows)])
    log.finish_all()
    assert [Acknowledge(CLOUD, 4)] == out.of(Acknowledge)


# Peers


def test_a_peers_events_are_stored_unchanged_and_acknowledged(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """Streams of others keep their bytes, hashes and numbers; only the place in this log is ours."""
    rows = from_cloud(3)
    driver.turn([Note(1, "r1", "ours"), Replicated(CLOUD, rows)])
    assert out.sent == []
    log.finish()
    assert rows == [row._replace(pos=0, prev=0) for row in log.disk.rows[1:]]
    assert [(row.pos, row.prev) for row in log.disk.rows[1:]] == [(2, 1), (3, 2), (4, 3)]
    assert [Acknowledge(CLOUD, 3)] == out.of(Acknowledge)
    assert len(notebook(driver).heard[CLOUD]) == 3


def test_applying_twice_is_harmless(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """Events held already are skipped and acknowledged again; what follows them is taken."""
    rows = from_cloud(4)
    driver.turn([Replicated(CLOUD, rows[:3])])
    driver.turn([Replicated(CLOUD, rows[1:3])])
    driver.turn([Replicated(CLOUD, rows[1:])])
    log.finish_all()
    assert len(notebook(driver).heard[CLOUD]) == 4
    assert rows == [row._replace(pos=0, prev=0) for row in log.disk.rows]
    assert Acknowledge(CLOUD, 4) == out.of(Acknowledge)[-1]


def test_recovered_events_are_folded_by_the_refold(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """Lost events of the own stream are stored without a step, and a refold makes them state."""
    payload = Notebook().encode(Noted("lost and found"))
    rows = Scribe().rows(2, StreamId("harbour@1"), run="r1", payload=payload, kind="Noted")
    driver.turn([Recovered(StreamId("harbour@1"), [row._replace(pos=0) for row in rows])])
    log.finish()
    assert notebook(driver).pages == {}
    driver.refold(RuntimeError("whole again"))
    assert notebook(driver).pages == {"r1": ["lost and found"] * 2}
    driver.turn([Note(1, "r1", "on it goes")])
    log.finish()
    assert (out.replies(), log.disk.rows[-1].seq) == ({1: 3}, 3)


def test_no_floor_moves_past_what_was_not_folded(
    monkeypatch: pytest.MonkeyPatch, driver: Driver, log: MemoryLog, clock: StillClock
) -> None:
    """However many events come back and whatever is decided meanwhile, the refold and every later start fold all of them."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", 1)
    payload = Notebook().encode(Noted("lost and found"))
    rows = Scribe().rows(2, StreamId("harbour@1"), run="r1", payload=payload, kind="Noted")
    driver.turn([Recovered(StreamId("harbour@1"), [row._replace(pos=0) for row in rows])])
    driver.turn([Note(1, "r2", "meanwhile")])
    log.finish_all()
    driver.refold(RuntimeError("whole again"))
    pages = {"r1": ["lost and found"] * 2, "r2": ["meanwhile"]}
    assert notebook(driver).pages == pages
    driver.turn([Note(2, "r3", "on it goes")])
    log.finish_all()
    assert log.disk.floor == log.disk.pos == 4
    assert notebook(Driver(Notebook, log, clock, Outbox())).pages == {**pages, "r3": ["on it goes"]}


# Timers


def test_a_timer_falls_due_once_and_is_cleared_with_what_came_of_it(
    driver: Driver, log: MemoryLog, clock: StillClock, out: Outbox
) -> None:
    """A timer is durable when set; due, it becomes an input; it leaves the log with the event that it caused."""
    due_ms = clock.wall_ms + 50
    driver.turn([Wake("r1", "tea", due_ms)])
    log.finish()
    assert (due_ms, []) == (driver.due(), driver.take_due())
    clock.pass_ms(50)
    driver.turn(driver.take_due())
    assert {("r1", "tea"): due_ms} == log.disk.due
    log.finish()
    assert ({}, None, [Shown("r1", 1)]) == (log.disk.due, driver.due(), out.sent)


def test_a_timer_that_fell_due_before_a_crash_falls_due_again(driver: Driver, log: MemoryLog, clock: StillClock) -> None:
    """A timer taken but not cleared by a durable event is there again after the restart."""
    driver.turn([Wake("r1", "tea", clock.wall_ms)])
    log.finish()
    driver.turn(driver.take_due())
    log.crash(durable=0)
    again = Driver(Notebook, log, clock, Outbox())
    assert [due.key for due in again.take_due()] == ["tea"]


def test_setting_a_timer_to_the_same_moment_writes_nothing(driver: Driver, log: MemoryLog) -> None:
    """A timer that is already so set is not set again."""
    driver.turn([Wake("r1", "tea", 5)])
    driver.turn([Wake("r1", "tea", 5)])
    assert len(log.queue) == 1


@pytest.mark.parametrize("by_ms", [-3_600_000, 3_600_000])
def test_a_span_ends_when_it_is_over_whatever_is_done_to_the_wall_clock(
    driver: Driver, log: MemoryLog, clock: StillClock, out: Outbox, by_ms: int
) -> None:
    """Set an hour back or forward, the clock makes nobody wait longer or shorter for ten minutes; the calendar follows it."""
    driver.turn([Wake("r1", "tea", clock.wall_ms + 600_000), Wake("r1", "on Monday", clock.wall_ms + 86_400_000)])
    monday_ms = clock.wall_ms + 86_400_000
    clock.pass_ms(60_000)
    clock.wall_ms += by_ms
    clock.pass_ms(539_999)
    assert driver.take_due() == []
    clock.pass_ms(1)
    driver.turn(due := driver.take_due())
    assert [each.key for each in due] == ["tea"]
    log.finish_all()
    assert {("r1", "on Monday"): monday_ms} == log.disk.due


def test_a_restart_keeps_what_the_log_says_of_a_moved_span(driver: Driver, log: MemoryLog, clock: StillClock) -> None:
    """The core makes timers anew from its events, which know nothing of the clock: those in the log stand."""
    driver.turn([Wake("r1", "tea", clock.wall_ms + 600_000)])
    clock.wall_ms -= 3_600_000
    driver.turn([])
    log.finish_all()

    class Remembering(Notebook):
        def restored(self, now: Now) -> list[object]:
            return [SetTimer("r1", "tea", clock.wall_ms + 4_200_000), SetTimer("r1", "on Monday", 7)]

    again = Driver(Remembering, log, clock, Outbox())
    assert again.timers.take(clock.wall_ms + 600_000) == [("r1", "on Monday", 7), ("r1", "tea", clock.wall_ms + 600_000)]


def test_a_clock_that_was_set_back_while_the_node_was_down_delays_nothing(log: MemoryLog, clock: StillClock, out: Outbox) -> None:
    """The log knows what the clock said; a second start does not count the same step again."""
    first = Driver(Notebook, log, clock, out)
    first.turn([Wake("r1", "tea", clock.wall_ms + 600_000), Wake("r1", "on Monday", clock.wall_ms + 86_400_000)])
    log.finish_all()
    monday_ms = clock.wall_ms + 86_400_000
    clock.wall_ms -= 3_600_000
    for _ in range(2):
        log.crash(durable=9)
        clock.boot, clock.mono_ms = clock.boot + 1, clock.mono_ms // 2
        again = Driver(Notebook, log, clock, out)
        log.finish_all()
        assert again.due() == clock.wall_ms + 600_000
        assert log.disk.due == {("r1", "tea"): clock.wall_ms + 600_000, ("r1", "on Monday"): monday_ms}


# Snapshots


def test_a_restart_from_snapshots_and_tail_gives_the_same_state(
    monkeypatch: pytest.MonkeyPatch, driver: Driver, log: MemoryLog, clock: StillClock, out: Outbox
) -> None:
    """Whatever the floor cuts off, state, heads, positions and timers after a restart are those before it, byte for byte."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", 6)
    scribe = Scribe()
    for turn in range(11):
        run = f"r{turn % 4}"
        inputs: list[object] = [Note(turn, run, f"line {turn}"), Replicated(CLOUD, from_cloud(2, scribe))]
        if turn % 5 == 4:
            inputs.append(Tear(100 + turn, run))
        driver.turn([*inputs, Keep(f"k{turn % 2}", bytes([turn])), Wake(run, "alarm", turn)])
        log.finish()
    again = Driver(Notebook, log, clock, Outbox())
    assert notebook(driver).state() == notebook(again).state()
    assert (driver.heads, driver.pos, driver.due()) == (again.heads, again.pos, again.due())
    assert 0 < log.disk.floor < log.disk.pos
    runs = sorted(notebook(driver).pages)
    assert [driver.last_pos(run) for run in runs] == [again.last_pos(run) for run in runs]


def test_an_ended_run_leaves_memory_and_keeps_its_tombstone(driver: Driver, log: MemoryLog, clock: StillClock) -> None:
    """Its snapshot says how it ended and where its history begins; a restart does not load it."""
    driver.turn([Note(1, "r1", "a"), Note(2, "r2", "b"), Tear(3, "r1")])
    log.finish()
    tombstone = log.disk.saved["r1"]
    assert (tombstone.ended, tombstone.state, tombstone.last) == (True, "torn", 3)
    assert driver.last_pos("r1") == 0
    again = Driver(Notebook, log, clock, Outbox())
    assert list(notebook(again).pages) == ["r2"]
    assert again.last_pos("r1") == 0


def test_stamps_never_run_backwards_even_if_the_clock_does(driver: Driver, log: MemoryLog, clock: StillClock) -> None:
    """Each event is stamped later than the one before it, over a restart and a wall clock that was set back."""
    driver.turn([Note(1, "r1", "a"), Note(2, "r1", "b")])
    log.finish()
    clock.wall_ms -= 3_600_000
    again = Driver(Notebook, log, clock, Outbox())
    again.turn([Note(3, "r1", "c")])
    log.finish()
    stamps = [row.time for row in log.disk.rows]
    assert sorted(set(stamps)) == stamps


def test_stamps_follow_what_was_heard(driver: Driver, log: MemoryLog, clock: StillClock) -> None:
    """An event is stamped later than the peers' events that were there before it, over a restart too; but a stamp from far
    in the future is not believed."""
    scribe = Scribe(pos=clock.wall_ms - 1_800_000_000_000 + 40_000)  # Its clock is 40 s ahead.
    rows = from_cloud(2, scribe)
    driver.turn([Replicated(CLOUD, rows)])
    driver.turn([Note(1, "r1", "a")])
    log.finish_all()
    again = Driver(Notebook, log, clock, Outbox())
    again.turn([Note(2, "r1", "b")])
    log.finish_all()
    stamps = [row.time for row in log.disk.rows]
    assert sorted(set(stamps)) == stamps
    scribe.pos += 3_600_000
    again.turn([Replicated(CLOUD, from_cloud(1, scribe))])
    again.turn([Note(3, "r1", "c")])
    log.finish_all()
    assert log.disk.rows[-1].time < log.disk.rows[-2].time
    third = Driver(Notebook, log, clock, Outbox())
    third.turn([Note(4, "r1", "d")])
    log.finish_all()
    assert stamps[-1] < log.disk.rows[-1].time < log.disk.rows[-3].time


def test_a_clock_that_is_ahead_is_named(driver: Driver, log: MemoryLog, clock: StillClock) -> None:
    """Which node's, by how much, as of when, how often: kept, and logged once, not with every batch. It ends with a stamp that
    is believed."""
    scribe = Scribe(pos=3_600_000)  # Its clock is 1 h ahead.
    with capture_logs() as said:
        for _ in range(5):
            driver.turn([Replicated(CLOUD, from_cloud(1, scribe))])
            log.finish_all()
    assert [(line["log_level"], line["node"], line["ahead_ms"]) for line in said] == [("warning", "cloud", 3_600_000)]
    ahead = driver.clocks.writers["cloud"]
    assert (ahead.count, ahead.ahead_ms, ahead.at_ms) == (5, 3_600_004, clock.wall_ms)
    clock.pass_ms(3_600_000)
    driver.turn([Replicated(CLOUD, from_cloud(1, scribe))])
    assert driver.clocks.writers == {}


def test_what_is_stored_only_is_not_decided_upon(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """Events fetched back for both streams are stored in order, and the core neither steps nor settles for them."""
    settled = notebook(driver).settled
    driver.store([Recovered(CLOUD, from_cloud(2)), Recovered(CLOUD, from_cloud(2))])
    log.finish_all()
    assert [row.seq for row in log.disk.rows] == [1, 2]
    assert (notebook(driver).heard, notebook(driver).settled) == ({}, settled)
    assert out.sent == [Acknowledge(CLOUD, 2)] * 2


def test_an_effect_can_be_held_behind_all_that_was_decided(driver: Driver, log: MemoryLog, out: Outbox) -> None:
    """It leaves with the latest commit, or at once if none is under way."""
    driver.hold(Reply(1, "now"))
    driver.turn([Note(2, "r1", "a")])
    driver.hold(Reply(3, "then"))
    assert list(out.replies()) == [1]
    log.finish()
    assert list(out.replies()) == [1, 2, 3]


def test_a_tombstone_is_committed_with_what_is_decided_on_it(driver: Driver, log: MemoryLog) -> None:
    """It may have been cut since it was read: then the commit brings it back, and a start knows what the run goes on from. One
    that is there, a later one of the same run, stays."""
    tombstone = Snapshot("r1", 0, 0, True, "completed", b"")
    driver.turn([Recalled("r1", tombstone), Note(1, "r1", "goes on")])
    log.finish()
    assert log.disk.saved["r1"] == tombstone
    later = log.disk.saved["r1"] = tombstone._replace(state="failed")
    driver.turn([Recalled("r1", tombstone), Note(2, "r1", "goes on")])
    log.finish()
    assert log.disk.saved["r1"] == later
