"""What an agent knows and says among its peers while none of them can hear the site: a pure core around `tiercel.agreeing`.

Tasks are known to all by their run and number; what is said under another epoch is of another offer, and does not count.
Peers believe what a peer passes on of others: who may speak at all is for the connection to say.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import TypeAlias

from tiercel.agreeing import Message, Offer, Peer, Worth
from tiercel.v1 import agent_pb2, peers_pb2

PEERS_MAX = 32
TASKS_MAX = 256
VALUE_MAX = 1.0
"""Of what a task is worth: a cost, or a time, becomes `worth_of` it."""

CONNECTED = peers_pb2.PEER_STATE_CONNECTED
WAITING = peers_pb2.PEER_STATE_WAITING
ALONE = peers_pb2.PEER_STATE_ALONE
State: TypeAlias = "peers_pb2.PeerState.ValueType"


def worth_of(score: float) -> float:
    """More for less: from 1 down to 0."""
    return 1.0 / (1.0 + score)


def id_of(key: agent_pb2.AttemptKey) -> str:
    """By what a task is known, under whatever epoch."""
    return f"{key.run}/{key.task}"


@dataclass(slots=True)
class Council:
    """One agent's part. `keys` are the tasks that the site had offered to it, `peers` who else may speak; `changed` is set when
    something comes that it did not know. Words count as `state` says: who has the site takes no part."""

    site: str
    agent: str
    worth: Worth
    peers: frozenset[str]
    state: State = WAITING
    keys: dict[str, agent_pb2.AttemptKey] = field(default_factory=dict)
    changed: bool = False
    refused: Counter[str] = field(default_factory=Counter)
    peer: Peer = field(init=False)

    def __post_init__(self) -> None:
        self.peer = Peer(self.agent, self.worth, 0)

    def open(self, keys: Mapping[str, agent_pb2.AttemptKey], room: int) -> None:
        """These are to be agreed on, and so many of them it could begin now."""
        self.keys, self.peer.room = dict(keys), room
        before = self.peer.changes
        self.peer.open(self.keys)
        self.changed = self.changed or before != self.peer.changes

    def begin(self, task: str) -> agent_pb2.AloneClaim:
        """It does a task that it has won: what it will tell the site."""
        bids = sorted((agent, offer.value) for agent, offer in self.peer.offers[task].items() if offer.value > 0)
        told = [agent_pb2.PeerBid(agent=agent, bid=value) for agent, value in bids]
        self.changed = True
        return agent_pb2.AloneClaim(key=self.keys[task], bid=self.peer.begin(task), bids=told)

    def leave(self, agent: str) -> None:
        """A peer has not been heard for too long."""
        if agent not in self.peer.gone:
            self.changed = True
        self.peer.leave(agent)

    # Words ------------------------------------------------------------------------------------------------------------

    def word(self) -> peers_pb2.PeerWord:
        """All that it has to say."""
        said = peers_pb2.PeerWord(site=self.site, agent=self.agent, state=self.state)
        if self.state != ALONE:
            return said
        offers, beats = self.peer.message()
        for task, agent, offer in offers:
            key = self.keys[task]
            said.offers.append(
                peers_pb2.PeerOffer(key=key, agent=agent, change=offer.change, value=offer.value, begun=offer.begun)
            )
        said.beats.extend(peers_pb2.PeerBeat(agent=agent, beat=beat) for agent, beat in beats)
        return said

    def answer(self, word: peers_pb2.PeerWord) -> peers_pb2.PeerAnswer:
        """Hear a peer, and tell it all in return."""
        refused = self.hear(word)
        if any(each.code in ("unknown_peer", "other_site", "too_many") and not each.key.run for each in refused):
            return peers_pb2.PeerAnswer(refused=refused)
        return peers_pb2.PeerAnswer(word=self.word(), refused=refused)

    def hear(self, word: peers_pb2.PeerWord) -> list[peers_pb2.PeerRefusal]:
        """Take over what is newer. What does not count, and why."""
        if (wrong := self._stranger(word)) is not None:
            self.refused[wrong.code] += 1
            return [wrong]
        offers: list[tuple[str, str, Offer]] = []
        refused: list[peers_pb2.PeerRefusal] = []
        for item in word.offers:
            if (fault := self._fault(item)) is not None:
                self.refused[fault.code] += 1
                refused.append(fault)
            else:
                offers.append((id_of(item.key), item.agent, Offer(item.change, item.value, item.begun)))
        if self.state == ALONE and word.state == ALONE:
            beats = tuple((item.agent, item.beat) for item in word.beats if item.agent in self.peers)
            self.changed = self.peer.hear(Message(tuple(offers), beats)) or self.changed
        return refused

    def _stranger(self, word: peers_pb2.PeerWord) -> peers_pb2.PeerRefusal | None:
        if word.site != self.site:
            return _refusal("other_site", f"agent {self.agent} is of site {self.site}, and the word is of site {word.site!r:.80}")
        if word.agent not in self.peers:
            return _refusal("unknown_peer", f"site {self.site} has named no peer {word.agent!r:.80} to agent {self.agent}")
        if len(word.offers) > PEERS_MAX * TASKS_MAX or len(word.beats) > PEERS_MAX:
            said = f"{len(word.offers):,} offers and {len(word.beats):,} beats"
            return _refusal("too_many", f"{said} in one word; allowed: {PEERS_MAX * TASKS_MAX:,} and {PEERS_MAX}")
        return None

    def _fault(self, item: peers_pb2.PeerOffer) -> peers_pb2.PeerRefusal | None:
        known = self.keys.get(id_of(item.key))
        if known is None or item.key.epoch > known.epoch:
            return _refusal("not_offered", f"the site has not offered this task to agent {self.agent}", item.key)
        if item.key.epoch < known.epoch:
            return _refusal("old_epoch", f"it is for epoch {item.key.epoch}, and {known.epoch} is offered", item.key)
        if item.agent != self.agent and item.agent not in self.peers:
            return _refusal("unknown_peer", f"site {self.site} has named no peer {item.agent!r:.80}", item.key)
        if not isfinite(item.value) or not 0 <= item.value <= VALUE_MAX:
            return _refusal("not_a_number", f"the value is {item.value}; allowed: 0 to {VALUE_MAX:g}", item.key)
        return None


def _refusal(code: str, message: str, key: agent_pb2.AttemptKey | None = None) -> peers_pb2.PeerRefusal:
    return peers_pb2.PeerRefusal(code=code, message=message, key=key)
