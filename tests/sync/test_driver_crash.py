"""Crashes of the Driver at any point: whatever was acknowledged is there again, whatever left had been durable."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sync.driver
from sync.driver import Driver
from sync.inputs import Replicated
from sync.log import EventLog
from sync.log_errors import LogFull
from sync.outputs import Acknowledge, Failed
from sync.values import NodeId, StreamId
from tests.ports import MemoryLog, Outbox, StillClock
from tests.sync.chained import Scribe
from tests.sync.notebook import Keep, Look, Note, Notebook, Noted, Tear, Wake

CLOUD = StreamId("cloud>harbour@1")
RUNS = ("r1", "r2", "r3")

Happening = tuple[str, int, str]
happenings = st.lists(
    st.tuples(
        st.sampled_from(
            ["note", "note", "note", "tear", "wake", "keep", "peer", "look", "turn", "turn", "durable", "fail", "crash"]
        ),
        st.integers(0, 3),
        st.sampled_from(RUNS),
    ),
    max_size=60,
)


@dataclass
class Story:
    """A Driver living through happenings; checks after each what must hold then."""

    log: MemoryLog = field(default_factory=MemoryLog)
    clock: StillClock = field(default_factory=StillClock)
    out: Outbox = field(default_factory=Outbox)
    inputs: list[object] = field(default_factory=list)
    scribe: Scribe = field(default_factory=Scribe)
    promised: dict[object, str] = field(default_factory=dict)
    tokens: int = 0

    def __post_init__(self) -> None:
        self.driver = Driver(Notebook, self.log, self.clock, self.out)

    def live(self, what: str, number: int, run: str) -> None:
        self.tokens += 1
        token = self.tokens
        match what:
            case "note":
                self.promised[token] = f"line {token}"
                self.inputs.append(Note(token, run, f"line {token}"))
            case "tear":
                self.inputs.append(Tear(token, run))
            case "wake":
                self.inputs.append(Wake(run, f"k{number}", self.clock.wall_ms + number))
            case "keep":
                self.inputs.append(Keep(f"k{number}", bytes([token % 256])))
            case "look":
                self.inputs.append(Look(token, run))
            case "peer":
                rows = self.scribe.rows(number + 1, CLOUD, run, Notebook().encode(Noted("x")), "Noted")
                self.inputs.append(Replicated(CLOUD, rows))
            case "turn":
                self.turn()
            case "durable" if self.log.queue:
                self.log.finish()
            case "fail" if self.log.queue:
                self.log.fail(LogFull("full"))
                self.log.tell()
                self.begin_peer_again()
            case "crash":
                self.crash(number)
        self.check()

    def turn(self) -> None:
        self.clock.pass_ms(1)
        inputs, self.inputs = self.inputs, []
        self.driver.turn([*self.driver.take_due(), *inputs])

    def begin_peer_again(self) -> None:
        """The next session sends from where the log ends."""
        head = self.log.disk.heads.get(CLOUD)
        self.scribe = Scribe(heads={CLOUD: head} if head else {})
        self.inputs = [input for input in self.inputs if not isinstance(input, Replicated)]

    def crash(self, durable: int) -> None:
        """A new process on the same disk. What it heard of before is remembered, to be held against the log."""
        self.log.crash(durable)
        self.inputs.clear()
        self.begin_peer_again()
        self.driver = Driver(Notebook, self.log, self.clock, self.out)

    def check(self) -> None:
        """Replies given without failure are in the log; rows that were let out are the log's first; a fold agrees."""
        disk = self.log.disk
        texts = {row.payload for row in disk.rows if row.stream == "harbour@1"}
        for token, value in self.out.replies().items():
            if token in self.promised and not isinstance(value, Failed):
                assert Notebook().encode(Noted(self.promised[token])) in texts
        assert {row.pos for row in self.out.rows} <= {row.pos for row in disk.rows}
        acknowledged = max((ack.seq for ack in self.out.of(Acknowledge)), default=0)
        assert acknowledged <= (disk.heads[CLOUD].seq if CLOUD in disk.heads else 0)
        if not self.driver.in_flight and not self.log.queue:
            assert state_of(Driver(Notebook, self.log, self.clock, Outbox())) == state_of(self.driver)


def state_of(driver: Driver) -> tuple[bytes, int, object, int | None]:
    assert isinstance(driver.core, Notebook)
    return driver.core.state(), driver.pos, driver.heads, driver.due()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings=happenings, snapshot_every=st.sampled_from([1, 3, 7, 1_000]))
def test_nothing_acknowledged_is_lost(
    monkeypatch: pytest.MonkeyPatch, happenings: Sequence[Happening], snapshot_every: int
) -> None:
    """Through turns, failing commits and crashes with any part of the commits under way durable, G1 holds after each step."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", snapshot_every)
    story = Story()
    for happening in happenings:
        story.live(*happening)
    story.turn()
    story.log.finish_all()
    story.check()


@pytest.mark.parametrize("snapshot_every", [5, 1_000])
def test_a_real_log_gives_the_same_state_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snapshot_every: int) -> None:
    """On SQLite: closed and opened again, the fold of snapshots and tail is the state that was, byte for byte."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", snapshot_every)
    scribe, clock, states = Scribe(), StillClock(), []
    for start in range(4):
        log = EventLog.open(tmp_path / "node.db", NodeId("harbour"))
        driver = Driver(Notebook, log, clock, Outbox())
        states.append(state_of(driver))
        if start:
            assert states[-1] == states[-2]
        for turn in range(9):
            run = RUNS[turn % 3]
            rows = scribe.rows(2, CLOUD, run, Notebook().encode(Noted("x")), "Noted")
            inputs = [Note(turn, run, f"{start}/{turn}"), Replicated(CLOUD, rows), Wake(run, "alarm", turn), Keep("k", b"v")]
            driver.turn([*inputs, Tear(99, run)] if turn % 4 == 3 else inputs)
        log.close()
        states.append(state_of(driver))


def test_stamps_go_on_behind_the_floor_when_the_clock_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing behind the snapshots' floor, a start still knows the last stamp ever given, and gives later ones."""
    monkeypatch.setattr(sync.driver, "SNAPSHOT_EVERY", 1)
    clock = StillClock()
    for token in range(3):
        log = EventLog.open(tmp_path / "edge.db", NodeId("harbour"))
        assert log.load().tail == []
        driver = Driver(Notebook, log, clock, Outbox())
        driver.turn([Note(token, "r1", "a line")])
        log.close()
        clock.wall_ms -= 3_600_000
    log = EventLog.open(tmp_path / "edge.db", NodeId("harbour"))
    stamps = [row.time for row in log.read(lambda reader: reader.all_events(0, 10)).result()]
    log.close()
    assert len(stamps) == 3
    assert sorted(set(stamps)) == stamps
