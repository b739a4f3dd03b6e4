"""What one watching client has not seen yet. A client that reads slowly gets fewer frames, never a longer queue."""

from collections.abc import Iterable, Iterator

import msgspec

from cloud.views import RunSummary, SiteView

FRAMES_PER_SECOND_MAX = 5

SNAPSHOT_RUNS_MAX = 500
"""The newest runs that a snapshot shows. Older ones are asked for by id."""

PENDING_RUNS_MAX = 5_000
"""Changed runs kept for a slow client. Beyond this they are forgotten, and the client is given a fresh snapshot."""


FRAME_BYTES_MAX = 1 << 19
"""Of what a frame tells. WebSocket clients take messages of up to 1 MiB unless they are told otherwise."""

ITEM_BYTES_MAX = 1 << 16
"""A run whose line is longer comes without its labels, and with the beginning of its detail; asked for by id it has all."""

DETAIL_SHOWN_MAX = 1_000


class Frame(msgspec.Struct):
    """One message. `type`: `snapshot` (forget what you had) or `update` (these have changed). `at` is UTC ms.

    `more`: it was too much for one frame, and updates that belong to this one follow at once.
    """

    type: str
    runs: list[RunSummary]
    sites: list[SiteView]
    at: int
    more: bool = False


class _Encoded(msgspec.Struct):
    """A Frame whose items are encoded already."""

    type: str
    at: int
    more: bool
    runs: list[msgspec.Raw]
    sites: list[msgspec.Raw]


def frames(kind: str, runs: Iterable[RunSummary], sites: Iterable[SiteView], at: int) -> Iterator[bytes]:
    """Tell these as JSON, in as many frames as it takes: the first is of this kind, the rest are updates."""
    frame, size = _Encoded(kind, at, False, [], []), 0
    for item in _items(runs, sites):
        encoded = msgspec.json.encode(item)
        if size + len(encoded) > FRAME_BYTES_MAX:
            frame.more = True
            yield msgspec.json.encode(frame)
            frame, size = _Encoded("update", at, False, [], []), 0
        (frame.runs if isinstance(item, RunSummary) else frame.sites).append(msgspec.Raw(encoded))
        size += len(encoded) + 1
    yield msgspec.json.encode(frame)


def _items(runs: Iterable[RunSummary], sites: Iterable[SiteView]) -> Iterator[RunSummary | SiteView]:
    yield from sites
    for run in runs:
        # A cheap upper bound first: few runs have labels that need to be counted.
        if (run.labels or len(run.detail) > DETAIL_SHOWN_MAX) and len(msgspec.json.encode(run)) > ITEM_BYTES_MAX:
            yield msgspec.structs.replace(run, labels={}, detail=run.detail[:DETAIL_SHOWN_MAX])
        else:
            yield run


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

    def update(self, at: int) -> Iterator[bytes]:
        """The frames that tell what changed, as JSON; begins anew."""
        assert not self.lost, "what was forgotten can only be told by a snapshot"
        runs, sites, self._runs, self._sites = self._runs, self._sites, {}, {}
        return frames("update", runs.values(), sites.values(), at)

    def forget(self) -> None:
        """A snapshot is about to be taken: whatever was noted so far will be in it."""
        self._runs.clear()
        self._sites.clear()
        self.lost = False

    def __bool__(self) -> bool:
        return self.lost or bool(self._runs) or bool(self._sites)
