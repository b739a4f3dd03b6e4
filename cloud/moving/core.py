"""Runs that move, a Part of the planner: planned moves, of one run or of all at a site that is drained.

The home is asked to give the run up (`YieldRequested`). When it has (`FragmentYielded`), the cloud's replica is what it had, by
the hash, and is given to the next home with its whole state under the next epoch (`FragmentMoved`), which takes it
(`FragmentTaken`). So nobody decides under an epoch but its home. What people ordered meanwhile and the old home has not answered
is told to the new one, after the state.
"""

from typing import TYPE_CHECKING, ClassVar

import msgspec

from cloud.fleet import Site, SiteDrain
from cloud.moving.choosing import bound_by, target_for
from cloud.moving.inputs import DrainSite, MoveRun, MoveSettled
from cloud.moving.records import Move, Saved
from cloud.outcomes import Outcome
from cloud.part import Fold, Hear, Part, Step
from cloud.port import Problem, site_unknown
from cloud.runs import Run
from sync.outputs import Reply
from sync.values import Now
from workflow.event import Event
from workflow.events import CancelRequested, FragmentEnded, RunCreated, RunEnded
from workflow.home_events import FragmentMoved, FragmentTaken, FragmentYielded, SiteDrainOrdered, YieldRequested
from workflow.homes import following
from workflow.moving import STATE_BYTES_MAX, state_for, without_hands
from workflow.saved import state_hash

if TYPE_CHECKING:
    from cloud.planner import Planner

GREETINGS_MS = 10_000
"""So long after the cloud's start a run that was given up waits for the site it is meant for, which may be about to link."""
DRAINED = "drained/"
"""Before a site's name: what whoever waits for its draining waits for."""


