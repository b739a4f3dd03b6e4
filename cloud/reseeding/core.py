"""Re-seeding, a Part of the planner: a site that lacks what was cut of its stream is told what holds, in a new incarnation of it.

What the cloud keeps of each site is folded from its stream: what it was told, and what not. So once `StreamBegun` says that
nothing has been told, the greeting tells everything, as it tells a new site. Only the order is its own:

1. `StreamBegun`, and with it the definitions that the site knew: what comes back of its own stream, if that was lost, needs them.
2. When all is here that the site did while it was away (`PeerLevel`): whatever it has answered is not told again. Runs that it
   has not adopted are released page by page: a hundred thousand of them are many commits and not one.
3. What a greeting tells, and `StateTold`. The site's answer (`StateTaken`) is the end.

A site that has lost events of its own stream that were cut here, too (its disk, or it was restored from an old copy), begins a
new incarnation of its own (`StreamBegun.ended`). It has nothing then, and is given back what the cloud knows of it: its parts of
runs, like moves to the same site under the next epoch, its schedules, its documents. A node that comes with the stream that has
ended is refused.

Until then the stream is not written to otherwise: as after a start of the cloud, what is decided waits for the greeting. A cloud
that dies in between finds at its next start what it has told, and tells the rest.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import msgspec

from cloud.greeting import greet
from cloud.part import Fold, Part, Step
from cloud.placement import Placement
from cloud.reseeding.inputs import RenewStream
from cloud.runs import Run, load_saved_run
from sync.inputs import PeerLevel
from sync.link.standing import Reseeding
from sync.outputs import Reply
from sync.values import Now, StreamId, stream_id, stream_incarnation
from workflow.event import Event
from workflow.events import RunEnded
from workflow.home_events import FragmentMoved
from workflow.reseed_events import StateTaken, StateTold, StreamBegun

if TYPE_CHECKING:
    from cloud.planner import Planner

PAGE = 500
PAGE_BYTES = 8 << 20
"""Runs that are given in one commit, and bytes of them."""


class Reseed(msgspec.Struct, array_like=True):
    """The last one of a site. Times are UTC ms, 0 if it is not so far."""

    incarnation: int
    before: str
    held: int
    cut: int
    reason: str
    begun_ms: int
    told_ms: int = 0
    taken_ms: int = 0
    own: int = 1  # Which incarnation of its own stream the site is to write,
    ended_at: int = 0  # up to where the one before was known here,
    ended_cut: int = 0  # and up to where it was cut: who holds more of it is another node.
    gives_back: bool = False


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    reseeds: dict[str, Reseed]
    returning: dict[str, list[str]]


class Reseeds(Part):
    """`reseeds` are the last ones by site. `returning`: runs that are to be given back to a site that has lost them; `left`: what
    is still to be given, of the moment only."""

    name: ClassVar[str] = "reseeding"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self.reseeds: dict[str, Reseed] = {}
        self.returning: dict[str, dict[str, None]] = {}
        self.left: dict[str, deque[str]] = {}
        self.giving = "", ""  # The site and the run of which all may be told just now.
        self._folding = True

    def steps(self) -> dict[type, Step]:
        return {RenewStream: self._renew, PeerLevel: self._level}

    def own_folds(self) -> dict[type, Fold]:
        return {
            StreamBegun: self._fold_begun,
            StateTold: self._fold_told,
            FragmentMoved: self._fold_given,
            RunEnded: lambda site, run, event, time_ms: self._forget(run),
        }

    def site_folds(self) -> dict[type, Fold]:
        return {StateTaken: self._fold_taken}

    def restored(self, now: Now, out: list[object]) -> None:
        self._folding = False

    def incarnation(self, site: str) -> int:
        """Which one of the stream for the site is written now."""
        known = self.reseeds.get(site)
        return known.incarnation if known is not None else 1

    def own(self, site: str) -> int:
        """Which incarnation of its own stream the site is to write."""
        known = self.reseeds.get(site)
        return known.own if known is not None else 1

    def is_awaited(self, site: str) -> bool:
        """Has its stream begun anew, and not all been told in it yet?"""
        known = self.reseeds.get(site)
        return known is not None and not known.told_ms

    def view(self, site: str) -> Reseeding | None:
        """How far the last one of the site is."""
        if (known := self.reseeds.get(site)) is None:
            return None
        left = len(self.left.get(site, ()))
        state = "taken" if known.taken_ms else "told" if known.told_ms else "telling" if left else "begun"
        stream = self._planner.site_stream(site)
        return Reseeding(stream, state, known.reason, known.begun_ms, known.told_ms, known.taken_ms, left)

    def wake_mono_ms(self) -> int | None:
        """At once, while there is more to give."""
        return 0 if self.left else None

    # Deciding ---------------------------------------------------------------------------------------------------------

    def _renew(self, input: RenewStream, now: Now, out: list[object]) -> None:
        planner, site, lacked, lost = self._planner, input.site, input.lacked, input.lost
        if planner.site_stream(site) == input.stream:  # Else it has been done already.
            number = stream_incarnation(input.stream) + 1
            known = sorted(planner.fleet.site(site).definitions)
            words = [
                f"{site} holds {each.stream} up to event {each.seq}, and it was cut up to event {each.cut_seq}"
                for each in (lacked, lost)
                if each is not None
            ]
            held, cut = (lacked.seq, lacked.cut_seq) if lacked is not None else (0, 0)
            ended = (lost.stream, input.position, lost.cut_seq) if lost is not None else ("", 0, 0)
            begun = StreamBegun(number, input.stream, held, cut, "; ".join(words), now.wall_ms, *ended)
            planner.emit(stream_id(planner.node, number, site), "", 0, begun, now, out)
            for ref in known:
                planner.acquaint(site, planner.plans[ref], now, out)
        out.append(Reply(input.token, planner.site_stream(site)))

    def _level(self, input: PeerLevel, now: Now, out: list[object]) -> None:
        site, planner = input.peer, self._planner
        if self.is_awaited(site) and site not in self.left:
            unreleased = [run for run, known in planner.runs.whole() if site in known.unreleased]
            self.left[site] = deque([*unreleased, *planner.moving.on_their_way(site), *self.returning.get(site, ())])

    def settle(self, now: Now, out: list[object]) -> None:
        for site, left in list(self.left.items()) if self.left else ():
            given = 0
            for _ in range(min(PAGE, len(left))):
                if (given := given + self._give(site, left.popleft(), now, out)) > PAGE_BYTES:
                    break
            if not left:
                del self.left[site]
                self._conclude(site, now, out)

    def _give(self, site: str, name: str, now: Now, out: list[object]) -> int:
        """Returns about how many bytes that took."""
        planner = self._planner
        run = planner.runs.get(name)
        if run is None:
            return 0
        if site in run.unreleased:
            planner.release(run, site, Placement(run.sites, run.places), now, out)
            self.giving = site, name
            planner.dependencies.released(name, now, out)
            self.giving = "", ""
            return len(run.inputs)
        if name in self.returning.get(site, ()):
            return planner.moving.give_back(run, site, now, out)
        return planner.moving.give_again(run, site, now, out)

    def _conclude(self, site: str, now: Now, out: list[object]) -> None:
        planner = self._planner
        planner.fleet.site(site).greeted = True
        planner.fleet.version += 1
        greet(planner, site, now, out)
        planner.taking.linked(site, now, out)
        if self.reseeds[site].gives_back:
            planner.schedules.give_back(site, now, out)
            planner.documents.give_back(site, now, out)
        rules, tokens = planner.rules.told.get(site, {}), planner.agent_tokens.held.get(site, {})
        planner.note(site, StateTold(self.incarnation(site), sorted(rules), sorted(tokens)), now, out)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_begun(self, site: str, run: str, event: Event, time_ms: int) -> None:
        """Nothing has been told to the site."""
        assert isinstance(event, StreamBegun)
        planner, entry = self._planner, self._planner.fleet.site(site)
        self._note(site, event)
        self.left.pop(site, None)
        entry.greeted = False
        entry.definitions.clear()
        for known in self._concerned(site):
            known.untell(site)
            planner.unsaved[known.id] = None
        planner.intents.untell(site)
        planner.schedules.untell(site)
        planner.parts.untell(site)

    def _note(self, site: str, event: StreamBegun) -> None:
        said = event.incarnation, event.before, event.held, event.cut, event.reason, event.at_ms
        before, known = self.reseeds.get(site), Reseed(*said)
        self.reseeds[site] = known
        if before is not None:
            known.own, known.ended_at, known.ended_cut = before.own, before.ended_at, before.ended_cut
            known.gives_back = before.gives_back and not before.taken_ms
        if event.ended:
            known.own = stream_incarnation(StreamId(event.ended)) + 1
            known.ended_at, known.ended_cut, known.gives_back = event.ended_at, event.ended_cut, True
            self.returning[site] = dict.fromkeys(self._lost_at(site))
            self._planner.fleet.forget_agents(site)
            if (pause := self._planner.fleet.site(site).pause) is not None:
                pause.is_sent = pause.is_taken = False

    def _lost_at(self, site: str) -> Iterator[str]:
        """The runs that the site had adopted, and that have not ended there."""
        runs = self._planner.runs
        for name in list(runs):
            if runs.is_packed(name):
                saved = load_saved_run(runs.packed(name))
                if site in saved.sites and saved.fragments[saved.sites.index(site)]:
                    yield name
            elif (fragment := runs[name].fragment(site)) is not None and not fragment.outcome:
                yield name

    def _fold_given(self, site: str, run: str, event: Event, time_ms: int) -> None:
        if site in self.returning:
            self.returning[site].pop(run, None)

    def _forget(self, run: str) -> None:
        for runs in self.returning.values():
            runs.pop(run, None)

    def _concerned(self, site: str) -> Iterator[Run]:
        """Runs of which the site may not have been told all. While a log is folded those of its snapshots are packed."""
        runs = self._planner.runs
        for name in list(runs) if self._folding else ():
            if runs.is_packed(name):
                saved = load_saved_run(runs.packed(name))
                if site in saved.sites and (saved.children or not all(saved.fragments)):
                    yield runs[name]
        yield from (run for _, run in runs.whole() if site in run.sites)

    def _fold_told(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, StateTold)
        if (known := self.reseeds.get(site)) is not None and known.incarnation == event.incarnation:
            known.told_ms = time_ms

    def _fold_taken(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, StateTaken)
        if (known := self.reseeds.get(site)) is not None and known.incarnation == event.incarnation:
            known.taken_ms = time_ms

    def save(self) -> bytes:
        if not self.reseeds:
            return b""
        returning = {site: list(self.returning[site]) for site in sorted(self.returning) if self.returning[site]}
        return msgspec.msgpack.encode(Saved({site: self.reseeds[site] for site in sorted(self.reseeds)}, returning))

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.reseeds = saved.reseeds
        self.returning = {site: dict.fromkeys(runs) for site, runs in saved.returning.items()}


_SAVED = msgspec.msgpack.Decoder(Saved)
