"""What clients say of dependencies between runs."""

from typing import Annotated

import msgspec

from cloud.dependencies.inputs import Wait
from workflow.between import Kind, Point

AFTER_MAX = 1_000
"""Dependencies that one request asks for."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


class OnRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A run, or a task of it."""

    run: Name
    task: str = ""


class DependencyRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The run, or its `task`, is to wait for `on`: a run, or RUN/TASK, or both apart."""

    on: Name | OnRequest
    task: str = ""
    kind: Kind = "after_success"

    def wait(self) -> Wait:
        """As the planner takes it."""
        if isinstance(self.on, OnRequest):
            return Wait(self.task, Point(self.on.run, self.on.task), self.kind)
        run, _, task = self.on.partition("/")
        return Wait(self.task, Point(run, task), self.kind)


After = Annotated[list[DependencyRequest], msgspec.Meta(max_length=AFTER_MAX)]
