"""Who sees the real world: every effect that was really done, whatever anybody says of it, and what was promised to whom."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sync.merging.events import DocumentWritten
from sync.values import stream_id
from tests.sim.trace import Trace
from workflow.events import TaskAssigned, decode

if TYPE_CHECKING:
    from tests.sim.process import SiteProcess


class Broke(AssertionError):
    """A guarantee does not hold. The message begins with its name."""

    def __init__(self, guarantee: str, what: str) -> None:
        super().__init__(f"{guarantee}: {what}")
        self.guarantee = guarantee


class Done(NamedTuple):
    """What is wanted once: a task of a run in one of its generations."""

    run: str
    task: int
    generation: int


class Told(NamedTuple):
    """An agent was told to forget a result: the site's own stream had so many durable events then."""

    site: str
    run: str
    task: int
    attempt: int
    seq: int
    at_s: float


@dataclass
class Oracle:
    """The truth. Attempts of people to settle what is unknown look here, as a person looks into the box."""

    trace: Trace
    effects: Counter[Done] = field(default_factory=Counter)
    blind: set[Done] = field(default_factory=set)  # Those that may be repeated.
    forgotten: list[Told] = field(default_factory=list)
    started: dict[str, str] = field(default_factory=dict)  # By idempotency key.
    lost_edits: set[str] = field(default_factory=set)  # Writes of documents that a site lost for good.
    excused: set[tuple[str, int]] = field(default_factory=set)  # Tasks of which it was lost for good that they had begun.
    lost: set[tuple[str, int]] = field(default_factory=set)  # Tasks of which it was lost for good how an attempt had ended.
    answered: list[tuple[str, str, str]] = field(default_factory=list)  # Commands that were acknowledged: run, verb, command.

    def effect(self, agent: str, what: Done, effect: int, attempt: int) -> None:
        """It is done. Raises Broke if that was not to be repeated, and is done twice."""
        self.effects[what] += 1
        self.trace.step(f"{agent} does {what.run}/{what.task} generation {what.generation} attempt {attempt}")
        self.trace.note("effect")
        if effect == 1:  # EFFECT_REPEATABLE
            self.blind.add(what)
            if self.effects[what] > 1:
                self.trace.note("repeated_effect")
        elif self.effects[what] > 1 and (what.run, what.task) in self.excused:
            self.trace.note("excused_effect")
        elif self.effects[what] > 1:
            raise Broke("effects once", f"{what} was done {self.effects[what]} times, last by {agent} as attempt {attempt}")

    def excuse(self, site: "SiteProcess", held: int) -> None:
        """The site loses for good what of its stream is behind `held`: what began there may be done again, and what was told
        of what ended there, on its way to an agent even now, is not in its log."""
        for place in site.platter.places[stream_id(site.name, 1)][held:]:
            row = site.platter.rows[place - 1]
            event = decode(row.kind, row.payload)
            if isinstance(event, DocumentWritten):
                self.lost_edits.add(event.edit)
            elif isinstance(event, TaskAssigned):
                self.excused.add((row.run, event.task))
            elif (task := getattr(event, "task", None)) is not None:
                self.lost.add((row.run, task))
        self.forgotten = [told for told in self.forgotten if told.site != site.name or told.seq <= held]

    def accepted(self, key: str, run: str) -> None:
        """The API said that a run was started. Raises Broke if it said another one under the same key."""
        known = self.started.setdefault(key, run)
        if known != run:
            raise Broke("one run per key", f"{key} was answered by {known} and then by {run}")
