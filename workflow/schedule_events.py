"""What can happen to a schedule, as facts. Whoever decides for it writes them: the cloud, or the site that it belongs to."""

from workflow.events import Event, register


class ScheduleEvent(Event, frozen=True):
    """What all of them say: of which schedule."""

    schedule: str

    def word(self) -> tuple[str, str]:
        """What an answer of the home shares with what it answers: the order's name, or which creation of the schedule it was."""
        created_ms = getattr(self, "created_ms", 0)
        return self.schedule, f"created {created_ms}" if created_ms else getattr(self, "command", "")


class ScheduleCreated(ScheduleEvent, frozen=True):
    """A schedule is there from here on. `spec` is its JSON, `definition` the `name@version` that its firings start for now.

    In the cloud's stream for a site it hands the schedule to the site; in the site's own stream the site has taken it.
    """

    spec: bytes
    definition: str
    created_ms: int


class ScheduleChanged(ScheduleEvent, frozen=True):
    """It was paused or goes on, and starts `definition` from here on. `command` is the order of the cloud that asked for it."""

    paused: bool
    definition: str
    at_ms: int
    reason: str = ""
    command: str = ""


class ScheduleFired(ScheduleEvent, frozen=True):
    """Runs were started: `runs[i]` for the firing at `firings[i]` (UTC ms). `active` are the runs that later firings look at.

    `cause`: time, buffer (it had waited for an earlier run to end), backfill or run_now.
    """

    firings: list[int]
    runs: list[str]
    active: list[str]
    cause: str
    command: str = ""


class ScheduleBuffered(ScheduleEvent, frozen=True):
    """The firing waits for the runs that are under way; `cancels` are those that it asked to stop."""

    firing_ms: int
    cancels: list[str]


class ScheduleSkipped(ScheduleEvent, frozen=True):
    """Of the firings from `first_ms` to `last_ms`, both included, none was made, for this reason."""

    first_ms: int
    last_ms: int
    reason: str
    command: str = ""


class ScheduleRemoved(ScheduleEvent, frozen=True):
    """The schedule is there no more. Runs that it has started go on."""

    command: str = ""


class ScheduleOrdered(ScheduleEvent, frozen=True):
    """An intent of the cloud for a schedule whose home is the site: pause, resume, run_now, backfill (`firings`), pin (its
    definition) or remove. The home answers with what it did, under the same `command`."""

    command: str
    order: str
    reason: str
    firings: list[int]
    definition: str


class ScheduleGivenBack(ScheduleEvent, frozen=True):
    """The site has lost its log: in the cloud's stream for it, this is its schedule as the cloud knew it (`state`: JSON of a
    ScheduleState); in the site's own the site has it from here on."""

    state: bytes

    def word(self) -> tuple[str, str]:
        return self.schedule, "given back"


register(ScheduleGivenBack)
register(ScheduleCreated, ScheduleChanged, ScheduleFired, ScheduleBuffered, ScheduleSkipped, ScheduleRemoved, ScheduleOrdered)
