"""One member of a group: who it is, whom it knows, and what others ask of it. What it does is `coordination.group.replica`.

Time never waits for the disk: the core's ticks come from the loop and the log has a thread of its own, so a leader whose disk
hangs notices it and steps down.
"""

import asyncio
import contextlib
import random
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import msgspec
import structlog

from coordination.group.copies.driver import Copies
from coordination.group.founding import SET_BACK, Founding, Greeting, Refusal, compare, set_back, two_histories
from coordination.group.log import Done, Leadership, Proposal
from coordination.group.packing import Note, pack_note
from coordination.group.preference import Preference
from coordination.group.replica.driver import Around, Replica
from coordination.group.service import GrpcLines
from coordination.group.standing import standing_of
from coordination.group.storing import Book, Identity, load, put_base, put_book, put_identity, put_set_back
from coordination.group.tail import Tail
from coordination.group.values import GroupConfig, LeadershipLost, Standing
from coordination.raft.marks import SetBack
from coordination.raft.raft import Raft
from coordination.raft.values import Change, Message, NotLeader, ProposalDropped, Role, Stored, TwoHistories, founded
from sync.commit import Commit
from sync.log import EventLog
from sync.log_errors import LogError

VERDICT_S_MAX = 5.0

log = structlog.get_logger()


