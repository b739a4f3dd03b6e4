"""What the group's log carries: each Commit and note comes out as it went in, and nothing else does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.group.founding import Refusal
from coordination.group.framing import FRAME_BYTES, Frames, cut_frames
from coordination.group.packing import Damaged, Note, pack_commit, pack_note, unpack
from coordination.raft.values import Entry, Message, Say
from sync.chain import Head
from sync.commit import Answer, Commit, Row, Snapshot
from sync.values import StreamId

NUMBERS = st.integers(0, 2**63 - 1)
WORDS = st.text(max_size=12)
BYTES = st.binary(max_size=40)
STREAMS = WORDS.map(StreamId)
ROWS = st.builds(Row, NUMBERS, STREAMS, NUMBERS, NUMBERS, WORDS, WORDS, NUMBERS, BYTES, BYTES, NUMBERS)
SNAPSHOTS = st.builds(Snapshot, WORDS, NUMBERS, NUMBERS, st.booleans(), WORDS, BYTES)
COMMITS = st.builds(
    Commit,
    rows=st.lists(ROWS, max_size=4),
    snapshots=st.lists(SNAPSHOTS, max_size=3),
    timers_set=st.dictionaries(st.tuples(WORDS, WORDS), NUMBERS, max_size=3),
    timers_cleared=st.sets(st.tuples(WORDS, WORDS), max_size=3),
    answers=st.lists(st.builds(Answer, WORDS, BYTES, BYTES, NUMBERS), max_size=2),
    answers_expire_before_ms=NUMBERS,
    persisted=st.dictionaries(WORDS, BYTES, max_size=3),
    positions=st.dictionaries(st.tuples(WORDS, WORDS), NUMBERS, max_size=3),
    floor=NUMBERS,
    floor_heads=st.dictionaries(STREAMS, st.builds(Head, NUMBERS, BYTES), max_size=2),
    tombstones=st.lists(SNAPSHOTS, max_size=2),
)


@given(COMMITS)
def test_a_commit_comes_out_as_it_went_in(commit: Commit) -> None:
    """Field by field, with the types that the log's writer wants; every field of a Commit is carried but what is local."""
    found = unpack(pack_commit(commit))
    assert found == commit
    assert isinstance(found, Commit)
    assert all(type(row) is Row for row in found.rows)


def test_what_is_local_stays_behind() -> None:
    """Statements beside a commit are of one member's file."""
    assert unpack(pack_commit(Commit(beside=[("DELETE FROM events", ())]))) == Commit()


@given(st.dictionaries(WORDS, WORDS, max_size=3), st.dictionaries(WORDS, WORDS, max_size=3))
def test_a_note_comes_out_as_it_went_in(addresses: dict[str, str], instances: dict[str, str]) -> None:
    """And is told from a Commit."""
    note = Note(addresses, instances)
    assert unpack(pack_note(note)) == note


@given(COMMITS, st.data())
def test_any_flipped_bit_is_found(commit: Commit, data: st.DataObject) -> None:
    """Wherever it is, in the mark, the sum or the body: it is said, and never applied."""
    packed = bytearray(pack_commit(commit))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Damaged):
        unpack(bytes(packed))


@given(st.binary(max_size=30))
def test_noise_is_no_entry(noise: bytes) -> None:
    """Also what is too short to be anything."""
    with pytest.raises(Damaged):
        unpack(noise)


@given(st.lists(st.binary(max_size=200), max_size=8), st.integers(0, 3))
def test_messages_survive_their_frames(bodies: list[bytes], large: int) -> None:
    """However large the list is: no frame is larger than 1 MiB, and what is put together is what was cut."""
    bodies = [*bodies, *(bytes(FRAME_BYTES // 2 + number) for number in range(large))]
    messages = [Message(Say.APPEND, "a", "b", 3, entries=(Entry(3, 1, data=body),), context=b"c") for body in bodies]
    frames, found = Frames("a", "b"), list[Message]()
    for frame in cut_frames(messages):
        assert len(frame.data) <= FRAME_BYTES
        found += frames.take(frame)
    assert found == messages


@pytest.mark.parametrize(("source", "target"), [("c", "b"), ("a", "c")])
def test_a_message_of_others_is_refused(source: str, target: str) -> None:
    """On a line from a to b there are messages from a to b alone, whatever they say of themselves."""
    (frame,) = cut_frames([Message(Say.HEARTBEAT, source, target, 3)])
    with pytest.raises(Refusal, match=f"a message from {source} to {target} on the line from a to b"):
        Frames("a", "b").take(frame)