class Moving(Part):
    """`moves` are those under way, by run; `_yielded` those of them that wait for a site."""

    name: ClassVar[str] = "moving"

    def __init__(self, planner: "Planner") -> None:
        self._planner = planner
        self.moves: dict[str, Move] = {}
        self._yielded: dict[str, None] = {}
        self._greeted_by_ms = 0  # Until then (monotonic) a site that has not linked since the cloud's start may be about to.
        self._waits = False  # Does a run that was given up wait for that?
        self._looked = -1  # At which version of the fleet the sites that are drained were looked through.

    def steps(self) -> dict[type, Step]:
        return {MoveRun: self._ask, DrainSite: self._drain}

    def own_folds(self) -> dict[type, Fold]:
        return {
            YieldRequested: self._fold_ordered,
            FragmentMoved: self._fold_moved,
            SiteDrainOrdered: self._fold_drain,
            RunEnded: lambda site, run, event, time_ms: self._forget(run),
        }

    def site_folds(self) -> dict[type, Fold]:
        return {FragmentYielded: self._fold_yielded, FragmentTaken: self._fold_taken}

    def hears(self) -> dict[type, Hear]:
        return {FragmentTaken: self._settled, RunCreated: self._born, FragmentEnded: self._settled}

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        for run, move in self.moves.items():
            if move.site == site and not move.is_sent and move.stage == "ordered":
                self._send(run, move, now, out)

    def untell(self, site: str) -> None:
        for move in self.moves.values():
            move.is_sent = move.is_sent and move.site != site

    def on_their_way(self, site: str) -> list[str]:
        """Runs that were given to the site, and that it has not taken."""
        return [run for run, move in self.moves.items() if move.stage == "given" and move.to == site]

    def restored(self, now: Now, out: list[object]) -> None:
        self._greeted_by_ms = now.mono_ms + GREETINGS_MS

    def wake_mono_ms(self) -> int | None:
        """When a run that was given up goes on without the site that it waits for; None if none waits."""
        return self._greeted_by_ms if self._waits else None

    def settle(self, now: Now, out: list[object]) -> None:
        self._waits = False
        for run in list(self._yielded) if self._yielded else ():
            self._give(self._planner.runs[run], self.moves[run], now, out)
        version = self._planner.fleet.version
        if version != self._looked:
            self._looked = version
            for site in list(self._planner.fleet.sites.values()):
                if site.drain is not None:
                    self._empty(site, site.drain, now, out)

    def ended(self, run: Run, how: Outcome, now: Now, out: list[object]) -> None:
        out.append(MoveSettled(run.id))
        out += [MoveSettled(f"{DRAINED}{site}") for site in run.sites if self._planner.fleet.site(site).drain is not None]

    def words(self, run: str) -> str:
        """What of the run's move is still to come; empty if it does not move."""
        move = self.moves.get(run)
        if move is None:
            return ""
        to = f" to {move.to}" if move.to else ""
        if move.stage == "ordered":
            return f"it is to move from {move.site}{to} once nothing of it is in anybody's hands there"
        if move.stage == "yielded":
            return f"{move.site} has given it up, and it waits for a site: {move.why}"
        return f"it is on its way from {move.site}{to}"

    def target(self, run: Run, to: str = "") -> Site | str:
        """Where the run may go on, or why nowhere."""
        return target_for(run, self._planner.fleet, to, self._planner.taking.barred(run.id))

    # Asked ------------------------------------------------------------------------------------------------------------

    def _ask(self, input: MoveRun, now: Now, out: list[object]) -> None:
        run = self._planner.runs.get(input.run)
        refusal = self._refusal(run, input) if run is not None else ""
        if run is None:
            detail = f"run {input.run} is not active: it has ended or never was"
            out.append(Reply(input.token, Problem(409, "run_not_active", detail)))
        elif input.force:
            out.append(Reply(input.token, self._planner.taking.take(run, input, now, out)))
        elif refusal:
            out.append(Reply(input.token, Problem(409, "cannot_move", refusal)))
        elif (known := self.moves.get(run.id)) is not None:
            out.append(Reply(input.token, known.command))
        else:
            out.append(Reply(input.token, self.order(run, input.to, input.reason, now, out)))

    def _refusal(self, run: Run, input: MoveRun) -> str:
        if not run.sites or run.fragments[0] is None:
            return f"run {run.id} has no home yet: it goes where there is room"
        if (known := self.moves.get(run.id)) is not None:
            return "" if input.to in ("", known.to) else f"run {run.id} is moving already: {self.words(run.id)}"
        found = self.target(run, input.to)
        return found if isinstance(found, str) else ""

    def order(self, run: Run, to: str, reason: str, now: Now, out: list[object]) -> str:
        """Ask the run's home to give it up, for this site or any; the command's id."""
        fragment = run.fragments[0]
        assert fragment is not None, "only a run that has a home leaves it"
        command = self._planner.ids.next("c")
        asked = YieldRequested(command, fragment.epoch, True, to, reason)
        self._planner.emit(self._planner.stream, run.id, fragment.epoch, asked, now, out)
        self._planner.changed[run.id] = None
        self._send(run.id, self.moves[run.id], now, out)
        return command

    def _send(self, run: str, move: Move, now: Now, out: list[object]) -> None:
        if self._planner.fleet.site(move.site).greeted:
            asked = YieldRequested(move.command, move.epoch, True, move.to, move.reason)
            self._planner.emit(self._planner.site_stream(move.site), run, move.epoch, asked, now, out)

    # Sites that are drained -------------------------------------------------------------------------------------------

    def _drain(self, input: DrainSite, now: Now, out: list[object]) -> None:
        known = {str(name): site for name, site in self._planner.fleet.sites.items()}
        for name in filter(None, (input.site, input.to)):
            if name not in known:
                out.append(Reply(input.token, site_unknown(name, known)))
                return
        if input.to == input.site:
            detail = f"site {input.site} cannot be drained to itself"
            out.append(Reply(input.token, Problem(422, "invalid_request", detail)))
            return
        if (known[input.site].drain is not None) is not input.draining:
            order = SiteDrainOrdered(input.site, input.draining, input.to, input.reason, now.wall_ms)
            self._planner.note("", order, now, out)
            if not input.draining:
                self._keep_what_stays(input.site, now, out)
        out.append(Reply(input.token, ""))

    def _keep_what_stays(self, site: str, now: Now, out: list[object]) -> None:
        """The site is as others again: what has not left it yet stays."""
        for run, move in list(self.moves.items()):
            if move.site == site and move.stage == "ordered" and move.drains:
                kept = YieldRequested(move.command, move.epoch, wanted=False)
                self._planner.emit(self._planner.stream, run, move.epoch, kept, now, out)
                if move.is_sent:
                    self._planner.emit(self._planner.site_stream(site), run, move.epoch, kept, now, out)

    def _empty(self, site: Site, drain: SiteDrain, now: Now, out: list[object]) -> None:
        """Let everything that can leave the site begin to."""
        for run in self.staying(site.id):
            if not isinstance(self.target(run, drain.to), str):
                self.order(run, drain.to, drain.reason or f"{site.id} is drained", now, out)

    def staying(self, site: str) -> list[Run]:
        """Runs at the site that are not told to leave it."""
        looks = self._planner.runs.looks()
        return [run for _, run in looks if site in run.sites and run.id not in self.moves and _is_there(run, site)]

    def why_stays(self, run: Run, site: Site) -> str:
        """Why a run stays at a site that is drained."""
        found = self.target(run, site.drain.to if site.drain is not None else "")
        return bound_by(run) or (found if isinstance(found, str) else "it is about to be asked to leave")

    def _born(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        if self._planner.fleet.site(site).drain is not None:
            self._looked = -1  # A schedule or a parent there has begun a run: it leaves, too.

    # Given up, given, taken -------------------------------------------------------------------------------------------

    def _give(self, run: Run, move: Move, now: Now, out: list[object]) -> None:
        """Give a run that has no home to the next one; if no other site can take it now, back to where it was."""
        planner, fleet = self._planner, self._planner.fleet
        found = self.target(run, move.to)
        if isinstance(found, str):
            if now.mono_ms < self._greeted_by_ms and (late := self._not_greeted(move)):
                move.why, self._waits = f"site {late} has not linked since the cloud has started", True
                return
            move.why, found = found, fleet.site(move.site)
        if move.why.startswith("its state") or not (found.greeted and found.linked):
            return
        fragment, old = run.fragments[0], fleet.site(move.site)
        assert fragment is not None, "what was given up is known here"
        epoch = following(move.epoch)
        body = state_for(fragment, found.id, epoch)
        if len(body) > STATE_BYTES_MAX and found.id != old.id:
            move.why, move.to = f"it is too large to be sent ({len(body):,} bytes, compressed)", ""
            return
        planner.acquaint(found.id, run.plan, now, out)
        moved = self.moved(run, move.command, found.id, epoch, body)
        planner.emit(planner.site_stream(found.id), run.id, epoch, moved, now, out)
        old.let_go(len(run.places))
        found.take_on(len(run.places))
        self.send_on(run, found.id, epoch, now, out)

    def _not_greeted(self, move: Move) -> str:
        """A site that the run may be meant for, and that has not linked since the cloud's start."""
        meant = (site for site in self._planner.fleet.sites.values() if site.id != move.site and move.to in ("", site.id))
        return next((str(site.id) for site in meant if not site.greeted), "")

    def moved(self, run: Run, command: str, site: str, epoch: int, body: bytes, taken_from: str = "") -> FragmentMoved:
        """What gives the run to its next home, with what it brings along."""
        begun_ms, spent = self._planner.lifetimes.begun_ms(run.id), self._planner.escalations.mandates.whole(run)
        return FragmentMoved(command, site, epoch, body, run.created(), taken_from, begun_ms, spent if spent.awards else None)

    def give_again(self, run: Run, site: str, now: Now, out: list[object]) -> int:
        """What gave the run to the site never got there, and is told once more. Returns the bytes of it."""
        planner, fragment = self._planner, run.fragment(site)
        assert fragment is not None, "what was given is known here"
        planner.acquaint(site, run.plan, now, out)
        body, taken_from = state_for(fragment, site, fragment.epoch), next(iter(planner.taking.superseded.get(run.id, ())), "")
        moved = self.moved(run, self.moves[run.id].command, site, fragment.epoch, body, taken_from)
        planner.emit(planner.site_stream(site), run.id, fragment.epoch, moved, now, out)
        return len(body)

    def give_back(self, run: Run, site: str, now: Now, out: list[object]) -> int:
        """The site has lost its log: this is what it had of the run, as far as it was heard, under the next epoch. What was in
        hand then has an unknown outcome. Returns the bytes of it."""
        planner, fragment = self._planner, run.fragment(site)
        assert fragment is not None, "what a site has not adopted is released to it"
        epoch = following(max(fragment.epoch, run.epoch))
        why = f"{site} has lost its log: this was in hand when it was last heard"
        body = state_for(without_hands(fragment, why), site, epoch)
        if len(body) > STATE_BYTES_MAX:
            words = f"{site} has lost its log, and this is too large to be given back ({len(body):,} bytes, compressed)"
            planner.end(run, Outcome("failed", words), now, out)
            return 0
        planner.acquaint(site, run.plan, now, out)
        moved = self.moved(run, planner.ids.next("c"), site, epoch, body)
        planner.emit(planner.site_stream(site), run.id, epoch, moved, now, out)
        return len(body)

    def send_on(self, run: Run, site: str, epoch: int, now: Now, out: list[object]) -> None:
        """What was asked of the run, and its old home has not answered, is asked of the new one."""
        planner = self._planner
        view = planner.intents.commands.get(run.cancelling)
        if view is not None and view.state == "pending":
            planner.emit(planner.site_stream(site), run.id, epoch, CancelRequested(view.id, view.detail), now, out)
        planner.orders.catch_up(site, now, out)
        planner.children.greet(run, site, now, out)

    def _settled(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        out.append(MoveSettled(run))
        out += [MoveSettled(f"{DRAINED}{known.id}") for known in self._planner.fleet.sites.values() if known.drain is not None]

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_ordered(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, YieldRequested)
        self._planner.ids.note(event.command)
        if not event.wanted:
            self._forget(run)
        elif (known := self.moves.get(run)) is not None:
            known.is_sent = known.is_sent or bool(reader)
        elif (at := self._planner.runs.get(run)) is not None and at.sites:
            site = reader or at.sites[0]
            drain = self._planner.fleet.site(site).drain
            drains = drain is not None and event.reason in (drain.reason, f"{site} is drained")
            move = Move(event.command, site, event.to, event.epoch, time_ms, event.reason, drains, bool(reader))
            self.moves[run] = move

    def _fold_yielded(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, FragmentYielded)
        known = self._planner.runs.get(run)
        if known is None or known.fragment(site) is None or known.epoch > event.epoch:
            return  # Long past: a cloud that has lost its disk is told of it again.
        move = self.moves.setdefault(run, Move(event.command, site, "", event.epoch, time_ms))
        move.stage = "yielded"
        self._yielded[run] = None
        fragment = known.fragments[0]
        if fragment is None or fragment.version != event.version or state_hash(fragment.save()) != event.hash:
            move.why = f"its state at the cloud is not what {site} had at version {event.version}: compare their logs"

    def _fold_moved(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, FragmentMoved)
        known = self._planner.runs[run]
        old = event.site if event.site in known.sites or not known.sites else known.sites[0]
        known.move(event)
        self._planner.touch(run)
        self._planner.intents.hand_on(run, old, event.site)
        self._yielded.pop(run, None)
        if event.taken_from:
            self.moves.pop(run, None)
        move = self.moves.setdefault(run, Move(event.command, old, event.site, event.epoch, time_ms))
        move.stage, move.to = "given", event.site

    def _fold_taken(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, FragmentTaken)
        known = self._planner.runs.get(run)
        if known is None or known.epoch <= event.epoch:
            self._forget(run)

    def _forget(self, run: str) -> None:
        self.moves.pop(run, None)
        self._yielded.pop(run, None)

    def _fold_drain(self, reader: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, SiteDrainOrdered)
        drain = SiteDrain(event.to, event.reason, event.at_ms) if event.draining else None
        self._planner.fleet.site(event.site).drain = drain
        self._planner.fleet.version += 1

    def save(self) -> bytes:
        sites = self._planner.fleet.sites
        drains = {str(name): drain for name in sorted(sites) if (drain := sites[name].drain) is not None}
        moves = {run: msgspec.structs.replace(self.moves[run], why=_lasting(self.moves[run])) for run in sorted(self.moves)}
        return msgspec.msgpack.encode(Saved(moves, drains)) if drains or moves else b""

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.moves = saved.moves
        self._yielded = {run: None for run, move in saved.moves.items() if move.stage == "yielded"}
        for site, drain in saved.drains.items():
            self._planner.fleet.site(site).drain = drain


def _is_there(run: Run, site: str) -> bool:
    fragment = run.fragment(site)
    return fragment is not None and not fragment.outcome


def _lasting(move: Move) -> str:
    """What is in the way for longer than the moment."""
    return move.why if move.why.startswith("its state") else ""


_SAVED = msgspec.msgpack.Decoder(Saved)