class Member:
    """A member; its log is open as that of a member (`EventLog.open(..., member=...)`) and stays so for as long as it serves.

    Made and used in one event loop. `join` may add services of the site to the server that takes the peers' connections;
    `held_back` says why a member had better not be made to lead by preference (empty: it may).
    """

    def __init__(
        self,
        config: GroupConfig,
        event_log: EventLog,
        *,
        join: Callable[[grpc.aio.Server], None] | None = None,
        chance: random.Random | None = None,
        held_back: Callable[[str], str] = lambda _member: "",
    ) -> None:
        assert event_log.member == config.member, f"the log is open as that of {event_log.member!r}, not of {config.member}"
        self.config, self.log = config, event_log
        self.chance = chance or random.Random()
        self.founding = Founding(config.site, config.member, "", tuple(config.peers), config.joins)
        self.replica: Replica | None = None
        self.lines = GrpcLines(config, self, join)
        self.copies = Copies(self)
        self.refusals: dict[str, str] = {}  # By name, of members that are not listened to: why.
        self.priorities = {config.member: config.priority}  # Of the others as they told when they greeted last.
        self.preference = Preference(config.member, config.preferring)
        self._held_back = held_back
        self._reads = 0
        self._elected = asyncio.Event()
        self._errands: set[asyncio.Future[None]] = set()

    # What others ask of it ----------------------------------------------------------------------------------------------

    @property
    def leader(self) -> str:
        """Who leads, as far as this member knows; empty if it knows nobody."""
        return self.replica.raft.leader if self.replica is not None else ""

    @property
    def voters(self) -> frozenset[str]:
        """Who decides, as far as this member knows."""
        return frozenset(self.replica.raft.group.voters) if self.replica is not None else frozenset()

    @property
    def leadership(self) -> Leadership | None:
        """The latest of this member; it may have ended."""
        return self.replica.leadership if self.replica is not None else None

    @property
    def book(self) -> Book:
        """What the group has on record of its members."""
        return self.replica.tail.book if self.replica is not None else Book()

    @property
    def addresses(self) -> dict[str, str]:
        """Where members are reached: as the group has it on record, else as this member was told."""
        return {**self.config.peers, **self.book.addresses}

    @property
    def greeting(self) -> Greeting:
        """What this member says first on each line."""
        marks = self.replica.raft.all_marks() if self.replica is not None else {}
        return msgspec.structs.replace(self.founding.greeting, marks=marks, priority=self.config.priority)

    def status(self) -> Standing:
        """This member at the moment."""
        return standing_of(self)

    async def leaderships(self) -> AsyncIterator[Leadership]:
        """Each leadership of this member, from when it knows all that is committed. For one who asks."""
        last = 0
        while True:
            leadership = self.leadership
            if leadership is not None and leadership.term > last:
                last = leadership.term
                yield leadership
            else:
                self._elected.clear()
                await self._elected.wait()

    async def transfer(self, member: str, *, ordered: bool = False) -> None:
        """Hand the leadership to another voter; returns when this member leads no more. If that is `ordered`, preference does not
        undo it soon. Raises NotLeader, ProposalDropped; LeadershipLost, if it is lost meanwhile."""
        replica = self._replica()
        raft = replica.raft
        if ordered and raft.role is Role.LEADER:
            await self._note_move(replica, member, ordered=True)
        raft.transfer_leadership(member)
        replica.kick()
        ticks = 2 * self.config.election_ticks
        while raft.role is Role.LEADER and (ticks := ticks - 1):  # noqa: ASYNC110 - rare, and nothing else tells of it.
            await asyncio.sleep(self.config.tick_ms / 1000)
        if raft.role is Role.LEADER:
            raise ProposalDropped(f"{member} has not taken over: is it there, and has it the whole log?")

    async def hand_over(self) -> bool:
        """Before this member stops: let the voter lead that has most of the log. False if it leads no more, or nobody takes over;
        then the others elect one when they miss it."""
        standing = self.status()
        heirs = [peer for peer in standing.peers if peer.voter and peer.connected and peer.name != self.config.member]
        if standing.role != Role.LEADER.value or not heirs:
            return False
        heir = max(heirs, key=lambda peer: (peer.match, peer.recent, peer.name))
        try:
            await self.transfer(heir.name)
        except (NotLeader, ProposalDropped) as problem:
            log.warning("the leadership was not handed over", member=self.config.member, heir=heir.name, reason=str(problem))
            return False
        return True

    async def change(self, change: Change, address: str = "") -> None:
        """Change the group by one member, and return when that is applied here. `address`: where a new one is reached. Raises
        NotLeader, ProposalDropped; LeadershipLost, if it is not known what came of it."""
        replica = self._replica()
        term = replica.raft.term
        if change.what == "add" and change.node not in self.book.instances:
            raise ProposalDropped(f"{change.node} has not been heard yet: it is added once it follows, as a learner")
        if change.what != "remove" and not address and change.node not in self.addresses:
            raise ProposalDropped(f"it is not known where {change.node} is reached: say its address")
        if address:
            note = pack_note(Note({change.node: address}))
            await self._proposed(replica, lambda done: replica.propose(Proposal(note, done, term)))
        entry = replica.raft.propose_change(change)
        await self._proposed(replica, lambda done: replica.wait_for(entry, Proposal(b"", done, entry.term)))
        await replica.applied(entry.index)

    async def read_index(self) -> int:
        """Return once this member has applied all that was committed anywhere when this was called; the index of that. It waits
        for as long as no leader is known that a majority follows: bound it. Raises NotLeader while it belongs to no group."""
        replica = self._replica()
        while True:
            self._reads += 1
            context = f"{self.founding.instance}/{self.log.boot}/{self._reads}".encode()
            future = replica.reading[context] = asyncio.get_running_loop().create_future()
            try:
                with contextlib.suppress(NotLeader, ProposalDropped):
                    replica.raft.read_index(context)
                    replica.kick()
                # An id is never used twice: a late answer would confirm a later read.
                return await asyncio.wait_for(future, 2 * self.config.election_ticks * self.config.tick_ms / 1000)
            except TimeoutError:
                continue
            finally:
                replica.reading.pop(context, None)

    def _replica(self) -> Replica:
        if self.replica is None:
            raise NotLeader(self.config.member, "")
        return self.replica

    async def _proposed(self, replica: Replica, propose: Callable[[Done], None]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(error: BaseException | None) -> None:
            if not future.done():
                _end(future, error)

        propose(told)
        replica.kick()
        await future

    # Serving ------------------------------------------------------------------------------------------------------------

    async def serve(self, ready: asyncio.Event | None = None) -> None:
        """Take part until cancelled. Raises what keeps this member from it: LogError, Refusal, or a broken belief of the core."""
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.copies.sweep()
        await self._recollect()
        parts = self.lines.serve(), self._keep_time(), self._keep_preference()
        tasks = [asyncio.ensure_future(part) for part in parts]
        if self.founding.found():
            self._run_errand(self._join_group())
        try:
            if ready is not None:
                ready.set()
            await asyncio.wait((*tasks, self._broken), return_when=asyncio.FIRST_COMPLETED)
            for ended in (self._broken, *tasks):
                if ended.done():
                    ended.result()
        except Refusal as refusal:
            await self._keep_verdict(refusal)
            raise
        finally:
            if self.replica is not None:
                self.replica.end_leadership()
            ending = (*tasks, *self._errands, *self.copies.sending)
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            self._broken.cancel()

    async def _keep_time(self) -> None:
        """Tick. Ticks that the loop was too busy for are lost, for what peers have said meanwhile waits unread, too."""
        clock, period_s = asyncio.get_running_loop().time, self.config.tick_ms / 1000
        due_s = clock() + period_s
        while True:
            await asyncio.sleep(max(0.0, due_s - clock()))
            due_s = max(due_s + period_s, clock())
            if self.replica is not None:
                self.replica.tick()

    async def _keep_preference(self) -> None:
        """Have the preferred member lead, once that costs no more than a moment."""
        now_s, preference = asyncio.get_running_loop().time, self.preference
        while True:
            await asyncio.sleep(self.config.preferring.look_s)
            if self.replica is None:
                continue
            moves = self.replica.tail.moves
            while moves:
                note = moves.popleft()
                preference.moved(note.heir, now_s(), ordered=note.ordered)
            if heir := preference.heir(self.status(), now_s(), self._held_back):
                try:
                    await self._prefer(self.replica, heir)
                except (NotLeader, ProposalDropped, LeadershipLost) as problem:
                    log.warning("the preferred member does not lead", member=self.config.member, heir=heir, reason=str(problem))

    async def _prefer(self, replica: Replica, heir: str) -> None:
        """Hand over, once the heir's disk has taken the note of it: a disk that is full or hangs is found before."""
        log.info("hands over to the preferred member", site=self.config.site, member=self.config.member, heir=heir)
        await self._note_move(replica, heir, ordered=False)
        index = replica.raft.entries.committed
        for _ in range(2 * self.config.election_ticks):
            progress = replica.raft.leading.progress.get(heir)
            if replica.raft.role is not Role.LEADER or (progress is not None and progress.match >= index):
                break
            await asyncio.sleep(self.config.tick_ms / 1000)
        else:
            raise ProposalDropped(f"{heir} has not written down what it was told: is its disk well?")
        await self.transfer(heir)

    async def _note_move(self, replica: Replica, heir: str, *, ordered: bool) -> None:
        note, term = pack_note(Note(heir=heir, ordered=ordered)), replica.raft.term
        await self._proposed(replica, lambda done: replica.propose(Proposal(note, done, term)))

    async def _recollect(self) -> None:
        """What the disk says: to which group this member belongs, and what it has of its log."""
        founding = self.founding
        held = await asyncio.wrap_future(self.log.work(lambda base: base.reader().pos if not base.is_of_group else 0))
        if held and (founding.joins or len(founding.peers) > 1):
            raise LogError(
                f"{self.log.path} holds a log of its own, and no group's: let this node found a group alone (--peers with itself "
                "only) and add the others to it, or begin with an empty data directory"
            )
        await asyncio.wrap_future(self.log.work(lambda base: base.join_group()))
        kept = await asyncio.wrap_future(self.log.alter(lambda execute, _extent: load(self.log.path, execute)))
        identity = kept.identity or Identity(secrets.token_hex(16))
        if not identity.group and (problem := self.config.founding_problem()):
            raise LogError(problem)
        if kept.set_back:
            raise Refusal(SET_BACK, kept.set_back, is_ours=True)
        if kept.identity is None:
            await self._write(Commit(beside=[put_identity(identity)]))
        founding.instance, founding.group = identity.instance, identity.group
        founding.founders, founding.instances = kept.book.founders, kept.book.instances
        if identity.group:
            self._begin(kept.stored, kept.book)
        self._regrouped()

    def _begin(self, stored: Stored, book: Book) -> None:
        identity = Identity(self.founding.instance, self.founding.group)
        beside = (self.log, self.lines, self.copies, identity, self._break, self._run_errand, self._regrouped, self._was_elected)
        tail = Tail(self.log.path, book=book)
        self.replica = Replica(self.config, Raft(self.config.raft, stored, self.chance), tail, Around(*beside))

    async def _write(self, commit: Commit) -> None:
        """Before the core begins: later all goes its way."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def told(error: BaseException | None) -> None:
            loop.call_soon_threadsafe(_end, done, error)

        self.log.submit(commit, told)
        await done

    async def _keep_verdict(self, refusal: Refusal) -> None:
        """An old copy takes part no more, whether those are there who know of it or not."""
        if refusal.code == SET_BACK:
            log.error("this member stops", site=self.config.site, member=self.config.member, reason=str(refusal))
            with contextlib.suppress(LogError, TimeoutError):
                await asyncio.wait_for(self._write(Commit(beside=[put_set_back(str(refusal))])), VERDICT_S_MAX)

    def _break(self, error: BaseException) -> None:
        if self.replica is not None:
            self.replica.halt()
        if isinstance(error, SetBack):
            error = set_back(self.config.site, self.config.member, error)
        if isinstance(error, TwoHistories):
            error = two_histories(self.config.site, self.config.member, error)
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

    # Meeting the others -------------------------------------------------------------------------------------------------

    def hear(self, greeting: Greeting) -> None:
        """A peer has greeted. Raises Refusal."""
        try:
            if self.founding.hear(greeting):
                self._run_errand(self._join_group())
            if self.replica is not None:
                compare(self.config.site, greeting, self.replica.raft.marks, self.replica.raft.mark)
        except Refusal as refusal:
            if refusal.is_ours:
                self._break(refusal)
            elif greeting.member in self.addresses:
                self.refusals[greeting.member] = str(refusal)
            raise
        self.refusals.pop(greeting.member, None)
        self.priorities[greeting.member] = greeting.priority
        self.preference.greeted(greeting.member)
        self._record(greeting)

    def receive(self, messages: list[Message]) -> None:
        """What a peer says; before this member belongs to a group it is lost."""
        if self.replica is not None:
            self.replica.receive(messages)

    def unreachable(self, peer: str, *, copy: bool = False) -> None:
        """What was on its way to a peer is lost: messages, or a `copy` of the log."""
        if self.replica is not None:
            self.replica.unreachable(peer, copy=copy)

    async def _join_group(self) -> None:
        """Write down to which group this member belongs, then begin. Who founds it begins with what all founders begin with."""
        founding = self.founding
        statements = [put_identity(Identity(founding.instance, founding.group))]
        stored, book = Stored(), Book()
        if not founding.joins:
            book = Book(dict(founding.founders), {}, dict(founding.founders))
            stored = Stored(snapshot=founded(tuple(founding.founders)))
            statements += [put_book(book), *put_base(stored.snapshot)]
        await self._write(Commit(beside=statements))
        log.info("this member belongs to a group", site=self.config.site, member=self.config.member, group=founding.group)
        self._begin(stored, book)
        self._regrouped()

    def _was_elected(self) -> None:
        self._elected.set()
        for greeting in self.lines.greetings():
            self._record(greeting)

    def _record(self, greeting: Greeting) -> None:
        """A member that was added shows for the first time which disk it is: from now on no other one may bear its name."""
        replica, name = self.replica, greeting.member
        if replica is None or replica.raft.role is not Role.LEADER or name in self.book.instances:
            return
        if name in replica.raft.group.all:
            note = pack_note(Note(instances={name: greeting.instance}))
            replica.propose(Proposal(note, lambda _error: None, replica.raft.term))

    def _regrouped(self) -> None:
        """Who belongs to the group, or what is known of them, has changed: dial those, and know them again."""
        known, names = self.addresses, tuple(self.config.peers)
        if self.replica is not None:
            self.founding.instances = self.book.instances
            names = self.replica.raft.group.all or names
            if self.replica.raft.role is Role.LEADER:
                for greeting in self.lines.greetings():
                    self._record(greeting)
        self.lines.reach({name: known[name] for name in names if name in known and name != self.config.member})


def _end(future: "asyncio.Future[None]", error: BaseException | None) -> None:
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(None)
