"""A session of two ends, pure: whatever is lost on the way, each event arrives once and in order, within the credit."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.chain import GENESIS, Head
from sync.commit import Row
from sync.replication import CREDITS, LinkRefused, Session, head_in
from sync.values import StreamId
from tests.sync.chained import Scribe
from tiercel.v1 import sync_pb2

HARBOUR, CLOUD = StreamId("harbour@1"), StreamId("cloud>harbour@1")

happenings = st.lists(
    st.tuples(st.sampled_from(["write", "send", "send", "arrive", "arrive", "store", "answer", "cut"]), st.integers(1, 40)),
    max_size=120,
)


@dataclass
class Line:
    """A sender and a receiver with a wire between them; `cut` drops the wire and all that is on it."""

    credit: int
    scribe: Scribe = field(default_factory=Scribe)
    written: list[Row] = field(default_factory=list)
    stored: list[Row] = field(default_factory=list)
    arrived: list[Row] = field(default_factory=list)
    wire: list[sync_pb2.SyncMessage] = field(default_factory=list)
    answers: list[sync_pb2.SyncMessage] = field(default_factory=list)

    def connect(self) -> None:
        self.wire, self.answers, self.arrived = [], [], []
        ends = [Head(rows[-1].seq, rows[-1].hash) if rows else GENESIS for rows in (self.written, self.stored)]
        self.sender = Session("harbour", "cloud", HARBOUR, CLOUD, ends[0], GENESIS)
        self.receiver = Session("cloud", "harbour", CLOUD, HARBOUR, GENESIS, ends[1])
        theirs = self.receiver.hello(1, 0, self.credit).hello
        ours = self.sender.hello(1, 0).hello
        self.sender.greet(theirs, self.hash_at(head_in(theirs, HARBOUR).seq), GENESIS.hash)
        self.receiver.greet(ours, GENESIS.hash, None if len(self.written) > len(self.stored) else ends[1].hash)

    def hash_at(self, seq: int) -> bytes:
        return self.written[seq - 1].hash if seq else GENESIS.hash

    def live(self, what: str, number: int) -> None:
        match what:
            case "write":
                self.written += self.scribe.rows(number)
            case "send" if (wants := self.sender.wants(len(self.written))) is not None:
                last = wants.after_seq + min(wants.limit, number)
                self.wire.append(self.sender.batch(self.written[wants.after_seq : last]))
            case "arrive" if self.wire:
                self.arrived += self.receiver.receive(self.wire.pop(0).events)
            case "store" if self.arrived:
                taken, self.arrived = self.arrived[:number], self.arrived[number:]
                self.stored += [row._replace(pos=row.seq) for row in taken]
                self.answers += self.receiver.durable(HARBOUR, taken[-1].seq, len(taken))
            case "answer" if self.answers:
                answer = self.answers.pop(0)
                if answer.HasField("ack"):
                    self.sender.acknowledged(answer.ack)
                self.sender.credits += answer.credit.events
            case "cut":
                self.connect()

    def check(self) -> None:
        under_way = sum(len(message.events.payload) for message in self.wire) + len(self.arrived)
        assert under_way <= self.credit
        assert self.sender.acked_seq <= len(self.stored)
        assert [row.hash for row in self.stored] == [row.hash for row in self.written[: len(self.stored)]]


@given(happenings, st.sampled_from([1, 7, 100, CREDITS]))
def test_every_event_arrives_once_and_in_order(story: list[tuple[str, int]], credit: int) -> None:
    """Through cuts at any point; what is under way never exceeds the credit, what is acknowledged is stored."""
    line = Line(credit)
    line.connect()
    for what, number in story:
        line.live(what, number)
        line.check()
    for _ in range(len(line.written) + 1):
        if len(line.stored) == len(line.written):
            return
        for what in ("cut", "send", "arrive", "store"):
            line.live(what, 10_000)
    assert len(line.stored) == len(line.written)


def test_who_has_lost_events_sends_nothing_before_they_are_back() -> None:
    """A session that holds less of its own stream than its peer wants to send nothing, asks for the rest, and verifies it."""
    rows = Scribe().rows(10)
    session = Session("harbour", "cloud", HARBOUR, CLOUD, Head(4, rows[3].hash), GENESIS)
    peer = Session("cloud", "harbour", CLOUD, HARBOUR, GENESIS, Head(10, rows[9].hash))
    session.greet(peer.hello(1, 0).hello, None, GENESIS.hash)
    peer.greet(session.hello(1, 0).hello, GENESIS.hash, rows[3].hash)
    assert session.recovering
    assert session.wants(4) is None
    wants = peer.lend(session.fetch().fetch)
    assert (wants.stream, wants.after_seq, wants.limit) == (HARBOUR, 4, 6)
    returned = session.receive(Session("x", "y", HARBOUR, CLOUD, GENESIS, GENESIS).batch(rows[4:]).events)
    assert [row.hash for row in returned] == [row.hash for row in rows[4:]]
    assert not session.recovering


def test_what_a_peer_confirms_is_no_more_than_was_sent() -> None:
    """An acknowledgement beyond what was sent is refused; of another stream, or running backwards, it changes nothing."""
    rows = Scribe().rows(10)
    session = Session("harbour", "cloud", HARBOUR, CLOUD, Head(10, rows[9].hash), GENESIS)
    session.greet(Session("cloud", "harbour", CLOUD, HARBOUR, GENESIS, GENESIS).hello(1, 0).hello, GENESIS.hash, GENESIS.hash)
    session.batch(rows[:6])
    for stream, seq, acked in ((HARBOUR, 4, 4), (HARBOUR, 2, 4), (CLOUD, 9, 4)):
        session.acknowledged(sync_pb2.EventAck(stream=stream, seq=seq))
        assert session.acked_seq == acked
    with pytest.raises(LinkRefused, match=r"harbour@1.*sent those up to 6"):
        session.acknowledged(sync_pb2.EventAck(stream=HARBOUR, seq=7))
    assert session.acked_seq == 4


@pytest.mark.parametrize("theirs", [True, False])
def test_two_histories_are_never_joined(theirs: bool) -> None:
    """The same number with another hash, in either stream, is refused for good, and says what helps."""
    rows = Scribe().rows(5)
    session = Session("harbour", "cloud", HARBOUR, CLOUD, Head(5, rows[4].hash), Head(5, rows[4].hash))
    hello = Session("cloud", "harbour", CLOUD, HARBOUR, Head(3, b"a" * 32), Head(3, b"b" * 32)).hello(1, 0).hello
    with pytest.raises(LinkRefused, match=r"two histories under one name.*restored from a copy") as refused:
        session.greet(hello, b"b" * 32 if theirs else b"c" * 32, b"c" * 32 if theirs else b"a" * 32)
    assert (refused.value.code, refused.value.fatal) == ("diverged", True)
