"""The read leases of sites: how far the cloud may go ahead of what they hold. Pure, and of the moment only.

C. Gray, D. Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed file cache consistency", SOSP 1989. A reader
that is cut off cannot know how far behind it is, so its writer keeps within the bound as long as the lease has not run out. What
was leased before a restart is not known any more: for the longest time of a lease nothing that is bounded by versions is
committed.
"""

from dataclasses import dataclass, field

TTL_MS_MAX = 10_000


@dataclass(slots=True)
class Leases:
    """By site: until when (monotonic ms), and the versions that it said it holds."""

    blind_until_ms: int = 0
    by_site: dict[str, tuple[int, dict[str, int]]] = field(default_factory=dict)

    def take(self, site: str, ttl_ms: int, versions: dict[str, int], now_ms: int) -> None:
        """The latest word of a site counts: it holds no less than it had said."""
        self.by_site[site] = now_ms + min(ttl_ms, TTL_MS_MAX), versions

    def bars(self, document: str, version: int, bound: int, now_ms: int) -> str:
        """Why this version may not be committed yet; empty if it may."""
        if now_ms < self.blind_until_ms:
            return "the cloud has just started, and does not know yet what sites rely on"
        for site, (until_ms, versions) in self.by_site.items():
            if now_ms < until_ms and document in versions and version - versions[document] > bound:
                return f"{site} has version {versions[document]}, and may rely on it for {until_ms - now_ms} ms"
        return ""
