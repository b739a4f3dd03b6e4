"""What the cloud shows of the way that a run has come. Times are UTC ms."""

import msgspec


class HeldAttempt(msgspec.Struct):
    """An attempt that was in an agent's hands."""

    task: str
    agent: str
    attempt: int


class HeldResource(msgspec.Struct):
    """So many of a resource (1 of an exclusive one) that a task held."""

    task: str
    resource: str
    count: int


class CheckpointView(msgspec.Struct, omit_defaults=True):
    """A state of a run to come back to: at this version of the fragment at `site`. Automatic ones name the `task` that ended, and
    in how many `steps` a rollback gets there (0: it is the latest); those on request have a `name`.

    `stays` are tasks done since, the latest 100, whose effects nothing would undo on the way back.
    `state`, `path` and `percent` are the whole run's at that time; `attempts` and `resources` what was held at the site. Where
    the history that tells all this has left the log: no time (0) but of those with a name, no state, no path, a percent of -1."""

    site: str
    version: int
    time: int
    state: str
    path: str
    percent: int
    task: str = ""
    name: str = ""
    steps: int = 0
    attempts: list[HeldAttempt] = []
    resources: list[HeldResource] = []
    stays: list[str] = []


class CheckpointsView(msgspec.Struct, omit_defaults=True):
    """The checkpoints of a run, newest first: of each home the last `kept` automatic ones, and all with a name."""

    run: str
    kept: int
    items: list[CheckpointView]
    note: str = ""  # Where the history has left the log: that, and where it is.
