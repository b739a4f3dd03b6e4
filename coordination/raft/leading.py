"""What a leader does: replicates its log, commits, answers reads, looks whether it still leads, hands over."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coordination.raft.marks import Mark
from coordination.raft.membership import encode_change, problem_with
from coordination.raft.progress import Pace, Progress
from coordination.raft.quorum import majority, reached_by_majority
from coordination.raft.reads import Asked, Reads
from coordination.raft.values import (
    NOBODY,
    Change,
    Entry,
    EntryKind,
    Message,
    ProposalDropped,
    ReadState,
    Say,
)

if TYPE_CHECKING:
    from coordination.raft.raft import Raft


@dataclass(slots=True)
class Leading:
    """The leader's side of a node; empty while it does not lead."""

    raft: "Raft"
    progress: dict[str, Progress] = field(default_factory=dict)
    reads: Reads = field(init=False)
    transferee: str = NOBODY
    first_own: int = 0  # The entry with which this term began: what is committed before is not known until it is.
    _pending_change: int = 0
    _uncommitted_bytes: int = 0
    _beat: int = 0
    _stalled: int = 0
    _handing: int = 0  # Ticks since the transfer was asked for.

    def __post_init__(self) -> None:
        self.reads = Reads(self.raft.configuration.reads_max)

    # Beginning and ending ---------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """The role changes: nothing of an earlier leadership counts, but what others have acknowledged in it."""
        self.note_marks()
        self.progress = {}
        self.reads.forget()
        self.transferee, self._beat, self._stalled = NOBODY, 0, 0
        self._uncommitted_bytes = 0

    def begin(self) -> None:
        """This node has been elected. An entry of its own term commits all that came before it (section 5.4.2, section 8).

        A change of the group that an earlier leader has appended may still lie uncommitted in the log: no other one before it.
        """
        raft = self.raft
        last = raft.entries.last
        self.progress = {peer: Progress(next=last + 1, recent=peer == raft.node) for peer in raft.group.all}
        self._pending_change = last
        self.first_own = last + 1
        self._append(EntryKind.NOOP, (b"",))
        self._tell_all()

    # Proposals --------------------------------------------------------------------------------------------------------

    def propose(self, kind: EntryKind, commands: Sequence[bytes]) -> tuple[Entry, ...]:
        """Append entries, all or none, and send them together. Raises ProposalDropped."""
        if self.transferee != NOBODY:
            raise ProposalDropped(f"the leadership is being handed to {self.transferee}: propose to it")
        limit = self.raft.configuration.uncommitted_bytes_max
        # Whatever its size, one proposal is taken when nothing waits, or it would be dropped for ever.
        if self._uncommitted_bytes and self._uncommitted_bytes + sum(map(len, commands)) > limit:
            raise ProposalDropped(f"{self._uncommitted_bytes:,} bytes wait for a majority already (limit {limit:,}): try again")
        entries = self._append(kind, commands)
        for peer in self.progress:
            if peer != self.raft.node:
                self._tell_rest(peer)
        return entries

    def propose_change(self, change: Change) -> Entry:
        """One at a time: the next only once the last is applied. Raises ProposalDropped."""
        if wrong := problem_with(self.raft.group, change):
            raise ProposalDropped(wrong)
        if change.node == self.raft.node:
            # It would step down knowing alone what is committed, and the others could wait for its vote for ever.
            raise ProposalDropped(f"{change.node} leads: hand the leadership to another voter first")
        if self._pending_change > self.raft.entries.applied:
            raise ProposalDropped(f"another change of the group (entry {self._pending_change}) is not applied yet: try again")
        (entry,) = self.propose(EntryKind.CHANGE, (encode_change(change),))
        self._pending_change = entry.index
        return entry

    def _append(self, kind: EntryKind, commands: Sequence[bytes]) -> tuple[Entry, ...]:
        raft = self.raft
        term, first = raft.term, raft.entries.last + 1
        entries = tuple([Entry(term, index, kind, data) for index, data in enumerate(commands, first)])
        raft.entries.append(entries)
        self._uncommitted_bytes += sum(map(len, commands))
        # Its own log counts for the majority like any other: once it is durable.
        raft.send(raft.node, Say.APPENDED, index=raft.entries.last)
        return entries

    # Replication (section 5.3) ----------------------------------------------------------------------------------------

    def _tell_all(self) -> None:
        for peer in self.progress:
            if peer != self.raft.node:
                self._tell(peer)

    def _tell_rest(self, peer: str) -> None:
        """Send what is left of the log, as far as the window allows."""
        while self._tell(peer, even_nothing=False):
            pass

    def _tell(self, peer: str, *, even_nothing: bool = True) -> bool:
        """Send what comes next, or the commit index alone; False if nothing was sent."""
        raft, progress = self.raft, self.progress[peer]
        configuration = raft.configuration
        if progress.is_paused(configuration.inflight_messages_max, configuration.inflight_bytes_max):
            return False
        before = progress.next - 1
        term = raft.entries.term(before)
        if term is None:
            return self._send_snapshot(peer)
        entries = raft.entries.after(before, configuration.append_bytes_max)
        if not entries and not even_nothing:
            return False
        commit = raft.entries.committed
        # Until it has acknowledged something in this term it compares itself with what is remembered of it.
        marks = {} if progress.match else self.marks
        raft.send(peer, Say.APPEND, index=before, log_term=term, entries=entries, commit=commit, marks=marks)
        progress.sent_commit = commit
        if entries:
            progress.sent(entries[-1].index, sum(len(entry.data) for entry in entries))
        elif progress.pace is Pace.PROBE:
            progress.paused = True
        return True

    def _send_snapshot(self, peer: str) -> bool:
        progress = self.progress[peer]
        if not progress.recent:
            return False  # It is away; what it would get is old by the time that it is back.
        self.raft.send(peer, Say.SNAPSHOT, snapshot=self.raft.latest)
        progress.await_snapshot(self.raft.latest.index)
        return True

    def snapshot_lost(self, peer: str) -> None:
        """The snapshot did not arrive: look again where that node is."""
        progress = self.progress.get(peer)
        if progress is not None and progress.pace is Pace.SNAPSHOT:
            progress.snapshot = 0
            progress.probe()
            progress.paused = True  # Until it is heard again.

    def unreachable(self, peer: str) -> None:
        """What was sent to it is probably lost: find out from where it goes on."""
        progress = self.progress.get(peer)
        if progress is not None and progress.pace is Pace.REPLICATE:
            progress.probe()

    def step(self, message: Message) -> None:
        """What a peer says to its leader."""
        progress = self.progress.get(message.source)
        if progress is None:
            return  # Of a node that is no part of the group, or no longer.
        match message.kind:
            case Say.APPENDED if message.rejected:
                progress.recent = True
                self._rejected(progress, message)
            case Say.APPENDED:
                progress.recent = True
                self._appended(progress, message)
            case Say.HEARD:
                self._heard(progress, message)
            case Say.READ:
                self._read_for(message)
            case _:
                pass

    def _rejected(self, progress: Progress, message: Message) -> None:
        hint = message.hint
        if message.hint_term:
            hint, _ = self.raft.entries.find_conflict(message.hint, message.hint_term)
        if progress.reject(message.index, hint):
            if progress.pace is Pace.REPLICATE:
                progress.probe()
            self._tell(message.source)

    def _appended(self, progress: Progress, message: Message) -> None:
        raft, peer = self.raft, message.source
        if self._is_foreign(message):
            return
        limits = raft.configuration.inflight_messages_max, raft.configuration.inflight_bytes_max
        was_paused = progress.is_paused(*limits)
        is_news = progress.update(message.index)
        if not is_news and not (progress.pace is Pace.PROBE and progress.match == message.index):
            return
        if progress.pace is Pace.PROBE:
            progress.replicate()
        elif progress.pace is Pace.SNAPSHOT and progress.match >= raft.entries.snapshot.index:
            # Whichever snapshot has brought it there: the log reaches back to it.
            progress.probe()
            progress.replicate()
        if is_news and self._commit():
            self._tell_all()
        elif peer != raft.node and (was_paused or progress.sent_commit < raft.entries.committed):
            self._tell(peer)
        if peer != raft.node:
            self._tell_rest(peer)
            self._hand_over(peer)

    def _is_foreign(self, message: Message) -> bool:
        """Does it acknowledge what is not in this log? Only one of another history can. It counts for nothing: told what is here
        at that place, it finds so itself (`TwoHistories`)."""
        entries, index = self.raft.entries, message.index
        known = entries.term(index)
        if index <= entries.last and (known is None or message.hint_term in (0, known)):
            return False
        self.raft.send(message.source, Say.APPEND, index=index, log_term=known or 0)
        return True

    def _commit(self) -> bool:
        """What a majority holds is committed, if it is of this term: of an earlier term, a majority may hold what another leader
        will still overwrite (section 5.4.2, figure 8)."""
        raft = self.raft
        reached = reached_by_majority(raft.group.voters, {peer: known.match for peer, known in self.progress.items()})
        if reached <= raft.entries.committed or raft.entries.term(reached) != raft.term:
            return False
        own = raft.entries.between(max(raft.entries.committed, self.first_own - 1), reached)
        self._uncommitted_bytes -= sum([len(entry.data) for entry in own])
        raft.entries.commit_to(reached)
        for context, asker in self.reads.take_early():
            self._ask(context, asker)
        return True

    # Heartbeats and reads ---------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """One tick has passed."""
        raft, configuration = self.raft, self.raft.configuration
        self._beat += 1
        if raft.entries.stable < raft.entries.last:
            self._stalled += 1
        self._handing += 1
        if self._handing >= configuration.election_ticks:
            self.transferee = NOBODY  # It took too long; take proposals again.
        if raft.elapsed >= configuration.election_ticks:
            raft.elapsed = 0
            if not raft.is_voter:
                self._retire()
            if not self._holds_quorum():
                raft.step_down()
                return
        if self._stalled >= configuration.stall_timeouts * configuration.election_ticks:
            # A disk that takes nothing: heartbeats would keep the others from electing somebody who can write.
            raft.step_down()
            return
        if self._beat >= configuration.heartbeat_ticks:
            self._beat = 0
            self.note_marks()
            self._heartbeat(self.reads.latest(), self.marks)

    def disk_moved(self) -> None:
        """Something became durable here."""
        self._stalled = 0

    def _holds_quorum(self) -> bool:
        """CheckQuorum: was a majority heard since the last look?"""
        recent = sum(self.progress[voter].recent or voter == self.raft.node for voter in self.raft.group.voters)
        for peer, progress in self.progress.items():
            progress.recent = peer == self.raft.node
            if progress.pace is Pace.SNAPSHOT:
                progress.waits += 1
                if progress.waits > 1:
                    self.snapshot_lost(peer)  # Nothing came of it in a whole election timeout.
        return recent >= majority(self.raft.group.voters)

    def note_marks(self) -> None:
        """What has been acknowledged is remembered, and not only counted."""
        entries = self.raft.entries
        for peer, progress in self.progress.items():
            if progress.match and (term := entries.term(progress.match)) is not None:
                self.raft.marks.learn(peer, Mark(0, term, progress.match))

    @property
    def marks(self) -> dict[str, Mark]:
        """What all are remembered to have, this node by what is durable: others remember it when they hear this."""
        raft, stable = self.raft, self.raft.entries.stable
        return {**raft.marks.known, raft.node: Mark(raft.term, raft.entries.term(stable) or 0, stable)}

    def _heartbeat(self, context: bytes, marks: dict[str, Mark] | None = None) -> None:
        for peer, progress in self.progress.items():
            if peer != self.raft.node:
                # Never more than it surely holds: its log may not agree beyond that.
                commit = min(progress.match, self.raft.entries.committed)
                self.raft.send(peer, Say.HEARTBEAT, commit=commit, context=context, marks=marks or {})

    def _heard(self, progress: Progress, message: Message) -> None:
        progress.recent = True
        self._hand_over(message.source)
        if progress.pace is Pace.PROBE:
            progress.paused = False
        elif progress.pace is Pace.REPLICATE and progress.is_full(
            self.raft.configuration.inflight_messages_max, self.raft.configuration.inflight_bytes_max
        ):
            progress.inflight_bytes -= progress.inflight.popleft()[1]  # Or a lost answer would close the window for ever.
        if progress.match < self.raft.entries.last or progress.pace is Pace.PROBE:
            self._tell(message.source)
        if message.context:
            for read in self.reads.confirm(message.context, message.source, self.raft.group.voters):
                self._answer(read)

    def read(self, context: bytes, asker: str) -> None:
        """A linearizable read. Raises ProposalDropped."""
        if self.raft.entries.committed < self.first_own:
            self.reads.postpone(context, asker)
        else:
            self._ask(context, asker)

    def _read_for(self, message: Message) -> None:
        with contextlib.suppress(ProposalDropped):  # The asker asks again, under another id.
            self.read(message.context, message.source)

    def _ask(self, context: bytes, asker: str) -> None:
        raft = self.raft
        if raft.group.voters == (raft.node,):
            self._answer(Asked(context, raft.entries.committed, asker))
            return
        self._heartbeat(self.reads.ask(context, raft.entries.committed, asker, raft.node))

    def _answer(self, read: Asked) -> None:
        if read.asker == self.raft.node:
            self.raft.reads.append(ReadState(read.context, read.index))
        else:
            self.raft.send(read.asker, Say.READ_AT, index=read.index, context=read.context)

    # Handing over (thesis, section 3.10) --------------------------------------------------------------------------------

    def transfer(self, target: str) -> None:
        """Let a voter take over once it has the whole log. Raises ProposalDropped."""
        if target not in self.raft.group.voters:
            raise ProposalDropped(f"{target} is no voter of this group: {', '.join(self.raft.group.voters)} are")
        if target == self.raft.node:
            raise ProposalDropped(f"{target} leads already")
        self._hand_to(target)

    def _hand_to(self, target: str) -> None:
        # Counted by itself: the look at the quorum is not put off, however often somebody asks for a transfer.
        self.transferee, self._handing = target, 0
        if not self._hand_over(target):
            self._tell(target)

    def _hand_over(self, peer: str) -> bool:
        if peer != self.transferee or self.progress[peer].match < self.raft.entries.last:
            return False
        self.raft.send(peer, Say.CAMPAIGN_NOW)
        return True

    # The group changes --------------------------------------------------------------------------------------------------

    def group_changed(self) -> None:
        """A change is applied; fewer voters may commit more."""
        raft = self.raft
        last = raft.entries.last
        known = self.progress
        self.progress = {peer: known.get(peer) or Progress(next=last + 1, recent=True) for peer in raft.group.all}
        if self.transferee not in raft.group.voters:
            self.transferee = NOBODY
        self._commit()
        self._tell_all()
        if not raft.is_voter:
            self._retire()

    def _retire(self) -> None:
        """An earlier leader has taken this node out of the group, and it came to lead before that was committed. It leads on,
        uncounted, until a voter that knows all it knows takes over (thesis, section 4.2.2)."""
        voters = self.raft.group.voters
        self._hand_to(max(voters, key=lambda voter: (self.progress[voter].match, voter)))
