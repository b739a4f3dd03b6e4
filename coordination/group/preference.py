"""Which member a leader hands over to because it is preferred: the one of the highest priority above its own. Pure.

Members elect whom they can; preference only moves the leadership afterwards, by the same hand-over that operators order. So it
costs no safety, and it is slow on purpose: each hand-over takes agents a moment. A leader that is lost takes its own count with
it, so each move is noted in the group's log before it is made, and whoever leads next knows of the moves before it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from coordination.group.values import PeerStanding, Preferring, Standing
from coordination.raft.values import Role


@dataclass(slots=True)
class Preference:
    """What one member remembers of who has been here since when, and of the moves; all times are its own monotonic clock's."""

    member: str
    limits: Preferring
    here_since_s: dict[str, float] = field(default_factory=dict)
    """Of each voter, while this member leads: since when it has been here without a break."""
    waits: str = ""
    """Why somebody who is preferred does not lead yet, as of the last look; empty if nobody is."""
    _heard_s: dict[str, float] = field(default_factory=dict)
    _moves: deque[float] = field(default_factory=deque)
    _moved_s: float | None = None
    _ordered_s: float | None = None
    _ordered_term: int = 0
    _term: int = 0

    def greeted(self, peer: str) -> None:
        """It has a new line, so the one before had ended."""
        self.here_since_s.pop(peer, None)

    def moved(self, target: str, now_s: float, *, ordered: bool) -> None:
        """The leadership is moved to `target`, by an operator or by preference; whether it gets there or not, that counts."""
        self._moved_s = now_s
        if not ordered:
            self._moves.append(now_s)
            while len(self._moves) > self.limits.moves_max:
                self._moves.popleft()
        # Whatever was ordered before, this is the latest.
        self._ordered_s, self._ordered_term = (now_s, 0) if ordered and target == self.member else (None, 0)

    def heir(self, standing: Standing, now_s: float, held_back: Callable[[str], str] = lambda _name: "") -> str:
        """Whom to hand over to now; empty: nobody. To be asked every second or so. `held_back`: what else keeps a member from
        it."""
        self.waits = ""
        if standing.role != Role.LEADER.value:
            self._follow(standing)
            return ""
        self._lead(standing.term)
        self._watch(standing, now_s)
        peers = {peer.name: peer for peer in standing.peers}
        own = peers[self.member].priority if self.member in peers else 0
        above = [peer for name, peer in peers.items() if peer.priority > own and name in self.here_since_s]
        rest = self._rest(now_s)
        for peer in sorted(above, key=lambda peer: (-peer.priority, self._settling(peer, now_s), -peer.match, peer.name)):
            settling = self._settling(peer, now_s)
            why = rest or settling or self._lack(peer, standing) or held_back(peer.name)
            if not why:
                self.waits = ""
                return peer.name
            self.waits = self.waits or f"{peer.name} is preferred and does not lead yet: {why}"
            if settling:  # It is waited for: that is one move instead of two.
                break
        return ""

    def _follow(self, standing: Standing) -> None:
        self.here_since_s.clear()
        if self._ordered_term and standing.term > self._ordered_term:
            self._ordered_s, self._ordered_term = None, 0  # It was lost, and with it the order.

    def _lead(self, term: int) -> None:
        if term != self._term:
            self._term = term
            self.here_since_s.clear()
        if self._ordered_s is None:
            return
        if not self._ordered_term:
            self._ordered_term = term
        elif self._ordered_term != term:
            self._ordered_s, self._ordered_term = None, 0

    def _watch(self, standing: Standing, now_s: float) -> None:
        """Who has been heard is asked for anew by the core in each election timeout: for a moment nobody has."""
        for peer in standing.peers:
            if peer.recent:
                self._heard_s[peer.name] = now_s
            is_heard = now_s - self._heard_s.get(peer.name, -self.limits.silent_s) < self.limits.silent_s
            if peer.voter and peer.connected and is_heard and not peer.problem:
                self.here_since_s.setdefault(peer.name, now_s)
            else:
                self.here_since_s.pop(peer.name, None)
        for name in self.here_since_s.keys() - {peer.name for peer in standing.peers}:
            del self.here_since_s[name]

    def _rest(self, now_s: float) -> str:
        """An order holds, or the leadership was moved of late, or too often; empty if none of this."""
        limits, moves = self.limits, self._moves
        if (left_s := _left_s(self._ordered_s, limits.ordered_s, now_s)) > 0:
            return f"an operator has made {self.member} lead, which holds for another {left_s:.0f} s"
        if (left_s := _left_s(self._moved_s, limits.every_s, now_s)) > 0:
            return f"the leadership was moved of late, the next time in {left_s:.0f} s"
        is_many = len(moves) == limits.moves_max and moves[-1] - moves[0] < limits.window_s
        if is_many and (left_s := _left_s(moves[-1], limits.window_s, now_s)) > 0:
            return f"it was moved {limits.moves_max} times of late and did not stay, the next time in {left_s:.0f} s"
        return ""

    def _settling(self, peer: PeerStanding, now_s: float) -> str:
        here_s, limit_s = now_s - self.here_since_s[peer.name], self.limits.here_s
        return f"it has been here for {here_s:.0f} of {limit_s:.0f} s without a break" if here_s < limit_s else ""

    def _lack(self, peer: PeerStanding, standing: Standing) -> str:
        """What a majority has, it has, too; under load all lack what is on its way just now."""
        lacks = standing.commit - peer.match
        if peer.copying or lacks > self.limits.entries_max:
            return f"it lacks {lacks:,} entries"
        return ""


def _left_s(since_s: float | None, limit_s: float, now_s: float) -> float:
    return 0.0 if since_s is None else limit_s - (now_s - since_s)
