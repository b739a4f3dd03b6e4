"""The core of a member at work: it is given what comes, has written what it wants, and lets leave what rests on it.

Three rules make it safe. What a message rests on is durable before it leaves; only what a leader says of its entries may leave
before (its term and vote are durable since its election, and it counts itself only once its disk has them: Ongaro's thesis,
section 10.2.1). What is applied, and how far, is one transaction. The core is told that something is durable in the order in
which it asked for it.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog

from coordination.group.log import GroupLog, Leadership, Proposal
from coordination.group.packing import pack_commit
from coordination.group.storing import Identity, load, put_hard, put_identity, put_marks, put_member
from coordination.group.tail import Bounds, Tail
from coordination.group.values import GroupConfig, LeadershipLost
from coordination.group.writing.driver import Step, Writing
from coordination.raft.raft import Raft
from coordination.raft.values import Entry, EntryKind, HardState, Message, ProposalDropped, Ready, Role, Say, Snapshot
from sync.commit import Commit
from sync.log import EventLog

if TYPE_CHECKING:
    from coordination.group.copies.driver import Copies
    from coordination.group.service import GrpcLines

STEPS_MAX = 2
INBOX_MAX = 16_384
MESSAGES_PER_TURN = 1_024
PROPOSALS_PER_TURN = 1_024
PROPOSED_BYTES = 1 << 20
"""In one turn, unless one proposal alone is larger."""
COPYING_PATIENCE = 8
MARKS_EVERY_MS = 1_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Around:
    """What a replica stands among. `broken`: it cannot go on; `errand`: run this beside; `regrouped`: the group, or what is
    known of its members, has changed; `elected`: a leadership begins."""

    event_log: EventLog
    lines: "GrpcLines"
    copies: "Copies"
    identity: Identity
    broken: Callable[[BaseException], None]
    errand: Callable[[Coroutine[Any, Any, None]], None]
    regrouped: Callable[[], None]
    elected: Callable[[], None]


class Replica:
    """Made inside the running loop, once it is known to which group the member belongs."""

    def __init__(self, config: GroupConfig, raft: Raft, tail: Tail, around: Around) -> None:
        self.config, self.raft, self.tail = config, raft, tail
        self.leadership: Leadership | None = None
        self.reading: dict[bytes, asyncio.Future[int]] = {}
        self.dropped = 0  # Messages that found the inbox full.
        self._around = around
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._disk = Writing(around.event_log, self._settled, around.broken)
        self._bounds = Bounds(config.keep_entries, config.keep_bytes, config.compact_entries, config.compact_bytes)
        self._inbox: deque[Message] = deque()
        self._proposed: deque[Proposal] = deque()
        self._queue: deque[Proposal] = deque()
        self._waiting: dict[int, Proposal] = {}
        self._read_at: list[tuple[int, asyncio.Future[int]]] = []
        self._kicked = self._swapping = False
        self._halted = False
        self._led = 0
        self._marked, self._marking, self._ticks = raft.marks.changes, Step(None, durable=True), 0
        tail.begin(raft.entries)

    @property
    def problem(self) -> str:
        """Why the disk takes nothing; empty if it does."""
        return self._disk.problem

    # Turns --------------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """A tick has passed. What has come meanwhile is heard first."""
        self._hear()
        if self._halted:
            return
        was_leader, waiting_s = self.raft.role is Role.LEADER, self._disk.waiting_s()
        self.raft.tick()
        if was_leader and self.raft.role is not Role.LEADER:
            stall_s = self.config.stall_timeouts * self.config.election_ticks * self.config.tick_ms / 2000
            why = "its disk takes nothing" if waiting_s > stall_s else "no majority is heard"
            log.error("a leader steps down", site=self.config.site, member=self.config.member, term=self.raft.term, why=why)
        self._keep_marks()
        self._turn(ticked=True)

    def halt(self) -> None:
        """It says and writes nothing more."""
        self._halted = True

    def receive(self, messages: Sequence[Message]) -> None:
        """What a peer says. More than the inbox holds is lost, as on a line."""
        if len(self._inbox) + len(messages) > INBOX_MAX:
            self.dropped += len(messages)
            return
        self._inbox.extend(messages)
        self.kick()

    def unreachable(self, peer: str, *, copy: bool = False) -> None:
        """The line to a peer broke, or the copy of the log did not get there: what was on its way is lost."""
        if copy:
            self.raft.snapshot_lost(peer)
        else:
            self.raft.unreachable(peer)

    def propose(self, proposal: Proposal) -> None:
        """From any thread. Its `done` is called in the loop."""
        self._proposed.append(proposal)
        if threading.get_ident() == self._thread:
            self.kick()
        else:
            self._loop.call_soon_threadsafe(self.kick)

    def wait_for(self, entry: Entry, proposal: Proposal) -> None:
        """Tell whoever has proposed it what becomes of an entry."""
        self._waiting[entry.index] = proposal

    async def applied(self, index: int) -> None:
        """Return once everything up to this entry is applied here, durably."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._read_at.append((index, future))
        self._answer_reads(self.raft.entries.applied)
        await future

    def kick(self) -> None:
        """Take a turn soon."""
        if not self._kicked:
            self._kicked = True
            self._loop.call_soon(self._turn)

    def _turn(self, *, ticked: bool = False) -> None:
        self._kicked = False
        if self._halted:
            return
        try:
            self._take_messages()
            self._look_at_role()
            self._take_proposals()
            self._pump(ticked=ticked)
        except Exception as error:  # noqa: BLE001 - Whoever serves the member gets it.
            self._around.broken(error)

    def _hear(self) -> None:
        try:
            self._take_messages()
        except Exception as error:  # noqa: BLE001 - As above.
            self._around.broken(error)

    def _take_messages(self) -> None:
        inbox, raft = self._inbox, self.raft
        for _ in range(0 if self._halted else min(len(inbox), MESSAGES_PER_TURN)):
            message = inbox.popleft()
            raft.step(message)
            if message.kind is Say.SNAPSHOT and raft.entries.unstable_snapshot is None:
                self._around.copies.forget()  # The core had it all.
        if inbox:
            self.kick()

    def _take_proposals(self) -> None:
        """In their order: one that the core does not take now keeps those behind it waiting."""
        raft, proposals = self.raft, self._queue
        while self._proposed:  # Other threads add to it.
            proposals.append(self._proposed.popleft())
        while proposals and (raft.role is not Role.LEADER or proposals[0].term != raft.term):
            old = proposals.popleft()
            old.done(self.lost(old.term))
        batch, size = list[Proposal](), 0
        for proposal in islice(proposals, PROPOSALS_PER_TURN):
            if proposal.commit is not None and not proposal.data:
                proposal.data = pack_commit(proposal.commit)
            size += len(proposal.data)
            if batch and (size > PROPOSED_BYTES or proposal.term != raft.term):
                break
            batch.append(proposal)
        if not batch:
            return
        try:
            entries = raft.propose_all([proposal.data for proposal in batch])
        except ProposalDropped:
            return  # Asked again by a later turn.
        for entry in entries:
            self.wait_for(entry, proposals.popleft())
        if proposals:
            self.kick()

    # Leading ------------------------------------------------------------------------------------------------------------

    def _look_at_role(self) -> None:
        led = self.raft.term if self.raft.role is Role.LEADER else 0
        if led != self._led:
            self._led = led
            self.end_leadership(but=led)

    def end_leadership(self, *, but: int = 0) -> None:
        """Nobody hears of success any more: what becomes of what was proposed is decided elsewhere. `but`: the term that this
        member leads in. A term may end before its leadership has begun, and things may be proposed in it by then."""
        leadership = self.leadership
        if leadership is not None and leadership.term != but and not leadership.ended.is_set():
            leadership.log.end(self.lost(leadership.term))
            leadership.ended.set()
            log.info("a leadership ends", site=self.config.site, member=self.config.member, term=leadership.term)
        waiting, queue = self._waiting, self._queue
        while self._proposed:
            queue.append(self._proposed.popleft())
        given_up = [proposal for proposal in (*waiting.values(), *queue) if proposal.term != but]
        self._waiting = {index: proposal for index, proposal in waiting.items() if proposal.term == but}
        self._queue = deque(proposal for proposal in queue if proposal.term == but)
        for proposal in given_up:
            proposal.done(self.lost(proposal.term))

    def lost(self, term: int) -> LeadershipLost:
        """What is said of a term that is over."""
        leader = self.raft.leader if self.raft.leader != self.config.member else ""
        return LeadershipLost(self.config.site, self.config.member, term, leader)

    def _lead(self, term: int) -> None:
        """All that earlier leaders have committed is applied, durably: this member knows what it leads."""
        self._look_at_role()
        group_log = GroupLog(self._around.event_log, term, self.propose, lambda: self.lost(term))
        self.leadership = Leadership(term, group_log)
        log.info("a leadership begins", site=self.config.site, member=self.config.member, term=term)
        self._around.elected()

    # From the core to the disk, and back ----------------------------------------------------------------------------------

    def _pump(self, *, ticked: bool = False) -> None:
        """Have done what the core wants. While the disk is busy what comes gathers; but time never waits for it."""
        while not self._swapping and (self._disk.under_way < STEPS_MAX or ticked):
            ready = self.raft.ready()
            if ready is None:
                return
            ticked = False
            self._do(ready)

    def _do(self, ready: Ready) -> None:
        self._send(ready.early)
        step = Step(ready, ready.late)
        if ready.snapshot is not None:
            self._swapping = True
            self._around.errand(self._swap(step, ready, ready.snapshot))
        else:
            self._write(step, ready)

    def _write(self, step: Step, ready: Ready) -> None:
        if self._halted:
            return
        book = self.tail.book
        step.commits = self.tail.commits(ready, self._waiting)
        self._disk.submit(step)
        if not self._disk.problem:
            self._answer(ready.committed)
        if self.tail.book is not book:
            self._around.regrouped()

    def _answer(self, committed: Sequence[Entry]) -> None:
        """A majority has them, and they are on their way into this member's log."""
        for entry in committed:
            if (proposal := self._waiting.pop(entry.index, None)) is not None:
                proposal.done(None if proposal.term == entry.term else self.lost(proposal.term))

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.kind is Say.SNAPSHOT:
                self._around.copies.want(message)
        self._around.lines.send([message for message in messages if message.kind is not Say.SNAPSHOT])

    def _settled(self, step: Step) -> None:
        """A step is durable, with all before it."""
        ready, raft = step.ready, self.raft
        if ready is None or self._halted:
            return
        self._answer(ready.committed)
        self._send(step.messages)
        group = raft.group
        raft.advance(ready)
        self._read_at += [(read.index, self.reading[read.context]) for read in ready.reads if read.context in self.reading]
        self._answer_reads(raft.entries.applied)
        if raft.group is not group:
            self._around.regrouped()
        for entry in ready.committed:
            if entry.kind is EntryKind.NOOP and raft.role is Role.LEADER and entry.term == raft.term:
                self._lead(raft.term)
        self._compact()
        self.kick()

    def _answer_reads(self, applied: int) -> None:
        waiting, self._read_at = self._read_at, []
        for index, future in waiting:
            if index > applied:
                self._read_at.append((index, future))
            elif not future.done():
                future.set_result(applied)

    def _compact(self) -> None:
        """While a copy of the log is on its way to a member, what comes behind it is kept, within bounds."""
        patience = COPYING_PATIENCE if self._around.copies.under_way else 1
        cut = self._bounds.base(self.raft.entries, self.tail.size, self.raft.group, patience=patience)
        if cut is not None:
            self.raft.compact(*cut)
            self._disk.submit(Step(None, commits=[self.tail.cut(self.raft.entries)]))

    def _keep_marks(self) -> None:
        """What is remembered of the others survives a power cut, but for the last second: it tells old copies from disks."""
        self._ticks += 1
        marks, is_due = self.raft.marks, self._ticks * self.config.tick_ms >= MARKS_EVERY_MS
        if is_due and self._marking.durable and self._marked != marks.changes and not self._swapping:
            self._ticks, self._marked = 0, marks.changes
            self._marking = Step(None, commits=[Commit(beside=[put_marks(marks.known)])])
            self._disk.submit(self._marking)

    async def _swap(self, step: Step, ready: Ready, snapshot: Snapshot) -> None:
        """Go on with the log that a leader has sent, once all that was under way is durable. Term and vote stay our own."""
        while self._disk.under_way:  # noqa: ASYNC110 - rare, and nothing else tells of it.
            await asyncio.sleep(self.config.tick_ms / 1000)
        around, path = self._around, self._around.event_log.path
        hard = HardState(self.raft.term, self.raft.vote, snapshot.index, self.raft.entries.reach)
        own = [put_member(self.config.member), put_hard(hard), put_identity(around.identity), put_marks(self.raft.marks.known)]
        await around.copies.install(snapshot, own)
        kept = await asyncio.wrap_future(around.event_log.alter(lambda execute, _extent: load(path, execute)))
        self.tail.book, self.tail.last, self.tail.size = kept.book, snapshot.index, 0
        log.info("this member goes on with a copy of the log", member=self.config.member, index=snapshot.index)
        self._swapping = False
        self._write(step, ready)
        around.regrouped()
