"""When a workflow starts by itself: what a person writes, and the moments that follow from it. Pure arithmetic of time.

    id: nightly-count
    definition: stock-count         # the latest version at each firing; name@version for always the same one
    cron: "30 2 * * *"              # or  every: 15m
    timezone: Europe/Berlin
    overlap: skip                   # allow, skip, buffer_one, cancel_other
    catch_up: latest                # skip, all, latest: of what was missed within catch_up_window
    catch_up_window: 6h
    site: harbour                   # decided there, so it fires while the site is cut off

A firing has one nominal moment (UTC ms). Its run's id follows from the schedule and that moment, so that it is never made twice.

Summer time, for cron expressions in a zone that has it (the rule of Debian's cron, as cronsim keeps it):
  - A firing at a fixed time of day that does not exist that day comes at the first moment after the gap (02:30 at 03:00).
  - One whose time of day comes twice is made once, at the first of the two.
  - If the field of minutes or hours begins with `*`, the expression means real time: nothing is left out, nothing doubled, each
    minute or hour that passes counts.
An interval (`every`) is of real time, counted from `valid_from` or else from the schedule's creation.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim

MISSED_AFTER_MS = 60_000
"""A firing that comes later than this was missed: the node was down, or asleep."""

CATCH_UP_WINDOW_MS_MAX = 31 * 86_400_000
CATCH_UP_WINDOW_MS = 86_400_000
BACKFILL_MAX = 1_000
_SPANS_MS = (3_600_000, 86_400_000, 32 * 86_400_000)

Overlap = Literal["allow", "skip", "buffer_one", "cancel_other"]
CatchUp = Literal["skip", "all", "latest"]


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """One schedule as it was asked for, checked. Exactly one of `cron` and `every_ms` is set; moments and spans are in ms."""

    id: str
    definition: str
    inputs: dict[str, object] = {}
    labels: dict[str, str] = {}
    cron: str = ""
    every_ms: int = 0
    timezone: str = "UTC"
    overlap: Overlap = "skip"
    catch_up: CatchUp = "skip"
    catch_up_window_ms: int = CATCH_UP_WINDOW_MS
    valid_from_ms: int = 0
    valid_until_ms: int = 0
    jitter_ms: int = 0
    paused: bool = False
    site: str = ""

    def missed_after_ms(self) -> int:
        """How late a firing may be and still be made."""
        return MISSED_AFTER_MS if self.catch_up == "skip" else max(MISSED_AFTER_MS, self.catch_up_window_ms)


class TooManyFirings(ValueError):
    """The range holds more firings than one command may ask for."""


def firings_after(schedule: Schedule, after_ms: int) -> Iterator[int]:
    """The nominal moments later than `after_ms`, in order, whatever the schedule's validity; endless as a rule."""
    if schedule.every_ms:
        return _intervals(schedule, after_ms)
    return _cron_moments(schedule.cron, zone(schedule.timezone), after_ms)


def next_firing(schedule: Schedule, after_ms: int) -> int | None:
    """The first firing later than `after_ms` within the schedule's validity; None if there is none any more."""
    moment = next(firings_after(schedule, max(after_ms, schedule.valid_from_ms - 1)), None)
    return None if moment is None or (schedule.valid_until_ms and moment > schedule.valid_until_ms) else moment


def due_ms(schedule: Schedule, moment: int) -> int:
    """When the firing is made: the jitter spreads schedules of the same moment, always in the same way."""
    if not schedule.jitter_ms:
        return moment
    digest = sha256(f"{schedule.id}\0{moment}".encode()).digest()
    return moment + int.from_bytes(digest[:8], "big") % (schedule.jitter_ms + 1)


def firings_between(schedule: Schedule, first_ms: int, last_ms: int, limit: int = BACKFILL_MAX) -> list[int]:
    """All firings of a range, both ends included, whatever the schedule's validity. Raises TooManyFirings beyond `limit`."""
    found: list[int] = []
    for moment in islice(firings_after(schedule, first_ms - 1), limit + 1):
        if moment > last_ms:
            return found
        found.append(moment)
    if len(found) > limit:
        raise TooManyFirings(f"there are more than {limit:,} firings from {show_ms(first_ms)} to {show_ms(last_ms)}")
    return found


def latest_firing(schedule: Schedule, after_ms: int, until_ms: int) -> int | None:
    """The last firing in (after_ms, until_ms] within the schedule's validity; None if there is none."""
    until_ms = min(until_ms, schedule.valid_until_ms or until_ms)
    latest = None
    for span_ms in (schedule.every_ms, *_SPANS_MS, until_ms - after_ms):
        # The last one is mostly near the end: what is walked from there is short, however long the whole is.
        latest = next_firing(schedule, max(after_ms, until_ms - span_ms))
        if latest is not None and latest <= until_ms:
            break
    if latest is None or latest > until_ms:
        return None
    for moment in firings_after(schedule, latest):
        if moment > until_ms:
            break
        latest = moment
    return latest


def run_of_firing(schedule: str, created_ms: int, moment: int, manual: int = 0) -> str:
    """The id of a firing's run. The same firing has the same id wherever and however often it is decided; a schedule that was
    removed and created again is another one. `manual` counts the runs that a person asked for: they have no firing."""
    text = f"{schedule}\0{created_ms}\0{moment}" + (f"\0{manual}" if manual else "")
    return f"r{moment // 1000:08x}-s{sha256(text.encode()).hexdigest()[:16]}"


def show_ms(moment: int) -> str:
    """A moment as people read it."""
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@lru_cache(maxsize=256)
def zone(name: str) -> ZoneInfo:
    """The IANA time zone. Raises zoneinfo.ZoneInfoNotFoundError (a KeyError), ValueError or OSError for what is none."""
    return ZoneInfo(name)


def _intervals(schedule: Schedule, after_ms: int) -> Iterator[int]:
    every, anchor = schedule.every_ms, schedule.valid_from_ms
    moment = anchor + ((after_ms - anchor) // every + 1) * every
    while True:
        yield moment
        moment += every


def _cron_moments(cron: str, where: ZoneInfo, after_ms: int) -> Iterator[int]:
    for moment in CronSim(cron, datetime.fromtimestamp(after_ms // 1000, where)):
        moment_ms = round(moment.timestamp()) * 1000
        if moment_ms > after_ms:  # In the second of two equal hours cronsim begins again at the first of them.
            yield moment_ms
