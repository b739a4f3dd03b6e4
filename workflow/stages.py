"""The stages that a definition declares for its runs: `stages: {CREATED: [ANALYZING], ANALYZING: [DONE], DONE: []}`.

They are a flat machine: the first is where a run begins, and it may end in any of them. A change that is not listed is not
made; it is refused as a value, for the run to record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from workflow.machine import NAME, InvalidTransition, Machine, reach
from workflow.problems import Place, Problems, choices


class StageStep(NamedTuple):
    """What came of entering a stage. With a `refusal` the run stays in `source`; where both are one, nothing has changed."""

    source: str
    target: str
    refusal: str = ""

    @property
    def changes(self) -> bool:
        return not self.refusal and self.source != self.target


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """A definition's stages, checked before by `check_stages`."""

    machine: Machine

    @classmethod
    def of(cls, stages: Mapping[str, Sequence[str]]) -> "Stages":
        """The machine of `Plan.stages`, which must not be empty. Raises DefinitionError."""
        return cls(Machine.build("the stage", dict.fromkeys(stages), stages, initial=next(iter(stages)), final=stages))

    @property
    def start(self) -> str:
        """The stage that a run begins in."""
        return self.machine.start

    def enter(self, now: str, target: str) -> StageStep:
        """From the stage `now` ("": none yet) to `target`. To be where one is already is no change and no mistake:
        several tasks may enter the same stage."""
        source = now or self.start
        if source == target:
            return StageStep(source, target)
        try:
            step = self.machine.transition(source, target)
        except InvalidTransition as refused:
            return StageStep(source, target, str(refused))
        return StageStep(step.source, step.target)


def check_stages(stages: Mapping[str, Sequence[str]], problems: Problems, place: Place) -> None:
    """Find unknown, doubled and unreachable stages; `place` is where they stand in the document."""
    for name, targets in stages.items():
        if not NAME.fullmatch(name):
            problems.add((*place, name), "is no name of a stage", "letters, digits, _ and -, not beginning with a digit")
        for number, target in enumerate(targets):
            if target not in stages:
                problems.add_unknown((*place, name, number), "stage", target, stages)
            elif target in targets[:number]:
                problems.add((*place, name, number), f"stage {target!r} is named twice", "each stage once")
    known = {name: [target for target in targets if target in stages] for name, targets in stages.items()}
    first = next(iter(stages), "")
    reached = reach([first], known) if first else set()
    for name in stages:
        if name not in reached:
            leading = choices(sorted(reached))
            problems.add((*place, name), f"cannot be reached from the first stage, {first}", f"named by a stage of: {leading}")
