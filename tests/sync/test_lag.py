"""How far a peer is behind: whatever restarts and is restored, nothing leaves too early, and no lack is overlooked."""

from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sync.lag import LONG_AGO, Lag, Outbox
from sync.values import StreamId

STREAM = StreamId("harbour@1")
RUNS = ("strong", "bounded", "plain")
Step = tuple[str, int, int]
STEPS = (
    "decide",
    "decide",
    "commit",
    "send",
    "ack",
    "note",
    "cut",
    "greet",
    "restart",
    "refold",
    "snapshot",
    "copy",
    "lose",
    "restore_peer",
)
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, 2), st.integers(0, 6)), max_size=60
)


@dataclass
class Pair:
    """A node, its peer and the link: `rows` are the runs of the node's durable events, `peer` is what the peer holds of them."""

    rows: list[str] = field(default_factory=list)
    batch: list[tuple[str, object]] = field(default_factory=list)
    peer: list[str] = field(default_factory=list)
    peer_copy: list[str] = field(default_factory=list)
    is_linked: bool = False
    floor: int = 0
    noted: int = 0
    said: int = 0  # What the peer has said that it holds: of the driver, so it outlives a refold.
    saved: tuple[list[str], int, int] = ([], 0, 0)
    lag: Lag = field(default_factory=lambda: Lag(STREAM))
    outbox: Outbox = field(default_factory=Outbox)

    def __post_init__(self) -> None:
        self.begin(0)

    def begin(self, held: int) -> None:
        """What a start or a refold makes of what is durable."""
        self.lag, self.outbox, self.batch, self.said = Lag(STREAM), Outbox(), [], held
        self.lag.watch("strong", strong=True)
        self.lag.watch("bounded", strong=False)
        self.lag.begin(held, self.floor, [(run, seq) for seq, run in enumerate(self.rows, 1) if seq > self.floor], len(self.rows))

    def leave(self, effects: list[object]) -> None:
        """An effect is the place of the event that it follows from."""
        for effect in effects:
            assert isinstance(effect, int)
            assert effect <= len(self.peer), f"what follows from event {effect} left, and the peer holds {len(self.peer)}"
            assert self.peer[:effect] == self.rows[:effect]

    def live(self, what: str, who: int, number: int) -> None:
        getattr(self, f"_{what}")(who, number)
        self.check()

    def _decide(self, who: int, number: int) -> None:
        run = RUNS[who]
        seq = len(self.rows) + len(self.batch) + 1
        effect: object = None
        if run in self.lag.watched:
            self.lag.decide(run)
            self.lag.place(run, seq, number)
        if run == "strong":
            effect = seq if seq <= self.lag.held and not self.outbox.waiting else self.outbox.withhold(seq, seq)
        self.batch.append((run, effect))

    def _commit(self, who: int, number: int) -> None:
        batch, self.batch = self.batch, []
        self.rows += [run for run, _ in batch]
        self.leave(self.outbox.divide([effect for _, effect in batch if effect is not None], self.lag.held))

    def _send(self, who: int, number: int) -> None:
        if self.is_linked:
            self.peer += self.rows[len(self.peer) :][: number + 1]

    def _ack(self, who: int, number: int) -> None:
        if self.is_linked:
            self.hear(max(self.said, len(self.peer) - number))

    def hear(self, seq: int) -> None:
        self.said = seq
        self.lag.hold(seq)
        self.leave(self.outbox.release(self.lag.held))

    def _note(self, who: int, number: int) -> None:
        self.noted = max(self.noted, self.said) if self.is_linked else self.noted

    def _cut(self, who: int, number: int) -> None:
        self.is_linked = False

    def _greet(self, who: int, number: int) -> None:
        """Who has lost something gets it back first; then both know what the peer holds."""
        self._commit(who, number)
        if len(self.peer) > len(self.rows):
            self.rows = list(self.peer)
            self.begin(self.said)
        self.is_linked = True
        self.hear(len(self.peer))

    def _restart(self, who: int, number: int) -> None:
        self.is_linked = False
        self.begin(self.noted)

    def _refold(self, who: int, number: int) -> None:
        self.begin(self.said)

    def _snapshot(self, who: int, number: int) -> None:
        self._commit(who, number)
        self.floor = len(self.rows)

    def _copy(self, who: int, number: int) -> None:
        self.saved = list(self.rows), self.floor, self.noted
        self.peer_copy = list(self.peer)

    def _lose(self, who: int, number: int) -> None:
        """The node starts from an old copy; its peer holds what it had written, and it takes no work before it has that back."""
        self._greet(who, number)
        self.peer = list(self.rows)
        rows, self.floor, self.noted = self.saved
        self.rows = list(rows)
        self.begin(self.noted)
        self._greet(who, number)

    def _restore_peer(self, who: int, number: int) -> None:
        """The peer starts from an old copy: the link was down, and the greeting tells."""
        self.is_linked = False
        if self.peer_copy == self.rows[: len(self.peer_copy)]:
            self.peer = list(self.peer_copy)
            self.noted = min(self.noted, len(self.rows))
            self._greet(who, number)

    def check(self) -> None:
        """What is not counted of a watched run is lacking nowhere, unless the count says of itself that it is blind."""
        stream = [*self.rows, *(run for run, _ in self.batch)]
        for run in ("strong", "bounded"):
            lacking = sum(each == run for each in stream[self.said :])
            if self.lag.is_blind(run):
                assert self.lag.oldest_ms(run) == LONG_AGO
                continue
            assert self.lag.count(run) == lacking, f"{run}: {self.lag.count(run)} counted, {lacking} lacking"
            assert (self.lag.oldest_ms(run) is None) == (lacking == 0)


@given(steps)
@example(
    [("decide", 1, 0), ("commit", 0, 0), ("copy", 0, 0), ("greet", 0, 0), ("send", 0, 6), ("ack", 0, 0), ("restore_peer", 0, 0)]
)
@settings(max_examples=300, deadline=None)
def test_nothing_confirmed_leaves_before_the_peer_holds_it_and_no_lack_is_overlooked_whatever_restarts(told: list[Step]) -> None:
    """Node and peer restart, are restored from copies, and acknowledge late; commits, floors and notes come at any time."""
    pair = Pair()
    for step in told:
        pair.live(*step)
    pair.live("commit", 0, 0)
    pair.live("greet", 0, 0)
    while len(pair.peer) < len(pair.rows):
        pair.live("send", 0, 6)
    pair.live("ack", 0, 0)
    assert not pair.outbox.waiting, "all that the peer holds has let go what waited for it"
    assert not any(pair.lag.is_blind(run) or pair.lag.count(run) for run in RUNS)


def test_of_a_peer_that_has_lost_something_any_run_may_lack_events_until_it_holds_them_again() -> None:
    """What it had acknowledged is counted no more, so the count is blind; the event itself is not withheld again."""
    lag = Lag(STREAM)
    lag.watch("bounded", strong=False)
    lag.decide("bounded")
    lag.place("bounded", 1, 5)
    lag.hold(1)
    assert (lag.count("bounded"), lag.is_blind("bounded")) == (0, False)
    lag.hold(0)
    assert lag.is_blind("bounded")
    assert lag.hold(1), "the run may go on, and hears of it"
    assert not lag.is_blind("bounded")
