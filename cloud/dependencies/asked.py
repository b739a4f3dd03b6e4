"""What clients say of dependencies between runs."""

from typing import Annotated

import msgspec

from cloud.dependencies.inputs import Wait
from workflow.between import Kind, Point
from workflow.judging import read_terms
from workflow.problems import Place, Problems

AFTER_MAX = 1_000
"""Dependencies that one request asks for."""

Text = Annotated[str, msgspec.Meta(max_length=8_000)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


class OnRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A run, or a task of it."""

    run: Name
    task: str = ""


class DependencyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The run, or its `task`, is to wait for `on`: a run, or RUN/TASK, or both apart; `when`, `select` (CEL), `into` and `schema`
    (JSON Schema) are its terms."""

    on: Name | OnRequest
    task: str = ""
    kind: Kind = "after_success"
    when: Text = ""
    select: Text = ""
    into: Annotated[str, msgspec.Meta(max_length=128)] = ""
    schema: dict[str, object] | None = None

    def wait(self, place: Place, problems: Problems) -> Wait:
        """As the planner takes it; what is wrong with its terms is added to `problems`, with its place in the request."""
        terms = read_terms(self.when, self.select, self.into, self.schema, place, problems)
        if isinstance(self.on, OnRequest):
            return Wait(self.task, Point(self.on.run, self.on.task), self.kind, terms)
        run, _, task = self.on.partition("/")
        return Wait(self.task, Point(run, task), self.kind, terms)


After = Annotated[list[DependencyRequest], msgspec.Meta(max_length=AFTER_MAX)]
