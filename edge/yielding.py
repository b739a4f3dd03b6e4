"""Runs that leave this site for another, and that come from another. A Part of the executor.

A run that is to leave gives out nothing new (`FragmentYielding`, folded into the fragment, so that a restart and every replica
know it). Once nothing of it is in anybody's hands it is given up in one commit: from `FragmentYielded` on this site decides no
more for it. What the cloud still says for it here is left alone: the cloud sends it on to the next home, for it reads in the same
stream that no answer stands before the yielding.
"""

from typing import ClassVar

import msgspec

from edge.health import UNKNOWN
from edge.home import Home
from edge.inputs import AttemptKey, Outrun
from edge.part import Fold, Hear, Part
from sync.outputs import Append, ClearTimer, Save
from sync.values import Now
from workflow.commands import Complete, Decline
from workflow.event import Event
from workflow.events import FragmentEnded
from workflow.facts import adopt, adopt_failure, failure_of, refused_by_the_end
from workflow.fragment import Fragment
from workflow.home_events import (
    FactFound,
    FactTold,
    FailureFound,
    FailureTold,
    FragmentDropped,
    FragmentMoved,
    FragmentSuperseded,
    FragmentTaken,
    FragmentYielded,
    FragmentYielding,
    HomeConfirmed,
    HomeDoubted,
    YieldRequested,
)
from workflow.homes import BORN_EPOCH, attempt_epoch
from workflow.moving import definition_of, restore_moved, stays_for
from workflow.saved import state_hash

MOVED = "moved"
"""The state under which the log keeps what a run was here before it went."""
GONE_MAX = 10_000
"""Runs that were given up and are still known as such, the latest: only what the cloud wrote before it knew asks for them."""


