"""What the API shows of dependencies between runs. Times are UTC ms."""

import msgspec


class AwaitedView(msgspec.Struct, omit_defaults=True):
    """A run, or a task of it, that is waited for, and the state it is in now."""

    run: str
    task: str = ""
    state: str = ""


class DependencyView(msgspec.Struct, omit_defaults=True):
    """`run` (its `task`, or without one all of it) waits for `on`. `state`: waiting, met, hopeless (what was awaited has ended
    otherwise, or its terms do not hold), lifted (somebody has lifted the hold), refused (the homes would not hold the task, as it
    had begun), removed, or void (the run that waited has ended before).

    `held` are the sites that hold the task back; `unanswered` those that have not said so yet: there it may still begin.
    """

    id: str
    run: str
    on: AwaitedView
    kind: str
    state: str
    since: int
    task: str = ""
    detail: str = ""
    settled: int = 0
    held: list[str] = []
    unanswered: list[str] = []
    when: str = ""
    select: str = ""
    into: str = ""
    schema: msgspec.Raw | None = None


class DependenciesView(msgspec.Struct):
    """What a run waits for, and who waits for it."""

    run: str
    waits_for: list[DependencyView]
    waited_for_by: list[DependencyView]
