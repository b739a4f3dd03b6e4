"""The loop of every node: batch in, step, one transaction with one fsync, then the effects leave.

`Driver.turn` is one synchronous function over three ports (Log, Clock, Out). It steps the core for each input (the core folds as
it decides, so the next input sees it), gives the events their places in their streams, and submits one Commit. Effects and
replies are held in `_held` until the log says that their commit is durable; while one commit is under way the next batch is
decided. If a commit fails, nothing of it was sent, and the core is folded anew from the log.

The asyncio shell that feeds it is `sync.actors.Loop`.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from sync.chain import GENESIS, Head, record_hash
from sync.clock import COUNTER_BITS, ClockAhead, Disbelieved, HybridClock, wall_ms
from sync.commit import Commit, Row, Snapshot, make_row
from sync.inputs import LACKS_TO, Due, FromPeer, Recalled, Recovered, Replicated
from sync.lag import Lag, Outbox
from sync.loaded import Loaded
from sync.log_errors import LogCorrupt, LogFailed
from sync.outputs import (
    Acknowledge,
    Append,
    ClearTimer,
    Confirmed,
    Failed,
    Persist,
    Remember,
    Reply,
    Revoke,
    Save,
    SetTimer,
)
from sync.ports.core import Clock, Core, Log, Out
from sync.timers import STEP_MS_MIN, Steps, TimerQueue, load_names, save_names
from sync.values import Now, StreamId, stream_writer

ANSWERS_KEPT_MS = 7 * 24 * 3600 * 1000
SNAPSHOT_EVERY = 50_000
IN_FLIGHT_MAX = 2
WALL = "wall"
"""Under which the log keeps what the wall clock said, not longer than `WALL_NOTED_MS` before its latest commit."""
WALL_NOTED_MS = 10_000
MOVED = "moved"
"""Under which it keeps which timers were moved."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Tip:
    """Where a stream ends now, with its name as the hash wants it."""

    seq: int
    hash: bytes
    name: bytes


@dataclass(slots=True, eq=False)
class _Batch:
    rows: list[Row]
    effects: list[object]
    done: bool = False


