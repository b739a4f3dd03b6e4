"""What happens between runs, as facts in the cloud's own stream: it alone knows all runs."""

import msgspec

from workflow.events import Event, register
from workflow.terms import Terms


class ChildEnded(Event, frozen=True):
    """A run that a task of this one asked for has ended, or could not be started: then `outcome` is failed, and `detail` says
    why. `output` is the child's (JSON), empty if it gave none."""

    child: str
    outcome: str
    detail: str
    output: bytes = b""


class DependencyAdded(Event, frozen=True):
    """This run, or its task `of_task`, begins only once another run, or a task of that one, has ended as `after` asks (a kind of
    `workflow.between`).

    `hold` is what the run's homes call it; those in `homes` hold it already: its record was lost, and they told of it."""

    dependency: str
    of_task: str  # By its name: `task` is a number in the events of fragments.
    on_run: str
    on_task: str
    after: str
    hold: str
    homes: list[str] = msgspec.field(default_factory=list)
    terms: Terms | None = None


class DependencySettled(Event, frozen=True):
    """Nothing waits by this dependency any more. `state`: met, hopeless (what was awaited has ended otherwise), refused (the
    homes would not hold the task, as it had begun), lifted (somebody has lifted the hold). `value` (JSON) is what its terms hand
    over."""

    dependency: str
    state: str
    detail: str
    value: bytes = b""


class DependencyRemoved(Event, frozen=True):
    """Somebody wants it no longer."""

    dependency: str
    reason: str


register(ChildEnded, DependencyAdded, DependencySettled, DependencyRemoved)
