"""One member of a group at work: it gives the core what comes, has written what the core wants, and lets leave what rests on it.

Three rules make it safe. What a message rests on is durable before it leaves; only what a leader says of its entries may leave
before (its term and vote are durable since its election, and it counts itself only once its disk has them: Ongaro's thesis,
section 10.2.1). What is applied, and how far, is one transaction. The core is told that something is durable in the order in
which it asked for it.

Time never waits for the disk: the core's ticks come from the loop and the log has a thread of its own, so a leader whose disk
hangs notices it and steps down.
"""

import asyncio
import contextlib
import random
import secrets
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import grpc
import structlog

from coordination.group.copies.driver import Copies
from coordination.group.founding import Founding, Greeting, Refusal
from coordination.group.log import Done, GroupLog, Leadership, Proposal
from coordination.group.packing import Damaged, Note, pack_commit, pack_note, unpack
from coordination.group.service import GrpcLines
from coordination.group.standing import standing_of
from coordination.group.storing import (
    Book,
    Identity,
    load,
    put_applied,
    put_base,
    put_book,
    put_entries,
    put_hard,
    put_identity,
    put_member,
)
from coordination.group.values import GroupConfig, LeadershipLost, Standing
from coordination.group.writing.driver import Step, Writing
from coordination.raft.membership import decode_change
from coordination.raft.raft import Raft
from coordination.raft.values import (
    Change,
    Entry,
    EntryKind,
    HardState,
    Message,
    NotLeader,
    ProposalDropped,
    Ready,
    Role,
    Say,
    Snapshot,
    Stored,
    founded,
)
from sync.commit import Commit
from sync.log import EventLog
from sync.log_errors import LogCorrupt, LogError

EARLY = frozenset((Say.APPEND, Say.HEARTBEAT, Say.SNAPSHOT, Say.CAMPAIGN_NOW))
STEPS_MAX = 2
INBOX_MAX = 16_384
MESSAGES_PER_TURN = 1_024
PROPOSALS_PER_TURN = 1_024

log = structlog.get_logger()


