"""What a protocol of coordination is to a site."""

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple, Protocol

from edge.inputs import Assigned
from edge.negotiation import Negotiation
from edge.part import Fold, Step
from sync.values import AgentId, Now
from workflow.coordinating import Award
from workflow.fragment import Fragment
from workflow.tasks import CoordinationPlan

__all__ = ["Given", "Giving", "Lot", "Make", "Negotiation", "Seeker"]

Given = Literal["given", "gone", "held", "no_room"]
"""What came of an award: the agent has it; nobody is wanted any more; something else must come first, and the task is sought for
again by itself when it has; the agent cannot take it now."""


class Lot(NamedTuple):
    """A task that wants an agent."""

    run: str
    task: int


class Giving(Protocol):
    """What a Seeker may have done: `edge.dispatch.Dispatch`."""

    def give(self, lot: Lot, agent: AgentId, award: tuple[str, Award], now: Now, out: list[object], *, units: int = 1) -> Given:
        """Award the task (protocol, why) to an agent, under the same checks as any other."""
        ...

    def give_up(self, lot: Lot, otherwise: str, award: tuple[str, Award], code: str, now: Now, out: list[object]) -> bool:
        """Nobody was found: `direct` (the least loaded agent that can) or `fail` (with `code`). False if something else must come
        first, and the task is sought for again when it has."""
        ...

    def preview(self, lot: Lot) -> Assigned | None:
        """What giving the task would tell its agent, for agents that may have to do without the site; None if that cannot be."""
        ...

    def take_up(self, lot: Lot, agent: AgentId, award: tuple[str, Award], now: Now, out: list[object]) -> bool:
        """The agent does the task already: award it, and tell the agent nothing. False if it is not wanted."""
        ...

    def forget(self, lot: Lot) -> None:
        """It wants no agent any more, or not by this protocol."""
        ...

    def parameters_of(self, lot: Lot) -> bytes:
        """What the task would be given now (a JSON object); empty if that has no value."""
        ...

    def is_sought(self, lot: Lot) -> bool:
        """Does the task still want an agent?"""
        ...


class Seeker:
    """A protocol that finds nobody. Subclasses say what they take; their state is of the moment."""

    protocol: ClassVar[str] = ""

    def seek(self, fragment: Fragment, task: int, plan: CoordinationPlan, now: Now, out: list[object]) -> None:
        """The task is ready and wants an agent. Told again, it changes nothing, but for another plan."""

    def withdraw(self, lot: Lot) -> None:
        """It is sought for no longer: it was given, cancelled, held back, or is sought by another protocol."""

    def renounce(self, fragment: Fragment, task: int, out: list[object]) -> None:
        """Another protocol seeks its agent from here on, or none: what was promised of its next attempt holds no more."""

    def settle(self, now: Now, out: list[object]) -> None:
        """A batch is over: award what is decided."""

    def wake_mono_ms(self) -> int | None:
        """When it wants a turn at the latest (monotonic ms)."""
        return None

    def explain(self, lot: Lot, now: Now) -> Negotiation | None:
        """What it waits for."""
        return None

    def steps(self) -> dict[type, Step]:
        """Inputs that are for it: type -> step(input, now, out)."""
        return {}

    def folds(self) -> dict[type, Fold]:
        """Events that it wants to see. They tell it what came of its awards; a restart begins without them."""
        return {}

    def counts(self) -> dict[str, int]:
        """What it has refused, by code, since the start."""
        return {}


Make = Callable[..., Seeker]
