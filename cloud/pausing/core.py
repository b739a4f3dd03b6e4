"""Pausing sites, a Part of the planner. What is ordered is an event of the cloud's own stream, and follows in the stream for the
site as soon as that may be written to; the site says when it has taken it. New runs avoid the site from the order on.
"""

from typing import ClassVar, Protocol

import msgspec

from cloud.fleet import Fleet, SitePause
from cloud.ids import Ids
from cloud.part import Fold, Hear, Part, Step
from cloud.pausing.inputs import OrderSitePause, SitePauseSettled
from cloud.port import site_unknown
from sync.outputs import Reply
from sync.values import Now, SiteId
from workflow.event import Event
from workflow.site_events import SitePauseOrdered, SitePauseTaken


class Planning(Protocol):
    """What pausing needs of the planner."""

    @property
    def fleet(self) -> Fleet: ...
    @property
    def ids(self) -> Ids: ...
    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...


class SitePauses(Part):
    """The latest order for each site that is not simply active, in `Fleet.site(...).pause`: at most one per site."""

    name: ClassVar[str] = "site_pauses"

    def __init__(self, planner: Planning) -> None:
        self._planner = planner

    def steps(self) -> dict[type, Step]:
        return {OrderSitePause: self._order}

    def own_folds(self) -> dict[type, Fold]:
        return {SitePauseOrdered: self._fold_ordered}

    def site_folds(self) -> dict[type, Fold]:
        return {SitePauseTaken: self._fold_taken}

    def hears(self) -> dict[type, Hear]:
        return {SitePauseTaken: self._hear}

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        self._send(site, now, out)

    def untell(self, site: str) -> None:
        pause = self._planner.fleet.site(site).pause
        if pause is not None and not pause.is_taken:
            pause.is_sent = False

    def is_settled(self, site: str, command: str) -> bool:
        """Has the site taken the order, or has another one come since?"""
        pause = self._planner.fleet.site(site).pause
        return pause is None or pause.command != command or pause.is_taken

    # Asked ------------------------------------------------------------------------------------------------------------

    def _order(self, input: OrderSitePause, now: Now, out: list[object]) -> None:
        site = self._planner.fleet.sites.get(SiteId(input.site))
        if site is None:
            out.append(Reply(input.token, site_unknown(input.site, self._planner.fleet.sites)))
            return
        if (site.pause is not None and site.pause.paused) is input.paused:
            # Asked again: it is on its way, or so already.
            out.append(Reply(input.token, site.pause.command if site.pause is not None else ""))
            return
        command = self._planner.ids.next("c")
        order = SitePauseOrdered(input.site, command, input.paused, input.reason, now.wall_ms)
        self._planner.note("", order, now, out)
        self._send(input.site, now, out)
        out.append(Reply(input.token, command))

    def _send(self, site: str, now: Now, out: list[object]) -> None:
        known = self._planner.fleet.site(site)
        pause = known.pause
        if known.greeted and pause is not None and not pause.is_sent:
            order = SitePauseOrdered(site, pause.command, pause.paused, pause.reason, pause.since_ms)
            self._planner.note(site, order, now, out)

    def _hear(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        assert isinstance(event, SitePauseTaken)
        out.append(SitePauseSettled(event.command))

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_ordered(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, SitePauseOrdered)
        self._planner.ids.note(event.command)
        site = self._planner.fleet.site(event.site)
        pause = site.pause
        if reader and pause is not None and pause.command == event.command:
            pause.is_sent = True
        elif not reader or pause is None or pause.is_sent:
            # Of the stream for the site alone: the cloud's own was lost with its disk, or it is over already.
            site.pause = SitePause(event.command, event.paused, event.reason, event.at_ms, is_sent=bool(reader))
        self._planner.fleet.version += 1

    def _fold_taken(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, SitePauseTaken)
        known = self._planner.fleet.site(site)
        if known.pause is not None and known.pause.command == event.command:
            known.pause.is_taken = known.pause.is_sent = True
            if not event.paused:
                known.pause = None
        self._planner.fleet.version += 1

    def save(self) -> bytes:
        sites = self._planner.fleet.sites
        pauses = {name: pause for name in sorted(sites) if (pause := sites[name].pause) is not None}
        return msgspec.msgpack.encode(pauses) if pauses else b""

    def restore(self, body: bytes) -> None:
        for site, pause in _SAVED.decode(body).items():
            self._planner.fleet.site(site).pause = pause


_SAVED = msgspec.msgpack.Decoder(dict[str, SitePause])
