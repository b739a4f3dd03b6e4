"""What the API needs of the planner: the seam by which the API could move to a process of its own.

Every method that changes something returns only when the change is durable in the cloud's log. Refusals are `Problem`s, which
the API renders as problem+json.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Annotated, NamedTuple, Protocol

import msgspec

from cloud.consistency.asked import Fresh
from cloud.dependencies.asked import After
from cloud.looking.wanted import Wanted
from cloud.views import AgentView, CommandView, DefinitionView, DiffView, HistoryEntry, RunSummary, RunTotals, RunView, SiteView
from workflow.fair import PRIORITY_MAX

FAIRNESS_KEY_MAX = 255
"""Characters of a fairness key."""


Priority = Annotated[int, msgspec.Meta(ge=0, le=PRIORITY_MAX)]
FairnessKey = Annotated[str, msgspec.Meta(max_length=FAIRNESS_KEY_MAX)]


class Problem(Exception):
    """A refusal. `code` is stable and short, for programs; `detail` says what happened, to which id, and what helps."""

    def __init__(self, status: int, code: str, detail: str, problems: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.problems = status, code, detail, problems or []


def site_unknown(site: str, known: Iterable[str]) -> Problem:
    """404: nobody has linked or registered under this name."""
    return Problem(404, "site_unknown", f"site {site} is not known (known: {', '.join(sorted(known)) or 'none'})")


class RunRequest(msgspec.Struct, forbid_unknown_fields=True):
    """One run to start: inputs (a JSON object) and labels; its priority (9 is the most urgent; that of its definition if none is
    given); should it have to wait for a free place, the key that takes turns with others of that priority; what it waits for;
    what it is promised, if that is not what its definition says (`workflow.contract_reading`)."""

    inputs: dict[str, object] = {}
    labels: dict[str, str] = {}
    priority: Priority | None = None
    fairness_key: FairnessKey = ""
    after: After = []
    consistency: str | dict[str, object] | None = None
    autonomy: str | dict[str, object] | None = None


class Started(msgspec.Struct, omit_defaults=True):
    """A run that has been accepted. A fork says which run it comes from, the task with which it begins (none: at the beginning),
    how many tasks it has taken over, and what else there is to know (`detail`)."""

    id: str
    state: str
    definition: str
    forked_from: str = ""
    begins_at: str = ""
    taken_over: int = 0
    detail: str = ""


class Then(NamedTuple):
    """When in a run's life: at a moment (UTC ms), or at a version of its one fragment if that is not negative."""

    at_ms: int = 0
    version: int = -1


class PlannerPort(Protocol):
    """The planner as the API sees it. `definition` is `name@version`, `name` (the latest registered) or a document."""

    async def start(
        self, definition: str | dict[str, object], runs: list[RunRequest], *, idempotency_key: str, body: bytes
    ) -> list[Started | Problem]: ...

    async def register(self, text: str, source: str) -> DefinitionView: ...
    async def validate(self, text: str, source: str) -> DefinitionView: ...
    async def definitions(self) -> list[DefinitionView]: ...
    async def definition(self, ref: str) -> DefinitionView: ...
    async def runs(self, wanted: Wanted, *, limit: int, cursor: str) -> tuple[list[RunSummary], str]: ...
    async def run(self, run: str, *, wait_s: float) -> RunView: ...
    async def run_within(self, run: str, asked: Fresh, *, wait_s: float) -> RunView: ...
    async def run_then(self, run: str, then: Then) -> RunView: ...
    async def cancel(self, run: str, *, reason: str, wait_s: float, idempotency_key: str = "") -> RunView | CommandView: ...
    async def history(self, run: str, *, after: int, limit: int) -> tuple[list[HistoryEntry], int]: ...
    async def command(self, command: str) -> CommandView: ...
    async def agents(self) -> list[AgentView]: ...
    async def sites(self) -> list[SiteView]: ...
    async def run_totals(self) -> list[RunTotals]: ...
    async def diff(self, site: str) -> DiffView: ...
    async def verify(self) -> list[dict[str, object]]: ...
    def watch(self) -> AsyncIterator[tuple[list[RunSummary], list[SiteView]]]: ...
    def ready(self) -> list[str]: ...
