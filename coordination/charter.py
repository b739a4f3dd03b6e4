"""What definitions say of how a group of agents is led, and what holds if they say different things.

The rule: of each definition its newest version counts; of one version, and of several definitions, the more careful holds: the
longest `ttl`, the longest `lock_delay`, of each member the highest priority; and whoever belongs to it by any of them is a
member. So what holds does not hang on whose task came last, and who wants less gets it by a newer version of whatever definition
says more.
"""

from dataclasses import dataclass, field

import msgspec

from coordination.auction.bids import Who

DEFINITIONS_MAX = 1_000
"""So many definitions are kept of one group; of more, the one that spoke first is forgotten."""
WHO_MAX = 100
"""In so many ways a definition says who is in a group."""


class Said(msgspec.Struct, array_like=True, frozen=True):
    """What a version of a definition says. Times 0: nothing, the site's own hold. Who is not in `priority` has its label's."""

    version: str = ""
    ttl_ms: int = 0
    lock_delay_ms: int = 0
    priority: dict[str, int] = {}
    who: tuple[Who, ...] = ()

    def joined(self, other: "Said") -> "Said":
        """The more careful of both."""
        priority = {
            agent: max(number for number in (self.priority.get(agent), other.priority.get(agent)) if number is not None)
            for agent in sorted({*self.priority, *other.priority})
        }
        who = tuple(sorted({*self.who, *other.who}))[:WHO_MAX]
        return Said(self.version, max(self.ttl_ms, other.ttl_ms), max(self.lock_delay_ms, other.lock_delay_ms), priority, who)


@dataclass(slots=True)
class Charter:
    """All that was said of one group, by the names of definitions, and what holds by the rule."""

    says: dict[str, Said] = field(default_factory=dict)
    _holds: Said | None = None

    def news(self, definition: str, said: Said) -> Said | None:
        """What is to be recorded if a task of this definition wants the group; None if that changes nothing."""
        known = self.says.get(definition)
        if known is None:
            holds = self.holds
            return None if self.says and holds.joined(said) == holds else said
        if _order(said.version) < _order(known.version):
            return None
        told = said.joined(known) if said.version == known.version else said
        return None if told == known else told

    def fold(self, definition: str, said: Said) -> None:
        """It was recorded."""
        self.says[definition] = said
        self._holds = None
        if len(self.says) > DEFINITIONS_MAX:
            del self.says[next(iter(self.says))]

    @property
    def holds(self) -> Said:
        """What holds of all that was said."""
        if self._holds is None:
            holds = Said()
            for said in self.says.values():
                holds = holds.joined(said)
            self._holds = holds
        return self._holds


def _order(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Versions as they follow on each other: by their numbers; what comes before a release is older than it."""
    numbers, _, before = version.partition("+")[0].partition("-")
    return tuple(int(part) if part.isdigit() else 0 for part in numbers.split(".")), not before, before
