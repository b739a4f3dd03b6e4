"""What one watching client has not seen yet. A client that reads slowly gets fewer frames, never a longer queue."""

import msgspec

from cloud.views import RunSummary, SiteView

FRAMES_PER_SECOND_MAX = 5

SNAPSHOT_RUNS_MAX = 500
"""The newest runs that a snapshot shows. Older ones are asked for by id."""

PENDING_RUNS_MAX = 5_000
"""Changed runs kept for a slow client. Beyond this they are forgotten, and the client is given a fresh snapshot."""


class Frame(msgspec.Struct):
    """One message. `type`: `snapshot` (forget what you had) or `update` (these have changed). `at` is UTC ms."""

    type: str
    runs: list[RunSummary]
    sites: list[SiteView]
    at: int


class Unseen:
    """The latest state of all that changed since the last frame; of two changes to one run only the later is kept."""

    def __init__(self, runs_max: int = PENDING_RUNS_MAX) -> None:
        self._runs_max = runs_max
        self._runs: dict[str, RunSummary] = {}
        self._sites: dict[str, SiteView] = {}
        self.lost = False
        """More has changed than is kept: only a snapshot tells it all."""

    def add(self, runs: list[RunSummary], sites: list[SiteView]) -> None:
        """Note what has changed. Never holds more than `runs_max` runs."""
        self._sites.update((site.id, site) for site in sites)
        if self.lost:
            return
        self._runs.update((run.id, run) for run in runs)
        if len(self._runs) > self._runs_max:
            self._runs.clear()
            self.lost = True

    def update(self, at: int) -> bytes:
        """The frame that tells what changed, as JSON; begins anew."""
        assert not self.lost, "what was forgotten can only be told by a snapshot"
        frame = Frame("update", list(self._runs.values()), list(self._sites.values()), at)
        self._runs.clear()
        self._sites.clear()
        return msgspec.json.encode(frame)

    def forget(self) -> None:
        """A snapshot is about to be taken: whatever was noted so far will be in it."""
        self._runs.clear()
        self._sites.clear()
        self.lost = False

    def __bool__(self) -> bool:
        return self.lost or bool(self._runs) or bool(self._sites)