class Member:
    """A member; its log is open as that of a member (`EventLog.open(..., member=...)`) and stays so for as long as it serves."""

    def __init__(
        self,
        config: GroupConfig,
        event_log: EventLog,
        *,
        join: Callable[[grpc.aio.Server], None] | None = None,
        chance: random.Random | None = None,
    ) -> None:
        assert event_log.member == config.member, f"the log is open as that of {event_log.member!r}, not of {config.member}"
        self.config, self.log = config, event_log
        self.raft: Raft | None = None
        self.book = Book()
        self.founding: Founding
        self.chance = chance or random.Random()
        self._inbox: deque[Message] = deque()
        self._proposals: deque[Proposal] = deque()
        self._waiting: dict[int, Proposal] = {}
        self._reading: dict[bytes, asyncio.Future[int]] = {}
        self._reads = 0
        self._last = 0  # How far the group's log reaches on the disk, or will once all that is under way is durable.
        self._tail_bytes = 0
        self._kicked = self._swapping = False
        self._read_at: list[tuple[int, asyncio.Future[int]]] = []
        self._leadership: Leadership | None = None
        self._elected = asyncio.Event()
        self._errands: set[asyncio.Future[None]] = set()
        self.lines = GrpcLines(config, self, join)
        self.copies = Copies(self)

    # What others ask of it ----------------------------------------------------------------------------------------------

    @property
    def leader(self) -> str:
        """Who leads, as far as this member knows; empty if it knows nobody."""
        return self.raft.leader if self.raft is not None else ""

    @property
    def leadership(self) -> Leadership | None:
        """The latest of this member; it may have ended."""
        return self._leadership

    @property
    def addresses(self) -> dict[str, str]:
        """Where members are reached: as the group has it on record, else as this member was told."""
        return {**self.config.peers, **self.book.addresses}

    @property
    def disk_problem(self) -> str:
        """Why the disk takes nothing; empty if it does."""
        return self._disk.problem

    def status(self) -> Standing:
        """This member at the moment."""
        return standing_of(self)

    async def leaderships(self) -> AsyncIterator[Leadership]:
        """Each leadership of this member, from when it knows all that is committed. For one who asks."""
        last = 0
        while True:
            leadership = self._leadership
            if leadership is not None and leadership.term > last:
                last = leadership.term
                yield leadership
            else:
                self._elected.clear()
                await self._elected.wait()

    async def transfer(self, member: str) -> None:
        """Hand the leadership to another voter; returns when this member leads no more. Raises NotLeader, ProposalDropped."""
        raft = self._raft()
        raft.transfer_leadership(member)
        self._kick()
        ticks = 2 * self.config.election_ticks
        while raft.role is Role.LEADER and (ticks := ticks - 1):  # noqa: ASYNC110 - rare, and nothing else tells of it.
            await asyncio.sleep(self.config.tick_ms / 1000)
        if raft.role is Role.LEADER:
            raise ProposalDropped(f"{member} has not taken over: is it there, and has it the whole log?")

    async def change(self, change: Change, address: str = "") -> None:
        """Change the group by one member, and return when that is applied here. `address`: where a new one is reached. Raises
        NotLeader, ProposalDropped; LeadershipLost, if it is not known what came of it."""
        raft = self._raft()
        if change.what == "add" and change.node not in self.book.instances:
            raise ProposalDropped(f"{change.node} has not been heard yet: it is added once it follows, as a learner")
        if address:
            await self._proposed(lambda done: self._propose(Proposal(pack_note(Note({change.node: address})), done, raft.term)))
        entry = raft.propose_change(change)
        await self._proposed(lambda done: self._wait_for(entry, Proposal(b"", done, raft.term)))

    async def read_index(self) -> int:
        """Return once this member has applied all that was committed anywhere when this was called; the index of that. It waits
        for as long as no leader is known that a majority follows: bound it."""
        while True:
            self._reads += 1
            context = f"{self.founding.instance}/{self.log.boot}/{self._reads}".encode()
            future = self._reading[context] = asyncio.get_running_loop().create_future()
            try:
                with contextlib.suppress(NotLeader, ProposalDropped):
                    self._raft().read_index(context)
                    self._kick()
                # An id is never used twice: a late answer would confirm a later read.
                return await asyncio.wait_for(future, 2 * self.config.election_ticks * self.config.tick_ms / 1000)
            except TimeoutError:
                continue
            finally:
                self._reading.pop(context, None)

    def _raft(self) -> Raft:
        if self.raft is None:
            raise NotLeader(self.config.member, "")
        return self.raft

    async def _proposed(self, propose: Callable[[Done], None]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        propose(lambda error: future.set_exception(error) if error is not None else future.set_result(None))
        self._kick()
        await future

    # Serving ------------------------------------------------------------------------------------------------------------

    async def serve(self, ready: asyncio.Event | None = None) -> None:
        """Take part until cancelled. Raises what keeps this member from it: LogError, Refusal, or a broken belief of the core."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._disk = Writing(self.log, self._settled, self._break)
        await self._recollect()
        tasks = [asyncio.ensure_future(self.lines.serve()), asyncio.ensure_future(self._keep_time())]
        if self.founding.found():
            self._run_errand(self._join_group())
        try:
            if ready is not None:
                ready.set()
            await asyncio.wait((*tasks, self._broken), return_when=asyncio.FIRST_COMPLETED)
            for ended in (self._broken, *tasks):
                if ended.done():
                    ended.result()
        finally:
            self._end_leadership()
            for task in (*tasks, *self._errands):
                task.cancel()
            await asyncio.gather(*tasks, *self._errands, return_exceptions=True)

    async def _recollect(self) -> None:
        kept = await asyncio.wrap_future(self.log.alter(lambda execute, _extent: load(self.log.path, execute)))
        config, identity = self.config, kept.identity or Identity(secrets.token_hex(16))
        if kept.identity is None:
            await self._write(Commit(beside=[put_identity(identity)]))
        held = await asyncio.wrap_future(self.log.read(lambda reader: reader.pos))
        if held and not identity.group and (config.joins or len(config.peers) > 1):
            raise LogError(
                f"{self.log.path} holds a log of its own, and no group's: let this node found a group alone (--peers with itself "
                "only) and add the others to it, or begin with an empty data directory"
            )
        self.book = kept.book
        self.founding = Founding(config.site, config.member, identity.instance, tuple(config.peers), config.joins)
        self.founding.group, self.founding.founders, self.founding.instances = (
            identity.group,
            kept.book.founders,
            kept.book.instances,
        )
        if identity.group:
            self._begin(kept.stored)
        self.lines.reach(self._peers())

    def _begin(self, stored: Stored) -> None:
        self.raft = Raft(self.config.raft, stored, self.chance)
        self._last = self.raft.entries.last
        self._tail_bytes = sum(len(entry.data) for entry in self.raft.entries.items)

    async def _write(self, commit: Commit) -> None:
        """Before the core begins: later all goes by `_disk`."""
        done: asyncio.Future[None] = self._loop.create_future()

        def told(error: BaseException | None) -> None:
            self._loop.call_soon_threadsafe(lambda: done.set_exception(error) if error is not None else done.set_result(None))

        self.log.submit(commit, told)
        await done

    def _break(self, error: BaseException) -> None:
        if not self._broken.done():
            self._broken.set_exception(error)

    def _run_errand(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._errands.add(task)

        def ended(task: "asyncio.Future[None]") -> None:
            self._errands.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._break(error)

        task.add_done_callback(ended)

    # Meeting ------------------------------------------------------------------------------------------------------------

    def hear(self, greeting: Greeting) -> None:
        """A peer has greeted. Raises Refusal."""
        try:
            if self.founding.hear(greeting):
                self._run_errand(self._join_group())
        except Refusal as refusal:
            if refusal.is_ours:
                self._break(refusal)
            raise
        self._record(greeting)

    async def _join_group(self) -> None:
        """Write down to which group this member belongs, then begin. Who founds it begins with what all founders begin with."""
        founding = self.founding
        statements = [put_identity(Identity(founding.instance, founding.group))]
        stored = Stored()
        if not founding.joins:
            self.book = Book(dict(founding.founders), {}, dict(founding.founders))
            founding.instances = self.book.instances
            stored = Stored(snapshot=founded(tuple(founding.founders)))
            statements += [put_book(self.book), *put_base(stored.snapshot)]
        await self._write(Commit(beside=statements))
        log.info("this member belongs to a group", site=self.config.site, member=self.config.member, group=founding.group)
        self._begin(stored)
        self.lines.reach(self._peers())

    def _record(self, greeting: Greeting) -> None:
        """A member that was added shows for the first time which disk it is: from now on no other one may bear its name."""
        raft, name = self.raft, greeting.member
        if raft is None or raft.role is not Role.LEADER or name in self.book.instances or name not in raft.group.all:
            return
        note = Note(instances={name: greeting.instance})
        self._propose(Proposal(pack_note(note), lambda _error: None, raft.term))

    def _peers(self) -> dict[str, str]:
        """Whom this member dials: the group, as far as it knows it."""
        known = self.addresses
        names = self.raft.group.all if self.raft is not None and self.raft.group.all else tuple(known)
        return {name: known[name] for name in names if name in known and name != self.config.member}

    # Turns --------------------------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        """Tick. Ticks that the loop was too busy for are lost, for what peers have said meanwhile waits unread, too."""
        period_s = self.config.tick_ms / 1000
        due_s = self._loop.time() + period_s
        while True:
            await asyncio.sleep(max(0.0, due_s - self._loop.time()))
            due_s = max(due_s + period_s, self._loop.time())
            if self.raft is not None:
                self._take_messages()
                self._tick(self.raft)
                self._turn(ticked=True)

    def _tick(self, raft: Raft) -> None:
        was_leader, waiting_s = raft.role is Role.LEADER, self._disk.waiting_s()
        raft.tick()
        if was_leader and raft.role is not Role.LEADER:
            stall_s = self.config.stall_timeouts * self.config.election_ticks * self.config.tick_ms / 2000
            why = "its disk takes nothing" if waiting_s > stall_s else "no majority is heard"
            log.error("a leader steps down", site=self.config.site, member=self.config.member, term=raft.term, why=why)

    def receive(self, messages: Sequence[Message]) -> None:
        """What a peer says. More than the inbox holds is lost, as on a line."""
        if self.raft is None or len(self._inbox) + len(messages) > INBOX_MAX:
            return
        self._inbox.extend(messages)
        self._kick()

    def _propose(self, proposal: Proposal) -> None:
        self._proposals.append(proposal)
        if threading.get_ident() == self._thread:
            self._kick()
        else:
            self._loop.call_soon_threadsafe(self._kick)

    def _kick(self) -> None:
        if not self._kicked:
            self._kicked = True
            self._loop.call_soon(self._turn)

    def _turn(self, *, ticked: bool = False) -> None:
        self._kicked = False
        try:
            self._take_messages()
            self._look_at_role()
            self._take_proposals()
            self._pump(ticked=ticked)
        except Exception as error:  # noqa: BLE001 - Whoever serves the member gets it.
            self._break(error)

    def _take_messages(self) -> None:
        raft, inbox = self.raft, self._inbox
        for _ in range(min(len(inbox), MESSAGES_PER_TURN)):
            assert raft is not None, "nothing is received before the core begins"
            raft.step(inbox.popleft())
        if inbox:
            self._kick()

    def _take_proposals(self) -> None:
        """In their order: one that the core does not take now keeps those behind it waiting."""
        raft, proposals = self.raft, self._proposals
        if raft is None or not proposals:
            return
        for _ in range(PROPOSALS_PER_TURN):
            if not proposals:
                return
            proposal = proposals[0]
            if raft.role is not Role.LEADER or proposal.term != raft.term:
                proposals.popleft().done(self._lost(proposal.term))
                continue
            if proposal.commit is not None and not proposal.data:
                proposal.data = pack_commit(proposal.commit)
            try:
                entry = raft.propose(proposal.data)
            except ProposalDropped:
                return  # Asked again by the next turn.
            self._wait_for(entry, proposals.popleft())
        self._kick()

    def _wait_for(self, entry: Entry, proposal: Proposal) -> None:
        proposal.entry = entry
        self._waiting[entry.index] = proposal

    # Leading ------------------------------------------------------------------------------------------------------------

    def _look_at_role(self) -> None:
        raft, leadership = self.raft, self._leadership
        if raft is None or leadership is None or leadership.ended.is_set():
            return
        if raft.role is not Role.LEADER or raft.term != leadership.term:
            self._end_leadership()

    def _end_leadership(self) -> None:
        """Nobody hears of success any more: what becomes of what was proposed is decided elsewhere."""
        if (leadership := self._leadership) is None or leadership.ended.is_set():
            return
        lost = self._lost(leadership.term)
        leadership.log.end(lost)
        leadership.ended.set()
        waiting, self._waiting = self._waiting, {}
        proposals, self._proposals = self._proposals, deque()
        log.info("a leadership ends", site=self.config.site, member=self.config.member, term=leadership.term, leader=self.leader)
        for proposal in (*waiting.values(), *proposals):
            proposal.done(lost)

    def _lost(self, term: int) -> LeadershipLost:
        leader = self.leader if self.leader != self.config.member else ""
        return LeadershipLost(self.config.site, self.config.member, term, leader)

    def _lead(self, term: int) -> None:
        """All that earlier leaders have committed is applied, durably: this member knows what it leads."""
        self._leadership = Leadership(term, GroupLog(self.log, term, self._propose, lambda: self._lost(term)))
        log.info("a leadership begins", site=self.config.site, member=self.config.member, term=term)
        self._elected.set()
        for greeting in self.lines.greetings():
            self._record(greeting)

    # From the core to the disk ------------------------------------------------------------------------------------------

    def _pump(self, *, ticked: bool = False) -> None:
        """Have done what the core wants. While the disk is busy what comes gathers; but time never waits for it."""
        raft = self.raft
        while raft is not None and not self._swapping and (self._disk.under_way < STEPS_MAX or ticked):
            ready = raft.ready()
            if ready is None:
                return
            ticked = False
            self._do(ready)

    def _do(self, ready: Ready) -> None:
        self._send([message for message in ready.messages if message.kind in EARLY])
        step = Step(ready, [message for message in ready.messages if message.kind not in EARLY])
        if ready.snapshot is not None:
            self._swapping = True
            self._run_errand(self._swap(step, ready.snapshot))
            return
        step.commits = self._commits(ready)
        self._disk.submit(step)
        if not self._disk.problem:
            self._answer(ready.committed)

    def _commits(self, ready: Ready) -> list[Commit]:
        """One transaction: entries in their places, term and vote, what is applied, and how far that goes."""
        first = Commit(beside=put_entries(ready.entries, self._last))
        if ready.entries:
            self._last = ready.entries[-1].index
            self._tail_bytes += sum(len(entry.data) for entry in ready.entries)
        if ready.hard_state is not None:
            first.beside.append(put_hard(ready.hard_state))
        commits = [first]
        if ready.committed:
            book = self.book
            commits += [commit for entry in ready.committed if (commit := self._applied(entry)) is not None]
            commits.append(Commit(beside=[put_applied(ready.committed[-1].index)]))
            if self.book is not book:
                commits[-1].beside.append(put_book(self.book))
        return [commit for commit in commits if commit]

    def _applied(self, entry: Entry) -> Commit | None:
        if entry.kind is EntryKind.CHANGE:
            change = decode_change(entry)
            if change.what == "remove":
                self._note(self.book.without(change.node))
            return None
        if entry.kind is EntryKind.NOOP:
            return None
        waiting = self._waiting.get(entry.index)
        if waiting is not None and waiting.commit is not None and waiting.term == entry.term:
            return waiting.commit  # It need not be read from what it was packed into.
        try:
            found = unpack(entry.data)
        except Damaged as damaged:
            raise LogCorrupt(self.log.path, f"entry {entry.index} of its group's log: {damaged}") from damaged
        if isinstance(found, Note):
            self._note(self.book.noted(found))
            return None
        return found

    def _note(self, book: Book) -> None:
        self.book, self.founding.instances = book, book.instances

    def _answer(self, committed: Sequence[Entry]) -> None:
        """A majority has them, and they are on their way into this member's log."""
        for entry in committed:
            if (proposal := self._waiting.pop(entry.index, None)) is not None:
                proposal.done(None if proposal.term == entry.term else self._lost(proposal.term))

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.kind is Say.SNAPSHOT:
                self.copies.want(message)
        self.lines.send([message for message in messages if message.kind is not Say.SNAPSHOT])

    def _settled(self, step: Step) -> None:
        """A step is durable, with all before it."""
        ready, raft = step.ready, self.raft
        if ready is None or raft is None:
            return
        self._answer(ready.committed)
        self._send(step.messages)
        group = raft.group
        raft.advance(ready)
        for read in ready.reads:
            if (future := self._reading.get(read.context)) is not None:
                self._read_at.append((read.index, future))
        self._answer_reads(raft.entries.applied)
        if raft.group is not group:
            self.lines.reach(self._peers())
        for entry in ready.committed:
            if entry.kind is EntryKind.NOOP and raft.role is Role.LEADER and entry.term == raft.term:
                self._lead(raft.term)
        self._compact(raft)
        self._kick()

    def _answer_reads(self, applied: int) -> None:
        waiting, self._read_at = self._read_at, []
        for index, future in waiting:
            if index > applied:
                self._read_at.append((index, future))
            elif not future.done():
                future.set_result(applied)

    # Cutting the group's log, and whole copies of the site's ------------------------------------------------------------

    def _compact(self, raft: Raft) -> None:
        """Forget entries that are applied, but for the last ones. While a copy of the log is on its way to a member, what comes
        behind it is kept, within bounds."""
        entries, config = raft.entries, self.config
        held = entries.applied - entries.snapshot.index
        patience = 8 if self.copies.under_way else 1
        too_many = held > patience * (config.compact_entries + config.keep_entries)
        too_large = self._tail_bytes > patience * (config.compact_bytes + config.keep_bytes)
        term = entries.term(entries.applied)
        if not (too_many or too_large) or term is None or held < 1:
            return
        raft.compact(Snapshot(entries.applied, term, raft.group), self._kept(entries.items, held))
        self._tail_bytes = sum(len(entry.data) for entry in entries.items)
        self._disk.submit(Step(None, commits=[Commit(beside=put_base(entries.snapshot))]))

    def _kept(self, items: Sequence[Entry], held: int) -> int:
        kept = size = 0
        for entry in reversed(items[:held]):
            size += len(entry.data)
            if kept == self.config.keep_entries or size > self.config.keep_bytes:
                break
            kept += 1
        return kept

    async def _swap(self, step: Step, snapshot: Snapshot) -> None:
        """Go on with the log that a leader has sent, once all that was under way is durable. Term and vote stay this member's
        own."""
        ready, raft = step.ready, self.raft
        assert ready is not None, "a snapshot comes in a Ready"
        assert raft is not None, "the core has taken the snapshot"
        while self._disk.under_way:  # noqa: ASYNC110 - as above.
            await asyncio.sleep(self.config.tick_ms / 1000)
        hard = HardState(raft.term, raft.vote, snapshot.index)
        own = Identity(self.founding.instance, self.founding.group)
        await self.copies.install(snapshot, [put_member(self.config.member), put_hard(hard), put_identity(own)])
        kept = await asyncio.wrap_future(self.log.alter(lambda execute, _extent: load(self.log.path, execute)))
        self._note(kept.book)
        self._last, self._tail_bytes = snapshot.index, 0
        log.info("this member goes on with a copy of the log", member=self.config.member, index=snapshot.index)
        step.commits = self._commits(ready)
        self._swapping = False
        self._disk.submit(step)
        self.lines.reach(self._peers())