class Yielding(Part):
    """`gone` are the runs that this site has given up, with the epoch under which it had them; `taken` those of them that were
    taken from it, with the epoch of the home that has them since."""

    name: ClassVar[str] = "yielding"

    def __init__(self, home: Home) -> None:
        self._home = home
        self._leaving: dict[str, str] = {}  # Which order each is to leave by.
        self.gone: dict[str, int] = {}
        self.taken: dict[str, int] = {}

    def folds(self) -> dict[type, Fold]:
        kinds = (FragmentYielding, FragmentYielded, FragmentTaken, FragmentEnded, FragmentDropped, HomeDoubted, HomeConfirmed)
        return dict.fromkeys(kinds, self._fold)

    def hears(self) -> dict[type, Hear]:
        return {
            YieldRequested: self._order,
            FragmentMoved: self._take,
            FragmentSuperseded: self._drop,
            FactTold: self._settle_fact,
            FailureTold: self._settle_fact,
        }

    def settle(self, now: Now, out: list[object]) -> None:
        for run in list(self._leaving) if self._leaving else ():
            fragment = self._home.fragments.get(run)
            if fragment is None:
                del self._leaving[run]
            elif not self.stays_for(fragment):
                self._give_up(fragment, self._leaving[run], out)

    def stays_for(self, fragment: Fragment) -> str:
        """What keeps it here; empty if nothing."""
        living = self._home.children.living
        if fragment.run in living:
            return "children that it began here have not ended"
        if fragment.epoch == BORN_EPOCH and any(fragment.run in children for children in living.values()):
            return "its parent began it here, and waits for it"
        return stays_for(fragment)

    def save(self) -> bytes:
        known = (self._leaving, self.gone, self.taken, self._home.gate.doubted)
        return msgspec.msgpack.encode(known) if any(known) else b""

    def restore(self, body: bytes) -> None:
        self._leaving, self.gone, *more = msgspec.msgpack.decode(body)
        self.taken = more[0] if more else {}
        self._home.gate.doubted = more[1] if len(more) > 1 else {}

    def begin_anew(self) -> None:
        """The site's stream begins anew: it has given nothing up."""
        for known in (self._leaving, self.gone, self.taken):
            known.clear()

    # Leaving ----------------------------------------------------------------------------------------------------------

    def _order(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        assert isinstance(event, YieldRequested)
        fragment = self._home.fragments.get(run)
        if fragment is None or fragment.epoch != event.epoch or event.wanted is (run in self._leaving):
            return  # It has ended, or is gone: the cloud hears of it.
        yielding = FragmentYielding(event.command, event.wanted, event.reason)
        self._home.record(fragment, [yielding], now, out)

    def _give_up(self, fragment: Fragment, command: str, out: list[object]) -> None:
        body = fragment.save()
        self._let_go(fragment, out)
        yielded = FragmentYielded(command, fragment.epoch, fragment.version, state_hash(body))
        out.append(Append(self._home.stream, fragment.run, fragment.epoch, yielded))
        self._home.tell(fragment.run, yielded)
        out.append(Save(fragment.run, True, MOVED, body))

    def _let_go(self, fragment: Fragment, out: list[object]) -> None:
        """Nothing here is the run's any more: resources, places in lines, timers, and the fragment itself."""
        home, run = self._home, fragment.run
        for task in sorted(home.claims.get(run, ())):
            home.give_back(run, task)
        if run in home.meetings:
            home.meetings.review(run, lambda task: False)
        home.gate.forget(run)
        home.woken = [woken for woken in home.woken if woken is not fragment]
        out += [ClearTimer(run, f"due/{task}") for task in fragment.due or ()]
        if fragment.plan.timeout_ms:
            out.append(ClearTimer(run, "run"))
        del home.fragments[run]

    # Taken away -------------------------------------------------------------------------------------------------------

    def _drop(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        """The run has had another home since: what agents have in hand of it here is to stop, and is told if it is done all the
        same."""
        assert isinstance(event, FragmentSuperseded)
        home, fragment = self._home, self._home.fragments.get(run)
        if fragment is not None and fragment.epoch >= event.epoch:
            return
        dropped, epoch = FragmentDropped(event.epoch), fragment.epoch if fragment is not None else 0
        if fragment is not None:
            self._recall(fragment, event, now, out)
            body = fragment.save()
            self._let_go(fragment, out)
            out.append(Save(run, True, MOVED, body))
        out.append(Append(home.stream, run, epoch, dropped))
        home.tell(run, dropped)

    def _recall(self, fragment: Fragment, event: FragmentSuperseded, now: Now, out: list[object]) -> None:
        home, run = self._home, fragment.run
        for task, attempt in sorted(fragment.live.items()):
            reason = f"the run goes on at {event.to} since epoch {event.epoch}"
            # It is the later home that lets it be stopped: an agent that knows that home obeys, too.
            key = AttemptKey(run, task, attempt.number, attempt_epoch(event.epoch, attempt.number))
            home.stop(attempt.agent, [key], reason, out)
            home.roster.drop(attempt.agent, run, task, UNKNOWN, now)
            home.vigil.forget(run, task)
            if fragment.task(task).timeout_ms:
                out.append(ClearTimer(run, f"deadline/{task}"))

    def hear_agent(self, run: str, said: object, now: Now, out: list[object]) -> bool:
        """An agent has ended what it had of a run that was taken away: a fact that its present home may wait for. Or it knows a
        later home of a run that is here. False if it tells of something else."""
        if isinstance(said, Outrun):
            self._outrun(run, said, now, out)
        elif run in self.taken and (found := _found(said)) is not None:
            out.append(Append(self._home.stream, run, self.taken[run], found))
            self._home.tell(run, found)
        return isinstance(said, Outrun) or run in self.taken

    def _outrun(self, run: str, said: Outrun, now: Now, out: list[object]) -> None:
        """What this home ordered was not begun, and the run waits until the cloud has said whose it is."""
        fragment = self._home.fragments.get(run)
        if fragment is None or said.epoch != fragment.epoch:
            return
        if said.task < len(fragment.states):
            self._home.decide(fragment, Decline(said.task, said.attempt, said.agent, said.reason), now, out)
        self.doubt(run, said.agent, said.by, now, out)

    def doubt(self, run: str, agent: str, by: int, now: Now, out: list[object]) -> bool:
        """Does the agent know a later home of the run than this one?"""
        fragment = self._home.fragments.get(run)
        if fragment is None or by <= fragment.epoch:
            return False
        if run not in self._home.gate.doubted:
            self._home.record(fragment, [HomeDoubted(agent, fragment.epoch, by)], now, out)
        return True

    def _settle_fact(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        fragment, chance = self._home.fragments.get(run), self._home.chance.random()
        if fragment is None:
            if isinstance(event, FactTold) and event.once and run not in self.gone:
                refused = refused_by_the_end(event)
                out.append(Append(self._home.stream, run, 0, refused))
                self._home.tell(run, refused)
            return
        if isinstance(event, FailureTold):
            events = adopt_failure(fragment, event, now, chance)
        else:
            assert isinstance(event, FactTold)
            events = adopt(fragment, event, now, chance) if event.task < len(fragment.states) else []
        if events:
            self._home.record(fragment, events, now, out)

    # Coming -----------------------------------------------------------------------------------------------------------

    def _take(self, run: str, event: Event, now: Now, out: list[object]) -> None:
        assert isinstance(event, FragmentMoved)
        home = self._home
        if run in home.fragments:
            return  # Said again.
        fragment = restore_moved(run, home.plans[definition_of(event.body)], event.body)
        taken = FragmentTaken(event.epoch, event.body, event.begun_ms, event.spent)
        out.append(Append(home.stream, run, event.epoch, taken))
        home.tell(run, taken)
        home.take_in(fragment, min(event.begun_ms or now.wall_ms, now.wall_ms), now, out)

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold(self, is_own: bool, run: str, event: Event, time_ms: int) -> None:
        if type(event) is HomeDoubted:
            self._home.gate.doubted[run] = None
            return
        self._home.gate.doubted.pop(run, None)
        match event:
            case FragmentYielding(command, wanted) if wanted:
                self._leaving[run] = command
            case FragmentYielded(_, epoch):
                self._leaving.pop(run, None)
                self.gone[run] = epoch
                if len(self.gone) > GONE_MAX:
                    del self.gone[next(iter(self.gone))]
            case FragmentDropped(epoch):
                self._leaving.pop(run, None)
                for known in (self.gone, self.taken):
                    known[run] = epoch
                    if len(known) > GONE_MAX:
                        del known[next(iter(known))]
            case FragmentTaken():
                self.gone.pop(run, None)
                self.taken.pop(run, None)
            case HomeConfirmed():
                pass
            case _:
                self._leaving.pop(run, None)


def _found(said: object) -> Event | None:
    """What an agent says, as a fact for another home."""
    if isinstance(said, Complete):
        return FactFound(said.task, said.attempt, said.agent, said.output, said.blob)
    failure = failure_of(said)
    return FailureFound(failure) if failure is not None else None
