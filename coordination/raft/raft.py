"""One node of a group: what it does when time passes and when a peer says something. Pure.

Followers and elections are here; what a leader does is in `coordination.raft.leading`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from coordination.raft.configuration import Configuration
from coordination.raft.entries import Entries
from coordination.raft.leading import Leading
from coordination.raft.marks import Mark, Marks
from coordination.raft.membership import changed, decode_change
from coordination.raft.quorum import verdict
from coordination.raft.values import (
    NOBODY,
    OF_ELECTIONS,
    OF_LEADERS,
    Attest,
    Change,
    Entry,
    EntryKind,
    HardState,
    Message,
    NotLeader,
    ReadState,
    Ready,
    Role,
    Say,
    Snapshot,
    Stored,
    TwoHistories,
    Voters,
)

TRANSFER = b"transfer"


class Chance(Protocol):
    """A seeded generator."""

    def random(self) -> float: ...


@dataclass(slots=True)
class Raft:
    """A node. `term`, `vote`, `leader` and `role` are as in the paper's figure 2; `group` is what its applied entries say."""

    configuration: Configuration
    stored: Stored
    chance: Chance
    term: int = field(init=False)
    vote: str = field(init=False)
    leader: str = NOBODY
    role: Role = Role.FOLLOWER
    group: Voters = field(init=False)
    entries: Entries = field(init=False)
    leading: Leading = field(init=False)
    elapsed: int = 0  # Ticks since the leader was heard, or, of a leader, since it last looked at its quorum.
    timeout: int = 0
    votes: dict[str, bool] = field(default_factory=dict)
    marks: Marks = field(init=False)
    _claims: dict[str, Mark] = field(default_factory=dict)  # What those have, as they say, who have voted.
    latest: Snapshot = field(init=False)
    reads: list[ReadState] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    _to_self: list[Message] = field(default_factory=list)
    _offered_state: HardState = field(init=False)
    _applying: int = field(init=False)

    def __post_init__(self) -> None:
        state = self.stored.hard_state
        base = self.stored.snapshot
        assert base.index or not base.group.all, "a group begins with a snapshot that can be sent (see `founded`)"
        self.term, self.vote, self._offered_state = state.term, state.vote, state
        self.entries, self.latest = Entries.load(self.stored), self.stored.snapshot
        self.group, self._applying = self.stored.snapshot.group, self.entries.applied
        for entry in self.entries.between(self.entries.snapshot.index, self.entries.applied):
            if entry.kind is EntryKind.CHANGE:
                self.group = changed(self.group, decode_change(entry))
        self.leading = Leading(self)
        self.marks = Marks(self.node, dict(self.stored.marks))
        self._draw_timeout()

    @property
    def node(self) -> str:
        """Its name."""
        return self.configuration.node

    @property
    def is_voter(self) -> bool:
        """May it vote, and lead?"""
        return self.node in self.group.voters

    @property
    def mark(self) -> Mark:
        """What this node has: whoever remembers more of it knows that its disk was set back."""
        closed = self.term if self.vote != NOBODY else self.term - 1
        return Mark(max(0, closed), *self.entries.furthest)

    def all_marks(self) -> dict[str, Mark]:
        """What this node remembers of the others, and what it has itself."""
        self.leading.note_marks()
        return {**self.marks.known, self.node: self.mark}

    # Time -----------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """One tick has passed."""
        self.elapsed += 1
        if self.role is Role.LEADER:
            self.leading.tick()
        elif self.elapsed >= self.timeout and self.is_voter:
            self.elapsed = 0
            self.campaign()

    def _draw_timeout(self) -> None:
        ticks = self.configuration.election_ticks
        self.timeout = ticks + int(self.chance.random() * ticks)

    # Elections (section 5.2; PreVote: thesis, section 9.6) ------------------------------------------------------------

    def campaign(self) -> None:
        """Ask whether one would be elected, before any term is disturbed for it. Without a snapshot that is still on its way to
        the disk, or with a change of the group that is committed and not applied, one does not know who votes."""
        if self.role is not Role.LEADER and self._may_campaign():
            self._become(Role.PRE_CANDIDATE, self.term, NOBODY)
            self._ask_for_votes(Say.PRE_VOTE, self.term + 1, b"")

    def _may_campaign(self) -> bool:
        waiting = self.entries.between(max(self.entries.applied, self.entries.snapshot.index), self.entries.committed)
        unknown = any(entry.kind is EntryKind.CHANGE for entry in waiting)
        return self.is_voter and self.entries.unstable_snapshot is None and not unknown

    def _elect(self, context: bytes) -> None:
        self._become(Role.CANDIDATE, self.term + 1, NOBODY)
        self.vote = self.node
        self._ask_for_votes(Say.VOTE, self.term, context)

    def _ask_for_votes(self, kind: Say, term: int, context: bytes) -> None:
        self.votes, self._claims = {}, {}
        last, last_term = self.entries.last, self.entries.last_term
        for voter in self.group.voters:
            if voter == self.node:
                answer = Say.VOTED if kind is Say.VOTE else Say.PRE_VOTED
                self._to_self.append(Message(answer, voter, voter, term))
            else:
                self._say_of_election(voter, kind, term, index=last, log_term=last_term, context=context)

    def _hear_candidate(self, message: Message) -> None:
        """Whoever asks gets one vote per term, and only with a log at least as complete (sections 5.2, 5.4.1)."""
        free = self.vote == NOBODY and self.leader == NOBODY
        is_pre = message.kind is Say.PRE_VOTE
        can = self.vote == message.source or free or (is_pre and message.term > self.term)
        granted = can and self.entries.is_up_to_date(message.index, message.log_term)
        answer = Say.PRE_VOTED if is_pre else Say.VOTED
        if granted and not is_pre:
            self.elapsed, self.vote = 0, message.source
        self._say_of_election(message.source, answer, message.term if granted else self.term, rejected=not granted)

    def _say_of_election(self, target: str, kind: Say, term: int, **rest: object) -> None:
        index, marks = self.entries.committed, self.all_marks()
        self.send(target, kind, term=term, commit=index, hint_term=self.entries.term(index), marks=marks, **rest)

    def _learn_commit(self, message: Message) -> None:
        """Who takes part in an election says how far its log is committed; where this log has the same entry, it is committed
        here, too. Else nobody might ever be elected, though all are there: one that lost its tail in a crash needs the vote of
        another one whose log is longer, and who alone knows that it votes no more (tikv/raft-rs, `maybe_commit_by_vote`)."""
        if message.commit > self.entries.committed and self.entries.matches(message.commit, message.hint_term):
            self.entries.commit_to(message.commit)
            if self.role in (Role.PRE_CANDIDATE, Role.CANDIDATE) and not self._may_campaign():
                self._become(Role.FOLLOWER, self.term, NOBODY)

    def _count_vote(self, message: Message) -> None:
        expected = Say.PRE_VOTED if self.role is Role.PRE_CANDIDATE else Say.VOTED
        if message.kind is not expected:
            return
        self.votes.setdefault(message.source, not message.rejected)
        if message.source in message.marks:
            self._claims[message.source] = message.marks[message.source]
        won = verdict(self.group.voters, self._counted_votes())
        if won is False:
            self._become(Role.FOLLOWER, self.term, NOBODY)
        elif won and self.role is Role.PRE_CANDIDATE:
            self._elect(b"")
        elif won:
            self._become(Role.LEADER, self.term, self.node)
            self.leading.begin()

    def _counted_votes(self) -> dict[str, bool]:
        """Those of nodes that have all that anybody remembers of them who has spoken until now, of those that voted, too."""
        return {voter: vote for voter, vote in self.votes.items() if self.marks.trusts(voter, self._claims.get(voter))}

    def _become(self, role: Role, term: int, leader: str) -> None:
        if term != self.term:
            self.term, self.vote = term, NOBODY
        self.role, self.leader, self.elapsed, self.votes = role, leader, 0, {}
        self._draw_timeout()
        self.leading.reset()

    def step_down(self) -> None:
        """A leader that may lead no longer."""
        self._become(Role.FOLLOWER, self.term, NOBODY)

    # What a peer says -------------------------------------------------------------------------------------------------

    def step(self, message: Message) -> None:
        """Take a message of a peer of the group. Raises SetBack, TwoHistories."""
        if message.marks and not self._hear_marks(message):
            return
        if message.kind in OF_ELECTIONS and self.role is not Role.LEADER:
            self._learn_commit(message)
        if message.term > self.term and not self._hear_later_term(message):
            return
        if message.term < self.term:
            self._hear_earlier_term(message)
        elif message.kind in (Say.VOTE, Say.PRE_VOTE):
            self._hear_candidate(message)
        elif self.role is Role.LEADER:
            self.leading.step(message)
        else:
            self._step_follower(message)

    def _hear_marks(self, message: Message) -> bool:
        """Compare before anything else, and remember. False: it is not listened to, for its disk was set back."""
        self.marks.compare(message.source, message.marks, self.mark)
        source, kind = message.source, message.kind
        if kind in OF_ELECTIONS and not self.marks.trusts(source, message.marks.get(source)):
            return False
        # A leader says what is on its disk; who takes part in an election, what will be: of that the vote alone surely is.
        self.marks.hear(message.marks, but="" if kind in OF_LEADERS else source)
        if kind is Say.VOTE or (kind is Say.VOTED and not message.rejected):
            self.marks.learn(source, Mark(message.term))
        return True

    def _hear_later_term(self, message: Message) -> bool:
        """False: it is not listened to. As long as a leader is heard nobody helps to replace it (section 6, last part), unless
        it has asked for that itself."""
        kind = message.kind
        if kind in (Say.VOTE, Say.PRE_VOTE):
            is_led = self.leader != NOBODY and self.elapsed < self.configuration.election_ticks
            if is_led and message.context != TRANSFER:
                return False
        is_question = kind is Say.PRE_VOTE or (kind is Say.PRE_VOTED and not message.rejected)
        if is_question:
            return kind is Say.PRE_VOTE or self.role is Role.PRE_CANDIDATE
        self._become(Role.FOLLOWER, message.term, message.source if kind in OF_LEADERS else NOBODY)
        return True

    def _hear_earlier_term(self, message: Message) -> None:
        """A leader of an earlier term learns that it is over; so does who asks for votes."""
        if message.kind in OF_LEADERS:
            self.send(message.source, Say.APPENDED)
        elif message.kind is Say.PRE_VOTE:
            self._say_of_election(message.source, Say.PRE_VOTED, self.term, rejected=True)

    def _step_follower(self, message: Message) -> None:
        if message.kind in OF_LEADERS:
            if self.role is not Role.FOLLOWER:
                self._become(Role.FOLLOWER, self.term, message.source)
            self.elapsed, self.leader = 0, message.source
        match message.kind:
            case Say.APPEND:
                self._take_entries(message)
            case Say.HEARTBEAT:
                self.entries.commit_to(message.commit)
                self.send(message.source, Say.HEARD, context=message.context)
            case Say.SNAPSHOT:
                self._take_snapshot(message)
            case Say.VOTED | Say.PRE_VOTED if self.role is not Role.FOLLOWER:
                self._count_vote(message)
            case Say.CAMPAIGN_NOW if self._may_campaign():
                self._elect(TRANSFER)
            case Say.READ_AT:
                self.reads.append(ReadState(message.context, message.index))
            case _:
                pass

    def _take_entries(self, message: Message) -> None:
        """AppendEntries, section 5.3."""
        entries, index = self.entries, message.index
        if index <= entries.committed:
            self._compare(message, index, message.log_term)
            for entry in message.entries:
                self._compare(message, entry.index, entry.term)
        if index < entries.committed:
            self._acknowledge_committed(message)
        elif entries.matches(index, message.log_term):
            entries.append(message.entries)
            last = index + len(message.entries)
            entries.commit_to(min(message.commit, last))
            self.send(message.source, Say.APPENDED, index=last)
        else:
            hint, hint_term = entries.find_conflict(min(index, entries.last), message.log_term)
            self.send(message.source, Say.APPENDED, index=index, rejected=True, hint=hint, hint_term=hint_term)

    def _compare(self, message: Message, index: int, term: int) -> None:
        """A leader has all that is committed anywhere (section 5.4.3), unless disks have forgotten. Raises TwoHistories."""
        if self.entries.contradicts(index, term):
            known = self.entries.term(index) or 0
            raise TwoHistories(self.node, index, known, message.source, term)

    def _acknowledge_committed(self, message: Message) -> None:
        """The leader must have it; by the term it sees that it has."""
        index = self.entries.committed
        self.send(message.source, Say.APPENDED, index=index, hint_term=self.entries.term(index))

    def _take_snapshot(self, message: Message) -> None:
        """InstallSnapshot, section 7: what the leader's log no longer holds."""
        snapshot = message.snapshot
        assert snapshot is not None, "a snapshot message carries one"
        entries = self.entries
        self._compare(message, snapshot.index, snapshot.term)
        # Whether this node belongs to the snapshot's group does not matter: it may have been added since, by an entry behind it.
        if snapshot.index > entries.committed:
            if entries.matches(snapshot.index, snapshot.term):
                entries.commit_to(snapshot.index)  # It is all here already.
            else:
                entries.restore(snapshot)
                self.latest, self.group = snapshot, snapshot.group
        self._acknowledge_committed(message)

    # What people and programs ask -------------------------------------------------------------------------------------

    def propose(self, data: bytes) -> Entry:
        """Append a command at the leader; it is committed when a Ready shows it as such, or never. Raises NotLeader,
        ProposalDropped."""
        return self.propose_all((data,))[0]

    def propose_all(self, commands: Sequence[bytes]) -> tuple[Entry, ...]:
        """Append commands in this order, all or none; each peer is told of all of them at once (in one message, as far as
        `append_bytes_max` goes). Raises NotLeader, ProposalDropped."""
        return self._lead().propose(EntryKind.COMMAND, commands)

    def propose_change(self, change: Change) -> Entry:
        """Change the group by one node. Whoever is taken out is kept running until the others have applied that: until then they
        may need its voice. Raises NotLeader; ProposalDropped, if another change has not been applied yet."""
        return self._lead().propose_change(change)

    def read_index(self, context: bytes) -> None:
        """Ask for a linearizable read: a later Ready has a ReadState with this id, which the asker never uses twice, or a late
        answer would be taken for that of a later read. Lost with the leadership: then ask again under another id. Raises
        NotLeader, ProposalDropped."""
        if self.role is not Role.LEADER and self.leader != NOBODY:
            self.send(self.leader, Say.READ, context=context)
        else:
            self._lead().read(context, self.node)

    def transfer_leadership(self, target: str) -> None:
        """Hand the leadership to a voter, once it has the whole log. Raises NotLeader, ProposalDropped."""
        self._lead().transfer(target)

    def forget_leader(self) -> None:
        """Somebody knows that the leader is gone: do not keep others from replacing it."""
        if self.role is not Role.LEADER:
            self.leader = NOBODY

    def unreachable(self, peer: str) -> None:
        """The line to a peer broke: what was under way is lost."""
        self.leading.unreachable(peer)

    def snapshot_lost(self, peer: str) -> None:
        """A snapshot did not get there, or could not be made; it is sent again when the peer is heard. Who does not know says
        nothing: after an election timeout without an answer it is sent again anyway."""
        self.leading.snapshot_lost(peer)

    def compact(self, snapshot: Snapshot, keep: int = 0) -> None:
        """The application has written a snapshot of what it has applied: what lies before may be forgotten."""
        self.entries.compact(snapshot, keep)
        self.latest = snapshot

    def _lead(self) -> Leading:
        if self.role is not Role.LEADER:
            raise NotLeader(self.node, self.leader)
        return self.leading

    # What is to be done -----------------------------------------------------------------------------------------------

    def send(self, target: str, kind: Say, *, term: int = -1, **rest: object) -> None:
        """Say something, once all that it rests on is durable."""
        message = Message(kind, self.node, target, self.term if term < 0 else term, **rest)  # type: ignore[arg-type]
        (self._to_self if target == self.node else self.messages).append(message)

    @property
    def hard_state(self) -> HardState:
        """What must survive."""
        return HardState(self.term, self.vote, self.entries.committed, self.entries.reach)

    def ready(self) -> Ready | None:
        """What is to be done now; None if nothing is."""
        entries, offered = self.entries, self._offered_state
        state = self.hard_state
        unwritten = entries.unwritten() if entries.offered < entries.last else ()
        snapshot = None if entries.snapshot_offered else entries.unstable_snapshot
        committed = entries.applicable(max(entries.applied, self._applying), self.configuration.apply_bytes_max)
        is_changed = state != offered
        news = is_changed or unwritten or snapshot or committed
        if not (news or self.messages or self._to_self or self.reads):
            return None
        ready = Ready(
            state if is_changed else None,
            unwritten,
            snapshot,
            tuple(self.messages),
            committed,
            tuple(self.reads),
            tuple(self._to_self),
            entries.attest(self.term),
        )
        self._offered_state, entries.offered, entries.snapshot_offered = state, entries.last, True
        self._applying = committed[-1].index if committed else self._applying
        self.messages, self._to_self, self.reads = [], [], []
        return ready

    def advance(self, ready: Ready) -> None:
        """A Ready is durable and applied."""
        if ready.snapshot is not None:
            self.entries.applied = max(self.entries.applied, ready.snapshot.index)
            self._applying = max(self._applying, ready.snapshot.index)
        settled = self._settle(ready.attest)
        if settled and self.role is Role.LEADER:
            self.leading.disk_moved()
        for message in ready.to_self:
            self.step(message)
        for entry in ready.committed:
            self._apply(entry)

    def _settle(self, attest: Attest) -> bool:
        return self.entries.settled(attest, self.term)

    def _apply(self, entry: Entry) -> None:
        if entry.index <= self.entries.applied:
            return  # A snapshot has come meanwhile.
        self.entries.applied = entry.index
        if entry.kind is EntryKind.CHANGE:
            change = decode_change(entry)
            self.group = changed(self.group, change)
            if change.what == "remove":
                self.marks.forget(change.node)
            if self.role is Role.LEADER:
                self.leading.group_changed()
