"""Runs that have ended here and are to go on: a person retries what failed, or has something done once more.

What has ended has left memory. So an order for it waits until the node has read the run's tombstone from the log (`Recall`,
answered by `Recalled`), and is decided on what that holds. Until it is answered the order is kept as unheard: whatever dies in
between finds it there at its next start.
"""

from dataclasses import dataclass, field

from edge.home import Home
from edge.unheard import UNHEARD, Unheard
from sync.commit import Snapshot
from sync.inputs import Recalled
from sync.outputs import Append, Persist, Recall, Save
from sync.values import Now, RunId
from workflow.commands import Steer
from workflow.event import Event
from workflow.events import CommandAnswered
from workflow.fragment import Fragment
from workflow.orders import Order
from workflow.saved import load_saved
from workflow.steering import AFTER_THE_END
from workflow.steering_events import CommandRequested, FragmentReopened


@dataclass(slots=True)
class Reopening:
    """Orders for runs that are not in memory. `unheard` may be another one after each restore, so it is handed in."""

    home: Home
    _waiting: dict[str, list[tuple[CommandRequested, Order]]] = field(default_factory=dict)
    _ended: dict[str, Fragment] = field(default_factory=dict)

    # While the log is folded ---

    def restore(self, tombstone: Snapshot) -> None:
        """A run had ended, and something of it comes later in the log."""
        self.keep(self._load(tombstone))

    def keep(self, fragment: Fragment) -> None:
        """It has ended; only the log knows whether it goes on."""
        self._ended[fragment.run] = fragment

    def reopen(self, run: str, event: FragmentReopened) -> None:
        """It goes on, if what is known of it is its state at that end: a tombstone tells of the last end, not of those before."""
        if run not in self.home.fragments and run in self._ended and self._ended[run].version == event.version:
            self.home.fragments[run] = self._ended.pop(run)

    def begin_anew(self) -> None:
        """The site's stream begins anew: none of those that had ended goes on."""
        self._ended.clear()

    def folded(self, lost: bool, out: list[object]) -> None:
        """The log ends here, and so have they. What came back after a loss came without their tombstones."""
        if lost:
            out += [Save(run, True, fragment.outcome, fragment.save()) for run, fragment in self._ended.items()]
        self._ended.clear()

    # Orders ---

    def ask(self, run: str, request: CommandRequested, order: Order, unheard: Unheard, out: list[object]) -> None:
        """An order for a run that is not in memory. When a link comes back, orders without an answer are heard again: what waits
        here already is not asked for twice."""
        if not isinstance(order, AFTER_THE_END):
            self._refuse(request.command, f"run {run} has already ended at {self.home.site}; allowed: retry, rerun, fork", out)
            return
        unheard.note(run, request)
        keep_unheard(unheard, out)
        if run not in self._waiting:
            out.append(Recall(run))
        waiting = self._waiting.setdefault(run, [])
        if request.command not in [asked.command for asked, _ in waiting]:
            waiting.append((request, order))

    def recalled(self, input: Recalled, unheard: Unheard, now: Now, out: list[object], *, is_gone: bool) -> None:
        """Decide what has waited for it. The first order may have opened the run for those that follow, and it may have ended
        again by that: what follows is decided on that end, not on the one that was read. If the run has another home by now, the
        cloud asks that one."""
        if is_gone and input.run not in self.home.fragments:
            self._waiting.pop(input.run, None)
            unheard.said.pop(input.run, None)
            keep_unheard(unheard, out)
            return
        latest = self.home.fragments.get(input.run)
        tombstone = input.tombstone if input.tombstone is not None and input.tombstone.state != "moved" else None
        for request, order in self._waiting.pop(input.run, ()):
            steer = Steer(request.command, order)
            if latest is None and tombstone is not None:
                latest = self._load(tombstone)
            if latest is None:
                self._refuse(request.command, f"nothing is kept of run {input.run} at {self.home.site}", out)
            elif latest.outcome:
                self._decide(latest, steer, now, out)
            else:
                self.home.decide(latest, steer, now, out)
            unheard.answer(input.run, CommandAnswered(request.command, True))
        keep_unheard(unheard, out)

    def _decide(self, fragment: Fragment, steer: Steer, now: Now, out: list[object]) -> None:
        events = fragment.decide(steer, now)
        if isinstance(events[0], FragmentReopened):
            self.home.reopen(fragment, events, now, out)
            return
        for event in events:
            # It stays as it is on both sides, so it may not count what was refused.
            self._tell(event, out)

    def _refuse(self, command: str, detail: str, out: list[object]) -> None:
        self._tell(CommandAnswered(command, False, detail), out)

    def _tell(self, event: Event, out: list[object]) -> None:
        out.append(Append(self.home.stream, "", 0, event))

    def _load(self, tombstone: Snapshot) -> Fragment:
        saved = load_saved(tombstone.body)
        return Fragment.restore(RunId(tombstone.run), self.home.plans[saved.definition], saved)


def keep_unheard(unheard: Unheard, out: list[object]) -> None:
    """Write down what is not answered, if it has changed."""
    if (saved := unheard.save()) is not None:
        out.append(Persist(UNHEARD, saved))
