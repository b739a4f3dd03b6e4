"""What a link is made of, pure: the outbox is bounded, the pulse knows what is level, pace and patience fit the line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.identity.handshake import NO_ANSWER, NOT_TAKEN
from sync.link.dialling import PATIENT_S, QUICK_S, Patience
from sync.link.outbox import REPORTS_KEPT_MAX, WAITING_MAX, Outbox
from sync.link.pace import BATCH_BYTES_MIN, Pace
from sync.link.pulse import HEARTBEATS_AT_ONCE_MAX, SILENCE_S_MAX, Pulse
from sync.link.standing import TOLD_KEPT_MS, Standing
from sync.replication import BATCH_BYTES_MAX, LinkRefused
from tiercel.v1 import sync_pb2

Message = sync_pb2.SyncMessage


def report(run: str, fraction: float) -> Message:
    return Message(reports=sync_pb2.TaskReports(items=[sync_pb2.TaskReport(run=run, task=1, fraction=fraction)]))


def drained(outbox: Outbox) -> list[str]:
    kinds = []
    while (message := outbox.take()) is not None:
        kinds.append(str(message.WhichOneof("kind")))
    return kinds


def test_what_is_waited_for_goes_first_and_telemetry_last() -> None:
    """However they came: acknowledgements, credit, signs of life, requests, refusal, telemetry."""
    outbox = Outbox()
    for message in (
        Message(loads=sync_pb2.AgentLoads(ready=1)),
        report("r1", 0.5),
        Message(digest_request=sync_pb2.DigestRequest(id=1)),
        Message(heartbeat=sync_pb2.SyncHeartbeat(id=1)),
        Message(credit=sync_pb2.Credit(events=3)),
        Message(ack=sync_pb2.EventAck(stream="s@1", seq=4)),
    ):
        outbox.say(message)
    assert len(outbox) == 6
    assert drained(outbox) == ["ack", "credit", "heartbeat", "digest_request", "loads", "reports"]
    assert len(outbox) == 0


def test_only_the_latest_word_is_kept_and_what_is_lost_is_counted() -> None:
    """Acknowledgements and credit add up, of telemetry the latest goes, and each one that nobody heard counts."""
    outbox = Outbox()
    for number in range(1, 1_001):
        outbox.say(Message(ack=sync_pb2.EventAck(stream="s@1", seq=number)))
        outbox.say(Message(credit=sync_pb2.Credit(events=1, bytes=10)))
        outbox.say(Message(heartbeat=sync_pb2.SyncHeartbeat(echo=number)))
        outbox.say(Message(loads=sync_pb2.AgentLoads(ready=number)))
        outbox.say(report("r1", number / 1_000))
    assert len(outbox) == 5
    assert outbox.lost == 2 * 999
    first, second = outbox.take(), outbox.take()
    assert first is not None
    assert second is not None
    assert (first.ack.seq, second.credit.events, second.credit.bytes) == (1_000, 1_000, 10_000)


def test_a_peer_that_does_not_read_costs_no_memory() -> None:
    """Reports are bounded by dropping the oldest, counted; requests by ending the link in words."""
    outbox = Outbox()
    for number in range(REPORTS_KEPT_MAX + 10):
        outbox.say(report(f"r{number}", 0.1))
    assert outbox.lost == 10
    for number in range(WAITING_MAX):
        outbox.say(Message(digest_request=sync_pb2.DigestRequest(id=number)))
    with pytest.raises(LinkRefused, match="does not read"):
        outbox.say(Message(digest_request=sync_pb2.DigestRequest(id=0)))


def test_an_echo_proves_level_only_once_its_head_is_here() -> None:
    """A peer with a backlog answers at once, and is known as of the asking only when what it told of has come."""
    pulse = Pulse(heard_s=0.0)
    asked = pulse.ask(10.0)
    assert pulse.answered(asked, head_seq=500, held_seq=100, now_s=10.2) == 10.0
    assert pulse.round_trip_s == pytest.approx(0.2)
    levels = [pulse.level_s]
    assert not pulse.holds(499)
    levels.append(pulse.level_s)
    assert pulse.holds(500)
    assert [*levels, pulse.level_s] == [None, None, 10.0]
    assert pulse.answered(99, 0, 500, 11.0) is None, "nobody asked that"


def test_a_flood_of_heartbeats_is_throttled() -> None:
    """As many as any peer needs pass at once; a flood is read more and more slowly, and forgiven in time."""
    pulse = Pulse(heard_s=0.0)
    pauses = [pulse.throttle_s(1.0) for _ in range(int(HEARTBEATS_AT_ONCE_MAX) + 50)]
    assert pauses[int(HEARTBEATS_AT_ONCE_MAX) - 1] == 0.0
    assert pauses[-1] == pytest.approx(1.0)
    assert pulse.throttle_s(100.0) == 0.0


def test_a_slow_line_gets_small_batches_and_a_quick_one_large_ones() -> None:
    """So nothing that is said between batches waits long behind one."""
    pace = Pace()
    for _ in range(10):
        pace.wrote(1.0)
    assert pace.batch_bytes == BATCH_BYTES_MIN
    for _ in range(10):
        pace.wrote(0.01)
    assert pace.batch_bytes == BATCH_BYTES_MAX


def test_an_attempt_to_connect_fits_how_far_the_peer_is() -> None:
    """A near peer is given up soon; a far one gets more than it took; now and then an attempt is patient, for ways change."""
    patience = Patience()
    assert [patience.next_s() for _ in range(4)] == [QUICK_S, PATIENT_S, QUICK_S, PATIENT_S]
    patience.connected(0.1)
    assert [patience.next_s() for _ in range(4)] == [QUICK_S, QUICK_S, QUICK_S, PATIENT_S]
    patience.connected(2.0)
    assert patience.next_s() == 6.0
    assert max(patience.next_s() for _ in range(20)) < SILENCE_S_MAX


MUTE = (
    "Internal error from Core",
    'Failed "execute_batch": (<SendMessageOperation object at 0x7f>,)',
    "RPC already finished.",
    "Deadline Exceeded",
    NO_ANSWER,
    "",
)
attempts = st.lists(st.tuples(st.integers(1, 90_000), st.sampled_from([NOT_TAKEN, "Connection refused", *MUTE])), min_size=1)


@given(attempts)
def test_why_there_is_no_link_is_what_was_last_told(tried: list[tuple[int, str]]) -> None:
    """An attempt that only came to nothing does not hide it, for a minute; after that it is shown itself."""
    standing, now_ms, told, told_ms = Standing(), 1_800_000_000_000, "", 0
    for pause_ms, reason in tried:
        now_ms += pause_ms
        standing.unreached(reason, now_ms)
        if reason not in MUTE:
            told, told_ms = reason, now_ms
        assert standing.ended == (told if now_ms - told_ms <= TOLD_KEPT_MS else reason)


def test_what_was_told_of_an_earlier_link_explains_no_later_one() -> None:
    """A link that was up, or was refused since, has an end of its own."""
    standing = Standing()
    standing.unreached(NOT_TAKEN, 1_000)
    standing.up(2_000)
    standing.down(3_000, "closed by the peer", 0)
    standing.unreached(NO_ANSWER, 4_000)
    assert standing.ended == NO_ANSWER
    standing.refuse("identity", "certificate is for site airport", 5_000, fatal=False)
    standing.unreached("RPC already finished.", 6_000)
    assert standing.ended == NO_ANSWER
