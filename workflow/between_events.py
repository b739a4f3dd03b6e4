"""What happens between runs, as facts in the cloud's own stream: it alone knows all runs."""

from workflow.events import Event, register


class ChildEnded(Event, frozen=True):
    """A run that a task of this one asked for has ended, or could not be started: then `outcome` is failed, and `detail` says
    why. `output` is the child's (JSON), empty if it gave none."""

    child: str
    outcome: str
    detail: str
    output: bytes = b""


register(ChildEnded)
