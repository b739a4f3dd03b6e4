"""How well the agents of a site do: one that keeps failing is given no work for a while, then one attempt to prove itself.

A soft state: it is not in the log, a restart forgets it, and it decides only who is asked, never what a result means. What counts
is what speaks against the agent. A failure that says itself when to try again speaks of something elsewhere (`circuit_open`); the
same task failing again says nothing new; one crash is one fault, however many attempts it cost.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from coordination.breaker import Breaker, BreakerPolicy, Outcome, State
from sync.values import Now
from workflow.commands import STOPPED_HALFWAY, Complete, Decline, Fail, FragmentCommand, Lose
from workflow.extras import Attempt

POLICY = BreakerPolicy(window=5, calls_min=5, failure_rate=1.0, open_ms=2_000, open_ms_max=60_000)

Place = tuple[str, int]


class Verdict(NamedTuple):
    """What the end of an attempt says of its agent. Faults of one `cause` count once."""

    outcome: Outcome
    cause: Hashable = None


class HealthView(NamedTuple):
    """What is shown of an agent: `ok`, `degraded` or `open`, and until when (UTC ms) it is given no work."""

    health: str
    open_until_ms: int = 0


OK = HealthView("ok")
_SUCCESS, UNKNOWN = Verdict(Outcome.SUCCESS), Verdict(Outcome.UNKNOWN)


def judge(command: FragmentCommand, run: str, held: Attempt) -> Verdict:
    """What the command that ended an attempt says of the agent that held it."""
    if type(command) is Complete:
        return _SUCCESS
    match command:
        case Fail(task, _, _, code) if code in STOPPED_HALFWAY or (command.retryable and not command.retry_after_ms):
            return Verdict(Outcome.FAILURE, (run, task))
        case Fail():
            return UNKNOWN if command.retryable else _SUCCESS  # Refused for good: the agent works, the task is wrong.
        case Decline(task) if command.blames:
            return Verdict(Outcome.FAILURE, (run, task))
        case Lose(certain=False):
            return Verdict(Outcome.FAILURE, held.boot)
        case _:
            return UNKNOWN


@dataclass(slots=True)
class Standing:
    """An agent that has failed lately. `tickets` are of attempts that it has in its hands, `blamed` the causes that counted."""

    breaker: Breaker = field(default_factory=lambda: Breaker(POLICY))
    tickets: dict[Place, int] = field(default_factory=dict)
    blamed: set[Hashable] = field(default_factory=set)
    open_until_ms: int = 0


@dataclass(slots=True)
class Health:
    """Who has failed lately. An agent that does well has no entry, and costs nothing."""

    standings: dict[str, Standing] = field(default_factory=dict)

    def taken(self, agent: str, place: Place, now: Now) -> bool:
        """The agent holds an attempt more; True if how much more it may hold has to be asked again."""
        standing = self.standings.get(agent)
        if standing is None:
            return False
        ticket = standing.breaker.admit(now.mono_ms)
        standing.tickets[place] = -1 if ticket is None else ticket
        return True

    def ended(self, agent: str, place: Place, verdict: Verdict, now: Now) -> bool:
        """The attempt is over; True if how much more the agent may hold has to be asked again."""
        standing = self.standings.get(agent)
        if standing is None:
            if verdict.outcome is not Outcome.FAILURE:
                return False
            standing = self.standings[agent] = Standing()
        breaker, outcome = standing.breaker, verdict.outcome
        ticket = standing.tickets.pop(place, 0)
        if breaker.state is State.CLOSED and outcome is Outcome.FAILURE:
            if verdict.cause in standing.blamed:
                outcome = Outcome.UNKNOWN
            standing.blamed.add(verdict.cause)
        breaker.settle(ticket, outcome, now.mono_ms)
        if breaker.state is State.OPEN:
            standing.blamed.clear()
            standing.open_until_ms = now.wall_ms + breaker.retry_after_ms(now.mono_ms)
        elif breaker.state is State.CLOSED and (outcome is Outcome.SUCCESS or not breaker.failures):
            del self.standings[agent]  # Only failures in a row count.
        return True

    def room(self, agent: str, capacity: int, load: int, now: Now) -> int:
        """How much the agent may hold in all, of its capacity."""
        standing = self.standings.get(agent)
        if standing is None or standing.breaker.state is State.CLOSED:
            return capacity
        ready = standing.breaker.retry_after_ms(now.mono_ms) == 0
        return min(capacity, load + 1) if ready else load

    def due(self, now: Now) -> list[str]:
        """The agents whose time without work is over, each told once."""
        waiting = ((agent, s.breaker) for agent, s in self.standings.items() if s.breaker.state is State.OPEN)
        return sorted(agent for agent, breaker in waiting if breaker.retry_after_ms(now.mono_ms) == 0)

    def next_due_ms(self) -> int | None:
        """When (monotonic ms) the next of them is over."""
        ends = (s.breaker.open_until_ms for s in self.standings.values() if s.breaker.state is State.OPEN)
        return min(ends, default=None)

    def view(self, agent: str) -> HealthView:
        """What is shown of the agent."""
        standing = self.standings.get(agent)
        if standing is None:
            return OK
        opened = standing.breaker.state is State.OPEN
        return HealthView("open", standing.open_until_ms) if opened else HealthView("degraded")
