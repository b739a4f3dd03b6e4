"""The read lease of a site: how long the cloud surely keeps within K versions of what the site holds. Pure; times in seconds.

C. Gray, D. Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed file cache consistency", SOSP 1989. The cloud
counts the lease from the arrival of the request, the site from its sending, each on its own monotonic clock: the site's ends
first, as long as the clocks' rates differ by less than `DRIFT`.
"""

from dataclasses import dataclass, field

TTL_S = 10.0
RENEW_S = 3.0
DRIFT = 0.02


@dataclass(slots=True)
class Lease:
    """`versions`: what the cloud had of each document when it took the lease; later ones are ahead of what the site has said by
    their bound at most. `said`: the most that it has ever said to hold; if a commit failed it may hold less, and waits."""

    until_s: float = float("-inf")
    versions: dict[str, int] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)
    _asked: dict[int, float] = field(default_factory=dict)
    _count: int = 0

    def ask(self, held: dict[str, int], now_s: float) -> int:
        """The number of the next request; the site says what it holds."""
        for document, version in held.items():
            self.said[document] = max(version, self.said.get(document, 0))
        self._count += 1
        self._asked[self._count] = now_s
        while len(self._asked) > 16:
            del self._asked[next(iter(self._asked))]
        return self._count

    def granted(self, number: int, versions: dict[str, int]) -> None:
        """The cloud has taken the request."""
        if (asked_s := self._asked.pop(number, None)) is not None and (until_s := asked_s + TTL_S * (1 - DRIFT)) >= self.until_s:
            self.until_s, self.versions = until_s, versions

    def covers(self, document: str, version: int, bound: int, now_s: float) -> bool:
        """Is the cloud surely at most `bound` versions ahead of `version`, which the site holds?"""
        known = self.versions.get(document)
        return now_s < self.until_s and known is not None and known - version <= bound and version >= self.said[document]
