"""Was a bounded read fresh enough? The world knows every version, and when it became true.

A read within K versions and T (Bailis et al., "Probabilistically bounded staleness", 2012: k-staleness and t-visibility, here as
hard bounds) may show a version that is at most K behind the newest at its begin, and that was still the newest T before it.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple


class Read(NamedTuple):
    """Somebody was shown `version` of `key` by a read that began at `begun_s`, with its bounds (0: that one does not bind)."""

    key: str
    version: int
    begun_s: float
    versions: int = 0
    time_s: float = 0.0


@dataclass
class Truth:
    """The versions of each key, from 1 on, and when each became true. Version 0 is true from the beginning."""

    times: dict[str, list[float]] = field(default_factory=dict)

    def wrote(self, key: str, at_s: float) -> int:
        """The next version of the key; times do not go back."""
        times = self.times.setdefault(key, [])
        assert not times or times[-1] <= at_s, f"{key}: a version at {at_s}, after one at {times[-1]}"
        times.append(at_s)
        return len(times)

    def newest(self, key: str, at_s: float) -> int:
        """The version that was true then."""
        return bisect_right(self.times.get(key, []), at_s)

    def judge(self, read: Read) -> str:
        """Why the read was too old, or from the future; empty if it was good."""
        times = self.times.get(read.key, [])
        if not 0 <= read.version <= len(times):
            return f"{read.key}: version {read.version} was shown, and never was"
        behind = self.newest(read.key, read.begun_s) - read.version
        if read.versions and behind > read.versions:
            return f"{read.key}: {behind} versions behind at {read.begun_s:.3f} s, at most {read.versions} are allowed"
        if read.time_s and behind > 0:
            old_s = read.begun_s - times[read.version]
            if old_s > read.time_s:
                return f"{read.key}: {old_s:.3f} s old at {read.begun_s:.3f} s, at most {read.time_s:g} s are allowed"
        return ""
