"""What the cloud decides when it has tendered a run, as a fact."""

import msgspec

from workflow.events import Event, register


class RunTendered(Event, frozen=True):
    """The run goes to this site: FragmentReleased follows. `detail` is a JSON object (see cloud.tendering.core.Detail)."""

    evaluator: str
    site: str
    detail: bytes = msgspec.field(default=b"{}")


register(RunTendered)
