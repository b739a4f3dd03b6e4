"""The blob sweep: what something kept names stays, what nothing names goes, and what is on its way is left alone."""

import os
import threading
import time
from pathlib import Path
from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import workflow.event
from sync.blobs import BlobName, BlobStore
from sync.commit import Commit, Snapshot
from sync.retention import blobs
from sync.retention.blobs import names_in, sizes_in, sweep
from sync.retention.driver import Retention
from sync.retention.policy import Policy
from tests.sync.chained import HARBOUR, Scribe, commit, open_log

DAY_S = 86_400.0


def aged(store: BlobStore, data: bytes, age_s: float = 30 * DAY_S) -> BlobName:
    """A blob that nobody has asked for in a long time."""
    blob = store.put(data)
    path = store.directory / blob.sha256.hex()[:2] / blob.sha256.hex()[2:]
    os.utime(path, (time.time() - age_s,) * 2)
    return blob


def held(store: BlobStore) -> set[bytes]:
    return set(store.older_than(-DAY_S, 1_000))


def nothing() -> None:
    pass


def test_what_is_named_anywhere_stays(tmp_path: Path) -> None:
    """In an event, in the snapshot of a living run, in a tombstone, a persisted value, in JSON as hex; only the orphan goes."""
    log, store, scribe = open_log(tmp_path / "harbour.db"), BlobStore(tmp_path / "blobs"), Scribe()
    event, living, ended, persisted, hexed, orphan = (aged(store, f"value {n}".encode()) for n in range(6))
    commit(
        log,
        Commit(
            rows=scribe.rows(1, payload=b"\x92\xc4\x20" + event.sha256) + scribe.rows(1, payload=hexed.sha256.hex().encode()),
            snapshots=[
                Snapshot("r1", 2, 2, False, "active", b"\xc4\x20" + living.sha256),
                Snapshot("r2", 2, 2, True, "completed", b"\xc4\x20" + ended.sha256),
            ],
            persisted={"p": b"\xc4\x20" + persisted.sha256},
        ),
    )
    before = store.bytes_held
    swept = sweep(log, store, nothing)
    assert (swept.blobs, swept.bytes, swept.candidates) == (1, orphan.size, 6)
    assert held(store) == {blob.sha256 for blob in (event, living, ended, persisted, hexed)}
    assert store.bytes_held == before - orphan.size
    log.close()


def test_a_shared_blob_stays_as_long_as_one_run_is_kept(tmp_path: Path) -> None:
    """Two runs name it: the first leaves the log and it stays, the second does and it goes."""
    log, store, scribe = open_log(tmp_path / "harbour.db"), BlobStore(tmp_path / "blobs"), Scribe()
    shared = aged(store, b"shared")
    named = b"\xc4\x20" + shared.sha256
    policy = Policy(1.0, no_archive=True)
    keeper = Retention(log, policy, lambda: 4_000_000_000_000, blobs=lambda rest: sweep(log, store, rest), pause_s=0)

    def leave(**ended: bool) -> None:
        shots = [Snapshot(run, scribe.pos, scribe.last[run], gone, "x", named) for run, gone in ended.items()]
        floor = Commit(snapshots=shots, positions={("cloud", str(HARBOUR)): 99}, floor=scribe.pos, floor_heads=dict(scribe.heads))
        commit(log, floor)
        keeper.run()

    commit(log, Commit(rows=scribe.rows(1, run="first", payload=named) + scribe.rows(1, run="second", payload=named)))
    leave(first=True, second=False)
    assert store.stat(shared).complete
    aged(store, b"shared")  # It was asked for just now.
    commit(log, Commit(rows=scribe.rows(1, run="second", payload=b"the end")))
    leave(second=True)
    assert keeper.last.swept.blobs == 1
    assert not store.stat(shared).complete
    log.close()


def test_who_asks_for_a_blob_keeps_it(tmp_path: Path) -> None:
    """An uploader that hears that it is there already names it next: a sweep under way leaves it."""
    log, store = open_log(tmp_path / "harbour.db"), BlobStore(tmp_path / "blobs")
    wanted, orphan = aged(store, b"wanted"), aged(store, b"orphan")
    assert sweep(log, store, lambda: store.stat(wanted)).blobs == 1  # type: ignore[arg-type]
    assert (store.stat(wanted).complete, store.stat(orphan).complete) == (True, False)
    young = store.put(b"young")
    assert sweep(log, store, nothing).candidates == 0
    assert store.stat(young).complete
    log.close()


def test_a_blob_is_never_said_to_be_held_and_then_swept(tmp_path: Path) -> None:
    """Whoever asks while it is being deleted hears that it is not there, or it stays."""
    store, chance = BlobStore(tmp_path / "blobs"), Random(5)
    for _ in range(200):
        blob, answers = aged(store, b"contended"), list[bool]()
        pause_s = chance.random() / 5_000

        def ask(blob: BlobName = blob, answers: list[bool] = answers, pause_s: float = pause_s) -> None:
            time.sleep(pause_s)
            answers.append(store.stat(blob).complete)

        asking = threading.Thread(target=ask)
        asking.start()
        store.delete_if_older(blob.sha256, blobs.GRACE_S)
        asking.join()
        assert store.stat(blob).complete or not answers[0]


def test_names_are_found_wherever_they_begin() -> None:
    """A chance match just before a name does not hide it."""
    digest = bytes(range(32))
    for before in range(40):
        text = b"\xc4\x20" + b"\x01" * before + b"\xc4\x20" + digest + b"\x01" * 40
        assert digest in names_in(text)
        assert digest in names_in(b"a" * before + digest.hex().encode() + b"f" * 7)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 1 << 40), st.binary(max_size=20), st.binary(max_size=20))
def test_a_value_is_told_by_its_size_however_it_is_written(digest: bytes, size: int, before: bytes, behind: bytes) -> None:
    """In an event, in a saved state, as a reference in JSON; what has no size behind it is a name, and no value."""
    named = workflow.event.Blob(digest, size)
    written = [
        msgspec.msgpack.encode(named),
        msgspec.msgpack.encode((3, b"", digest, size)),
        msgspec.json.encode({"$blob": {"sha256": digest.hex(), "size": size}}),
        msgspec.json.encode({"$blob": digest.hex(), "size": size}),
    ]
    for text in written:
        assert sizes_in(before + text + behind)[digest] == size
        assert digest in names_in(before + text + behind)
    assert digest not in sizes_in(msgspec.json.encode({"key": digest.hex()}))


def test_a_long_text_is_read_in_pieces_and_no_name_is_lost_between_them() -> None:
    """Wherever the end of a piece falls."""
    digest, size = bytes(range(32, 64)), 1 << 33
    binary = msgspec.msgpack.encode(workflow.event.Blob(digest, size))
    text = msgspec.json.encode({"$blob": {"sha256": digest.hex(), "size": size}})
    for before in range(blobs.SLICE - 130, blobs.SLICE + 10):
        for named in binary, text:
            whole = b"-" * before + named + b"-" * 3
            assert digest in names_in(whole)
            assert sizes_in(whole) == {digest: size}