@dataclass(slots=True)
class Driver:
    """One node's turn. `make_core` gives an empty core of this boot; the log fills it."""

    make_core: Callable[[], Core]
    log: Log
    clock: Clock
    out: Out
    core: Core = field(init=False)
    timers: TimerQueue = field(init=False)
    _steps: Steps = field(init=False, default_factory=Steps)
    _moved: list[tuple[str, str, int]] = field(init=False, default_factory=list)  # Timers, since the last commit, by a step.
    _stepped: set[tuple[str, str]] = field(init=False, default_factory=set)  # Timers that were moved at some time.
    _noted_ms: int = field(init=False, default=0)  # What the wall clock said when the log was last told.
    pos: int = field(init=False, default=0)
    committed_pos: int = field(init=False, default=0)
    # Shall the next turn take snapshots, so that what is older than they are may be cut?
    floor_wanted: bool = field(init=False, default=False)
    clocks: Disbelieved = field(init=False, default_factory=Disbelieved)
    _stamps: HybridClock = field(init=False, default_factory=HybridClock)
    _last: dict[str, int] = field(init=False, default_factory=dict)
    _tips: dict[StreamId, _Tip] = field(init=False, default_factory=dict)
    _held: deque[_Batch] = field(init=False, default_factory=deque)
    _floor: int = field(init=False, default=0)
    # Were events fetched back that the core has not seen? Then no floor may move past them before the refold.
    _unfolded: bool = field(init=False, default=False)
    _lacks_to: dict[str, int] = field(init=False, default_factory=dict)
    _positions: dict[tuple[str, str], int] = field(init=False, default_factory=dict)
    _answers_swept_ms: int = field(init=False, default=0)
    # Of the core, if it watches how far its peer is behind; what waits for that; how far the peer holds which stream.
    lag: Lag | None = field(init=False, default=None)
    _outbox: Outbox = field(init=False, default_factory=Outbox)
    _peer_holds: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._fold()

    def turn(self, inputs: Iterable[object]) -> None:
        """Decide a batch of inputs and submit what follows as one commit; effects wait for it."""
        now = self.clock.now()
        commit = Commit()
        effects: list[object] = []
        self._follow_clock(now)
        self._keep_moved(commit)
        for input in inputs:
            if type(input) is Replicated or type(input) is Recovered:
                self._replicate(input, now, commit, effects)
                continue
            if type(input) is Recalled and input.tombstone is not None and not self.core.holds(input.run):
                # Its history goes on where it ended; what was said of it meanwhile was not its own.
                self._last[input.run] = input.tombstone.last
                commit.tombstones.append(input.tombstone)
            self._take(self.core.step(input, now), now, commit, effects)
            if type(input) is Recalled and not self.core.holds(input.run):
                self._last.pop(input.run, None)  # It was only looked at.
        self._take(self.core.settle(now), now, commit, effects)
        if (self.pos - self._floor >= SNAPSHOT_EVERY or self.floor_wanted) and not self._unfolded:
            self._snapshot(commit)
        self._submit(commit, effects, now)

    def store(self, inputs: Iterable[Recovered]) -> None:
        """Store events that were fetched back, and decide nothing: the refold that follows makes sense of them."""
        now, commit, effects = self.clock.now(), Commit(), list[object]()
        for input in inputs:
            self._replicate(input, now, commit, effects)
        self._submit(commit, effects, now)

    def begin(self, stream: StreamId, event: object) -> None:
        """Write the first event of another own stream, and decide nothing: the refold that follows makes sense of it."""
        now, commit = self.clock.now(), Commit()
        self._append(Append(stream, "", 0, event), now, commit.rows)  # type: ignore[arg-type]
        self._unfolded = True
        self._submit(commit, [], now)

    def hold(self, effect: object) -> None:
        """Let an effect leave behind everything that has been decided so far."""
        if self._held:
            self._held[-1].effects.append(effect)
        else:
            self.out.send([effect])

    def due(self) -> int | None:
        """When the next timer falls due (UTC ms); None if there is none."""
        return self.timers.next_ms()

    def take_due(self, limit: int = 1_000) -> list[Due]:
        """The timers that have fallen due, as inputs, the earliest `limit` of them."""
        now = self.clock.now()
        self._follow_clock(now)
        return [Due(*timer) for timer in self.timers.take(now.wall_ms, limit)]

    def _follow_clock(self, now: Now) -> None:
        """The wall clock was set: what ends a span of time still ends when that is over."""
        if by_ms := self._steps.step_ms(now):
            self._move_spans(by_ms)
            log.warning("the wall clock was set", node=self.log.node, by_ms=by_ms, timers_moved=len(self._moved))

    def _move_spans(self, by_ms: int) -> None:
        self._moved += self.timers.shift(by_ms, self.core.is_span)
        self._stepped = {timer[:2] for timer in self._moved} | {timer for timer in self._stepped if self.timers.has(*timer)}

    def _keep_moved(self, commit: Commit) -> None:
        if self._moved:
            commit.persisted[MOVED] = save_names(self._stepped)
        while self._moved:
            commit.set_timer(*self._moved.pop())

    def last_pos(self, run: str) -> int:
        """The place of the run's latest event in this log; it may not be durable yet."""
        return self._last.get(run, 0)

    def note_position(self, peer: str, stream: StreamId, seq: int) -> None:
        """A peer holds the stream up to `seq`; written with the next commit, for nothing depends on it."""
        self._positions[(peer, stream)] = seq

    def held_by_peer(self, stream: StreamId, seq: int, *, greeted: bool = False) -> bool:
        """The peer holds the stream up to `seq`: what waited for that leaves, in order. In a greeting it may be less than before,
        if the peer has lost something. True if a watched run is concerned, so that the core should hear of it."""
        lag = self.lag
        if lag is None or stream != lag.stream:
            return False
        self._peer_holds[stream] = seq if greeted else max(seq, self._peer_holds.get(stream, 0))
        changed = lag.hold(self._peer_holds[stream])
        if self._outbox.waiting and (leaving := self._outbox.release(lag.held)):
            self.out.send(leaving)
        return changed

    @property
    def is_waited_for(self) -> bool:
        """Does an effect wait for the peer to hold what was decided?"""
        return bool(self._outbox.waiting or self._outbox.undivided)

    @property
    def in_flight(self) -> int:
        """Commits submitted and not yet durable."""
        return len(self._held)

    # From outputs to a commit -----------------------------------------------------------------------------------------

    def _take(self, outputs: list[object], now: Now, commit: Commit, effects: list[object]) -> None:
        """Give events their places, note what is to be kept, hold the rest back. The hottest loop of a node."""
        for output in outputs:
            kind = type(output)
            if kind is Append:
                self._append(output, now, commit.rows)  # type: ignore[arg-type]
            elif kind in _RECORDED:
                self._record(output, commit)
            elif kind is Confirmed:
                effects.append(self._confirmed(output.effect))  # type: ignore[attr-defined]
            else:
                effects.append(output)

    def _confirmed(self, effect: object) -> object:
        """The effect, or what stands for it until the peer holds all that was decided so far."""
        lag = self.lag
        assert lag is not None, "only a core that watches its peer has confirmed effects"
        tip = self._tips.get(lag.stream)
        seq = tip.seq if tip is not None else 0
        return effect if seq <= lag.held and not self._outbox.waiting else self._outbox.withhold(seq, effect)

    def _append(self, output: Append, now: Now, rows: list[Row]) -> None:
        stream, run, event = output.stream, output.run, output.event
        payload = self.core.encode(event)
        stamp = self._stamps.tick(now.wall_ms)
        tip = self._tips.get(stream) or self._tip(stream)
        seq = tip.seq = tip.seq + 1
        kind = event.kind
        digest = tip.hash = record_hash(tip.hash, tip.name, seq, output.epoch, kind, run, stamp, payload)
        pos = self.pos = self.pos + 1
        previous = self._last.get(run, 0)
        self._last[run] = pos
        rows.append(make_row((pos, stream, seq, output.epoch, kind, run, stamp, payload, digest, previous)))
        if self.lag is not None and (key := output.watch or run) in self.lag.watched:
            self.lag.place(key, seq, now.mono_ms)

    def _tip(self, stream: StreamId) -> "_Tip":
        tip = self._tips[stream] = _Tip(0, GENESIS.hash, stream.encode())
        return tip

    def _record(self, output: object, commit: Commit) -> None:
        match output:
            case SetTimer(run, key, due_ms):
                if self.timers.set(run, key, due_ms):
                    commit.set_timer(run, key, due_ms)
            case ClearTimer(run, key):
                self.timers.clear(run, key)
                commit.clear_timer(run, key)
            case Persist(key, value):
                commit.persisted[key] = value
            case Save(run, ended, state, body):
                last = self._last.pop(run, 0) if ended else self._last.get(run, 0)
                commit.snapshots.append(Snapshot(run, self.pos, last, ended, state, body))
            case Remember(answer):
                commit.answers.append(answer)
            case Revoke(session):
                self._outbox.revoke(session)

    def _replicate(self, input: Replicated | Recovered, now: Now, commit: Commit, effects: list[object]) -> None:
        """Store a stream's events unchanged, and let the core see each event of a peer."""
        stream, rows = input.stream, input.rows
        tip = self._tips.get(stream) or self._tip(stream)
        last, keep, decode = self._last, commit.rows.append, self.core.decode
        events = input.events if type(input) is Replicated else None
        if type(input) is Recovered:
            self._unfolded = True
            if input.lacks_to:
                self._lacks_to[input.lacks] = input.lacks_to
                commit.persisted[LACKS_TO + input.lacks] = b"%d" % input.lacks_to
        for number, row in enumerate(rows):
            _, _, seq, epoch, kind, run, time, payload, digest, _ = row
            if seq <= tip.seq:
                continue  # Held already: applying twice is harmless.
            if seq > tip.seq + 1:
                return  # A refold took back what came before it, and ended the session: the next one sends it again.
            tip.seq, tip.hash = seq, digest
            pos = self.pos = self.pos + 1
            keep(make_row((pos, stream, seq, epoch, kind, run, time, payload, digest, last.get(run, 0))))
            last[run] = pos
            if type(input) is Replicated:
                event = decode(kind, payload) if events is None else events[number]
                heard = FromPeer(stream, run, event, time >> COUNTER_BITS)
                if outputs := self.core.step(heard, now):
                    self._take(outputs, now, commit, effects)
        self._observe(stream, rows[-1].time, now.wall_ms)
        effects.append(Acknowledge(stream, rows[-1].seq))

    def _observe(self, stream: StreamId, stamp: int, now_ms: int) -> None:
        writer = stream_writer(stream)
        try:
            self._stamps.observe(stamp, now_ms)
        except ClockAhead as error:  # Not believed: our own stamps go on by our own clock.
            if self.clocks.note(writer, error.ahead_ms, now_ms):
                count = self.clocks.writers[writer].count
                log.warning("a clock is ahead; its stamps are not believed", node=writer, ahead_ms=error.ahead_ms, count=count)
        else:
            self.clocks.forget(writer)

    def _snapshot(self, commit: Commit) -> None:
        """Save what has changed since the last floor, so that a restart folds only what comes after this commit."""
        for save in self.core.saves():
            self._record(save, commit)
        self._floor = commit.floor = self.pos
        self.floor_wanted = False
        commit.floor_heads = self.heads

    @property
    def heads(self) -> dict[StreamId, Head]:
        """Where each stream ends, committed or about to be."""
        return {stream: Head(tip.seq, tip.hash) for stream, tip in self._tips.items()}

    @property
    def lacks_events(self) -> bool:
        """Does an own stream still lack events that it had lost, and that a peer was giving back when the process died? Whatever
        is written to it before they are all here takes their place, and makes two histories under one name."""
        heads = self.heads
        return any(seq > heads.get(StreamId(stream), GENESIS).seq for stream, seq in self._lacks_to.items())

    # Held until durable -----------------------------------------------------------------------------------------------

    def _submit(self, commit: Commit, effects: list[object], now: Now) -> None:
        if commit:
            commit.positions, self._positions = self._positions, {}
            if abs(now.wall_ms - self._noted_ms) >= WALL_NOTED_MS:
                self._noted_ms = now.wall_ms
                commit.persisted[WALL] = b"%d" % now.wall_ms
            if now.wall_ms - self._answers_swept_ms > ANSWERS_KEPT_MS // 168:
                self._answers_swept_ms = now.wall_ms
                commit.answers_expire_before_ms = now.wall_ms - ANSWERS_KEPT_MS
            batch = _Batch(commit.rows, effects)
            self._held.append(batch)
            self.log.submit(commit, lambda error: self.finished(batch, error))
        elif self._held:
            # They may tell of what an earlier batch decided, so they wait for it too.
            self._held[-1].effects.extend(effects)
        elif effects:
            self._send(effects)

    def _send(self, effects: list[object]) -> None:
        if self._outbox.undivided:
            assert self.lag is not None, "effects are withheld for a peer"
            effects = self._outbox.divide(effects, self.lag.held)
        if effects:
            self.out.send(effects)

    def finished(self, batch: _Batch, error: BaseException | None) -> None:
        """The log's word on one commit. In order: a batch leaves when every batch before it has left."""
        if batch not in self._held:
            return  # Part of a batch that failed before it, and refolded with it.
        if error is not None:
            self._refold(error)
            return
        batch.done = True
        while self._held and self._held[0].done:
            first = self._held.popleft()
            if first.rows:
                self.committed_pos = first.rows[-1].pos
                self.out.committed(first.rows)
            if first.effects:
                self._send(first.effects)

    def _refold(self, error: BaseException) -> None:
        """A commit failed: forget whatever was decided on top of it, say so to those who wait, and fold the log anew."""
        held, self._held = self._held, deque()
        failed = [Reply(e.token, Failed(error)) for batch in held for e in batch.effects if isinstance(e, Reply)]
        failed += [Reply(e.token, Failed(error)) for e in self._outbox.drop() if isinstance(e, Reply)]
        try:
            if isinstance(error, LogFailed | LogCorrupt):
                raise error  # Only a new start can tell what the disk holds.
            self.log.reset()
            self.refold(error)
        finally:
            if failed:
                self.out.send(list(failed))

    def refold(self, error: BaseException) -> None:
        """Build the core again from the log; sessions with agents and peers begin anew, for they hung on the old core. Who has
        asked something that it had put off (it waited for a tombstone) is told, for the new one does not know of it."""
        lost: list[object] = [Reply(token, Failed(error)) for token in self.core.asking()]
        self._fold()
        self.out.refolded(error)
        if lost:
            self.out.send(lost)

    def _fold(self) -> None:
        loaded = self.log.load()
        now_ms = self.clock.now().wall_ms
        self.core = self.make_core()
        noted_ms = int((persisted := {**loaded.persisted}).pop(WALL, b"0"))
        self._stepped = load_names(persisted.pop(MOVED, b""))
        self.core.restore(loaded.snapshots, persisted)
        self._last = {snapshot.run: snapshot.last for snapshot in loaded.snapshots}
        self.pos = self.committed_pos = loaded.pos
        self._tips = {stream: _Tip(head.seq, head.hash, stream.encode()) for stream, head in loaded.heads.items()}
        self._floor, self._unfolded = loaded.floor, False
        marks = {key.removeprefix(LACKS_TO): int(seq) for key, seq in loaded.persisted.items() if key.startswith(LACKS_TO)}
        self._lacks_to = marks
        for stream, stamp in loaded.stamps.items():
            if stream_writer(stream) == self.log.node:
                self._stamps.last = max(self._stamps.last, stamp)
            else:
                self._observe(stream, stamp, now_ms)
        for row in loaded.tail:
            self._last[row.run] = row.pos
            self.core.evolve(row.stream, row.run, self.core.decode(row.kind, row.payload), wall_ms(row.time))
        self.timers = TimerQueue()
        for run, key, due_ms in loaded.timers:
            self.timers.set(run, key, due_ms)
        now = self.clock.now()
        commit, effects = Commit(), list[object]()
        if not self._noted_ms and (back_ms := noted_ms - now.wall_ms) >= STEP_MS_MIN:
            # It was set back while nobody was here to see it, by as much at least.
            self._move_spans(-back_ms)
        restored = self.core.restored(now)
        self._look_behind(loaded)
        # The core makes timers anew of its events, which know nothing of clocks that were set since.
        stepped = {timer for timer in self._stepped if self.timers.has(*timer)}
        restored = [each for each in restored if type(each) is not SetTimer or each[:2] not in stepped]
        self._keep_moved(commit)
        self._take(restored, now, commit, effects)
        self._last = {run: pos for run, pos in self._last.items() if self.core.holds(run)}
        self._submit(commit, effects, now)

    def _look_behind(self, loaded: Loaded) -> None:
        """What the peer lacked when this log was last written, as far as is known: an acknowledgement may not have been noted."""
        self._outbox.drop()
        self.lag = getattr(self.core, "lag", None)
        if (lag := self.lag) is None:
            return
        noted = max((seq for (_, stream), seq in loaded.positions.items() if stream == lag.stream), default=0)
        held = self._peer_holds.setdefault(lag.stream, noted)
        tail = [(row.run, row.seq) for row in loaded.tail if row.stream == lag.stream]
        end = loaded.heads.get(lag.stream, GENESIS).seq
        lag.begin(held, end - len(tail), tail, end)


_RECORDED = frozenset((SetTimer, ClearTimer, Persist, Save, Remember, Revoke))


class StreamRecovered(Exception):
    """Not a failure: lost events of the node's own stream are back, so the core is folded anew with them."""
