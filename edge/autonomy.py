"""The site's autonomy: it notices that the cloud cannot be reached, and what that means for each run with a contract.

A Part of the executor. Since when the site is cut off is kept beside the events, so that a restart does not begin it anew; so
are, with the snapshots, the attempts that runs have begun since. What changes a run (that it goes back, or fails because it was
to wait no longer) is an event of the run. All else follows from the contract and the clock.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from edge.gate import Cut, Gate
from edge.home import Home
from edge.part import Fold, Hear, Part, Step
from sync.inputs import PeerHolds
from sync.outputs import Persist
from sync.values import Now
from workflow.contract import GRACE_MS, Contract, taken_after_ms
from workflow.event import Event
from workflow.events import FragmentCancelling
from workflow.fragment import Fragment
from workflow.home_events import FragmentSuperseded, HomeConfirmed
from workflow.rollback import begin_to_task
from workflow.steering_events import ContractChanged, RollbackBegun, TasksAdded
from workflow.steering_folds import wake_all

CUT = "cut"
BEGUN_BY = "autonomy/"


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot: attempts that were begun while cut off, runs that have gone back, and additions, by run."""

    begun: dict[str, int]
    undone: list[str]
    grown: dict[str, list[int]] = {}


class SiteAutonomy(Part):
    """Keeps the Gate, and does what it cannot put off."""

    name: ClassVar[str] = "autonomy"

    def __init__(self, home: Home, gate: Gate) -> None:
        self._home, self._gate = home, gate
        self.runs: dict[str, None] = {}  # With a contract; those that have ended leave it when they are looked for.
        self._undone: dict[str, None] = {}  # Have gone back since the link was cut.
        self._wake_ms: int | None = None
        self._was_linked = False

    def steps(self) -> dict[type, Step]:
        return {PeerHolds: lambda input, now, out: self._go_on(now, out)}

    def folds(self) -> dict[type, Fold]:
        return {RollbackBegun: self._fold_rollback, ContractChanged: self._fold_contract, TasksAdded: self._fold_growth}

    def hears(self) -> dict[type, Hear]:
        return {HomeConfirmed: self._confirm, FragmentSuperseded: self._confirm}

    def recall(self, kept: bytes | None) -> None:
        """Since when the site was cut off, as the log keeps it beside its events."""
        if kept is not None:
            self._was_linked = True
            since, _, versions = kept.partition(b" ")
            self._gate.cut = Cut(int(since), 0, versions=_VERSIONS.decode(versions) if versions else {}) if since else None

    def restored(self, now: Now, out: list[object]) -> None:
        """Until the first greeting the site has no link; if it had none before, it has been cut off since then."""
        known = self._gate.cut
        if known is not None:
            self._gate.cut = Cut(known.since_ms, now.mono_ms, self._was_linked, known.versions)
        else:  # How long it was away before this start, nobody knows.
            self._gate.unconfirmed |= {fragment.run: None for fragment, contract in self._living() if taken_after_ms(contract)}
            kept = self._cut(now, is_known=self._was_linked)
            out += [kept] if self.runs else []
        self._look(now)

    def lost(self, now: Now, out: list[object]) -> None:
        if self._gate.cut is None:
            out.append(self._cut(now, self._gate.silent_ms))
            self._look(now)

    def _cut(self, now: Now, silent_ms: int = 0, *, is_known: bool = True) -> Persist:
        """From now on, or since `silent_ms` ago. Gives what the log keeps of it."""
        fragments = self._home.fragments
        versions = {run: fragment.version for run, fragment in fragments.looks() if _counts(fragment)}
        since_ms = now.wall_ms - silent_ms
        self._gate.cut = Cut(since_ms, now.mono_ms - silent_ms, is_known, versions)
        return Persist(CUT, b"%d %b" % (since_ms, msgspec.msgpack.encode(versions)) if versions else b"%d" % since_ms)

    def linked(self, now: Now, out: list[object]) -> None:
        if (cut := self._gate.cut) is not None:
            self._gate.unconfirmed |= {f.run: None for f, contract in self._living() if self._may_be_gone(contract, cut, now)}
            self._gate.cut = None
            for counted in (self._gate.begun, self._gate.grown, self._undone):
                counted.clear()
            self._wake_ms = None
            if not self._gate.unconfirmed:
                out.append(Persist(CUT, b""))
        self._go_on(now, out)

    def _may_be_gone(self, contract: Contract, cut: Cut, now: Now) -> bool:
        """Has the site been cut off for so long that the cloud may have given the run to another?"""
        return bool(taken_after_ms(contract)) and contract.autonomy.gives_up_ms() <= cut.lasted_ms(now)

    def _confirm(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        """The run is this site's still, or is gone for good."""
        waited = bool(self._gate.unconfirmed)
        self._gate.unconfirmed.pop(run, None)
        if self._gate.cut is None:
            if waited and not self._gate.unconfirmed:
                out.append(Persist(CUT, b""))
            self._go_on(now, out)

    def settle(self, now: Now, out: list[object]) -> None:
        if self._wake_ms is not None and now.mono_ms >= self._wake_ms:
            self._act(now, out)

    def wake_mono_ms(self) -> int | None:
        return self._wake_ms

    def save(self) -> bytes:
        gate = self._gate
        if not (gate.begun or self._undone or gate.grown):
            return b""
        saved = Saved(dict(sorted(gate.begun.items())), sorted(self._undone), dict(sorted(gate.grown.items())))
        return msgspec.msgpack.encode(saved)

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self._gate.begun, self._undone, self._gate.grown = saved.begun, dict.fromkeys(saved.undone), saved.grown

    # Runs with a contract ---------------------------------------------------------------------------------------------

    def watch(self, fragment: Fragment, now: Now | None = None) -> None:
        """A run with a contract lives here, or has another contract."""
        self.runs[fragment.run] = None
        self._gate.watch(fragment)
        if now is not None:
            self._look(now)

    def begun_before(self, fragment: Fragment, time_ms: int) -> None:
        """The log tells of an attempt of a run with a contract, begun at `time_ms` (UTC)."""
        cut = self._gate.cut
        if cut is not None and not cut.is_before(fragment.run, fragment.version, time_ms):
            self._gate.note_begun(fragment.run)

    def _fold_rollback(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        if isinstance(event, RollbackBegun) and event.command.startswith(BEGUN_BY):
            self._undone[run] = None

    def _fold_growth(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        """Of the log, only what was added since the cut; what has just been decided, was."""
        cut, fragment = self._gate.cut, self._home.fragments.get(run)
        if cut is None or not cut.is_known or fragment is None or fragment.extras is None:
            return
        if not time_ms or not cut.is_before(run, fragment.version, time_ms):
            self._gate.grown.setdefault(run, []).append(len(fragment.extras.added) - 1)

    def _fold_contract(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        fragment = self._home.fragments.get(run)
        if fragment is None:
            return
        if fragment.contract is None:
            self._gate.forget(run)
        else:
            self.watch(fragment)
        self._home.woken.append(fragment)  # It may go on now, or no longer.
        wake_all(fragment)

    def _go_on(self, now: Now, out: list[object]) -> None:
        """What was held back and need be no longer, is looked at again."""
        gate = self._gate
        for run in list(gate.parked):
            fragment = self._home.fragments.get(run)
            if fragment is None:
                gate.forget(run)
            elif run in gate.doubted or gate.grown.get(run):
                continue
            elif fragment.contract is None or not gate.bar(fragment, now):
                out += gate.release(run)
                wake_all(fragment)
                self._home.time(fragment, out)
                self._home.woken.append(fragment)

    # What cannot be put off -------------------------------------------------------------------------------------------

    def _living(self) -> Iterator[tuple[Fragment, Contract]]:
        for run in list(self.runs):
            fragment = self._home.fragments.get(run)
            if fragment is None or fragment.contract is None:
                del self.runs[run]
            else:
                yield fragment, fragment.contract

    def _look(self, now: Now) -> None:
        """When the next run has to do something because the site is cut off."""
        cut = self._gate.cut
        if cut is None or not self.runs:
            self._wake_ms = None
            return
        self._wake_ms = now.mono_ms + GRACE_MS

    def _act(self, now: Now, out: list[object]) -> None:
        """Go back, or fail, as the contracts say; then see when to look again."""
        cut, lasts_on = self._gate.cut, False
        for fragment, contract in list(self._living()) if cut is not None else ():
            assert cut is not None, "linked sites do not act alone"
            autonomy, level = contract.autonomy, contract.level
            if fragment.stopping:
                continue
            if level.kind == "strong" and self._is_over(fragment, contract, now):
                since = utc(cut.since_ms)
                said = f"unavailable: strong consistency, and the cloud cannot be reached since {since}"
                self._home.record(fragment, [FragmentCancelling("", said, "failed")], now, out)
                continue
            then = self._gate.autonomy(fragment.run, contract, now)
            if then == "compensate" and fragment.run not in self._undone and self._may_go_back(fragment):
                reason = f"the cloud cannot be reached since {utc(cut.since_ms)}"
                command = f"{BEGUN_BY}{fragment.run}/{cut.since_ms}"
                self._home.record(fragment, [begin_to_task(fragment, -1, command, reason, [])], now, out)
            may_come = level.kind == "strong" or "compensate" in (autonomy.when_cut, autonomy.then)
            lasts_on = lasts_on or may_come
        self._wake_ms = now.mono_ms + 1_000 if lasts_on else None

    def _may_go_back(self, fragment: Fragment) -> bool:
        return fragment.extras is None or fragment.extras.rollback is None

    def _is_over(self, fragment: Fragment, contract: Contract, now: Now) -> bool:
        """Has a strong run that could go on waited for the link for as long as it is to?"""
        level, parked = contract.level, self._gate.parked.get(fragment.run)
        if parked is None or (level.when_cut == "wait" and not level.wait_ms):
            return False
        return now.mono_ms - parked[0] >= max(level.wait_ms, GRACE_MS)


def _counts(fragment: Fragment) -> bool:
    """May something of the run be counted from the cut on: attempts of one with a contract, additions to any?"""
    return fragment.contract is not None or (fragment.extras is not None and bool(fragment.extras.added))


def utc(time_ms: int) -> str:
    """A moment (UTC ms) for people, to the second."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).isoformat().replace("+00:00", "Z")


_VERSIONS = msgspec.msgpack.Decoder(dict[str, int])
_SAVED = msgspec.msgpack.Decoder(Saved)
