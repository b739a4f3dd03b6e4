"""Where the gateway of a site may be: the addresses of its nodes, of which one at a time leads and takes agents.

    places = Places.of("box-a:7444,box-b:7444,unix:/run/tiercel/harbour.sock")
    places.current                      # dial this
    places.lost(code, leader)           # the session is over: True to dial `current` at once, False to wait first

A node that does not lead says who does, if it knows. Its word is followed at once, but not for ever: two nodes that take each
other for the leader must not have an agent run between them. Pure.
"""

from dataclasses import dataclass, field
from typing import Self

NOT_LEADER = "not_leader"
UNREACHED = "unreached"
RENEWED = "renewed"
"""The session gave way to one over a channel with new TLS files."""
PLACES_MAX = 16
LED_MAX = 2
"""So many hints are followed without a wait since the last welcome."""
STAYS = frozenset({"replaced", RENEWED, "identity", "not_ready", "certificate", "register_first"})
"""What another node would say, too, or what has nothing to do with where one is."""


@dataclass(slots=True)
class Places:
    """Of one agent, or of all that share a line. `current` is one of `known`, or where the site said that its leader is."""

    known: tuple[str, ...]
    current: str = field(init=False)
    _at: int = field(init=False, default=0)
    _led: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.current = self.known[0]

    @classmethod
    def of(cls, text: str) -> Self:
        """From "host:port", "unix:/path" or several of them with commas between. Raises ValueError."""
        known = (text,) if text.startswith(("ipv4:", "ipv6:")) else tuple(place.strip() for place in text.split(","))
        if not all(known):
            raise ValueError(
                f"gateway {text!r}: an address is missing; allowed: host:port or unix:/path, with commas between them"
            )
        if len(set(known)) != len(known):
            raise ValueError(f"gateway {text!r}: an address is named twice")
        if len(known) > PLACES_MAX:
            raise ValueError(f"gateway: {len(known)} addresses; at most {PLACES_MAX} are taken")
        return cls(known)

    @property
    def several(self) -> bool:
        """Is there another place to go to?"""
        return len(self.known) > 1 or self.current != self.known[0]

    def welcomed(self) -> None:
        """The node at `current` takes us: what is said from now on is news."""
        self._led = 0

    def lost(self, code: str, leader: str = "") -> bool:
        """A session at `current` ended, or did not begin: decide where the next is tried. True: at once."""
        if code in STAYS:
            return False
        if code == NOT_LEADER and self._may_go(leader):
            self._led += 1
            self._go(leader)
            return self._led <= LED_MAX
        # Whoever led us here was wrong: the list goes on where it was.
        self._at = (self._at + 1) % len(self.known)
        self.current = self.known[self._at]
        return False

    def _may_go(self, leader: str) -> bool:
        # A path is of one machine: one that another node names is only gone to if it is known here.
        return bool(leader) and leader != self.current and (leader in self.known or not leader.startswith("unix:"))

    def _go(self, leader: str) -> None:
        self.current = leader
        if leader in self.known:
            self._at = self.known.index(leader)
