"""What can go wrong in an agent, and what each error means for the run.

    TiercelError
    |- TaskError            a task failed: code, message, retryable, recoverable, retry_after_ms
    |  |- TerminalError     raised by a capability: do not try again
    |  |- RetryableError    raised by a capability: trying again may help
    |  |- Superseded        raised by a capability: what it acts on has had orders of a later home of the run, and it did nothing
    |  `- SyncPointRefused  an arrival at a sync point was not taken
    |     |- SyncPointUnknown  there is no such point, or the agent is no party of it
    |     |- SyncPointBroken   nobody goes on by it, and why
    |     `- SyncPointTimeout  the others did not come in time; the arrival was taken back
    |- TaskCancelled        raised by `TaskContext.raise_if_cancelled`: the work was asked to stop, and did
    |- SecretUnavailable    a `secret://name` could not be resolved here
    |- BlobUnavailable      a large value could not be fetched or stored
    |- DocumentRefused      an edit of a document was not taken, or a read not answered: code, version
    |  |- DocumentStale        what is known here is older than asked for
    |  |- DocumentUnavailable  it cannot be done just now, and nothing was recorded
    |  `- DocumentUnknown      an edit is recorded or not: ask again under its id
    |- JournalInUse         another process owns the agent's journal
    |- JournalUnusable      the journal cannot be read or written
    |- PeersPortUnavailable  the agent's `peers_listen` cannot be had
    |- AgentRefused         the gateway will not have this agent
    |- SessionLost          one connection ended; the agent reconnects by itself

Any other exception that leaves a capability counts as retryable: most are weather, and the retry policy of the task
decides. A failure reaches the run's history with the attempt's correlation id (`run/task/attempt`), which every line of
the agent's log about that attempt begins with.
"""


class TiercelError(Exception):
    """The root of the tree above."""


class TaskError(TiercelError):
    """A task failed, and this is what is known of it. A capability raises one of the two below."""

    retryable = False

    def __init__(self, message: str, *, code: str, recoverable: bool = False, retry_after_ms: int = 0) -> None:
        """`code` is short and stable, for programs. `recoverable`: the same task can succeed once somebody has changed
        something, such as a permission or a configuration. `retry_after_ms`: no sooner does another attempt make sense."""
        super().__init__(message)
        self.code = code
        self.recoverable = recoverable or self.retryable
        self.retry_after_ms = max(0, retry_after_ms)

    @property
    def message(self) -> str:
        """What went wrong, for people."""
        return str(self)


class TerminalError(TaskError):
    """Raise it in a capability when another attempt, by itself, cannot help."""

    def __init__(self, message: str, *, code: str = "terminal", recoverable: bool = False) -> None:
        super().__init__(message, code=code, recoverable=recoverable)


class Superseded(TaskError):
    """Raise it in a capability when what it acts on refuses `TaskContext.fence`, for it has seen the higher one `by`. Nothing may
    have been done: the site is told that the attempt never began, and asks whether the run is still its own."""

    retryable = True

    def __init__(self, what: str, fence: int, by: int) -> None:
        """`what` refused the order."""
        super().__init__(
            f"{what} has had orders of the run's home of epoch {by}, and this is of epoch {fence}", code="not_started"
        )
        self.by = by


class StaleEpoch(TaskError):
    """What the task acts on has been acted on under a later epoch: the resource is somebody else's by now, and nothing was done.
    The site gives the task another attempt, which has to acquire the resource anew."""

    retryable = True

    def __init__(self, resource: str, epoch: int, highest: int) -> None:
        super().__init__(f"{resource}: epoch {epoch} is over, {highest} holds: it was given to somebody else", code="stale_epoch")
        self.resource, self.epoch, self.highest = resource, epoch, highest


class FenceUnusable(TaskError):
    """The file of a fence cannot be read, so nobody knows what has acted there: nothing is let through before a person has
    looked."""

    def __init__(self, resource: str, path: str, problem: str) -> None:
        cure = "write back the highest epoch, or remove it if nobody acts"
        text = f"{resource}: its fence in {path} cannot be read ({problem}): {cure}"
        super().__init__(text, code="fence_unusable", recoverable=True)


class FenceHeld(TaskError):
    """Another process acts on the resource for longer than was to be waited, or is stopped in the middle. Nothing was done:
    another attempt may get through."""

    retryable = True

    def __init__(self, resource: str, path: str, holder: str, waited_s: float) -> None:
        who = f"process {holder}" if holder else "another process"
        cure = f"if it hangs or is stopped, continue or end it (kill -CONT, kill {holder or 'PID'})"
        super().__init__(f"{resource}: {who} acts behind its fence in {path} for over {waited_s:g} s: {cure}", code="fence_held")
        self.resource, self.holder = resource, holder


class RetryableError(TaskError):
    """Raise it in a capability when another attempt may help; the retry policy of the task says how many there are."""

    retryable = True

    def __init__(self, message: str, *, code: str = "retryable", retry_after_ms: int = 0) -> None:
        super().__init__(message, code=code, retry_after_ms=retry_after_ms)


class SyncPointRefused(TaskError):
    """An arrival at a sync point was not taken; `code` says why (`run_stopping`, `party_replaced`, `unavailable`, ...)."""

    def __init__(self, message: str, *, code: str, retryable: bool = False) -> None:
        self.retryable = retryable
        super().__init__(message, code=code, recoverable=True)


class SyncPointUnknown(SyncPointRefused):
    """The run has no such point here, or the agent is no party of it."""


class SyncPointBroken(SyncPointRefused):
    """Nobody goes on by this generation of the point; `why` is party_died, no_quorum, deadline, run_stopping or reset. Trying
    again helps at a point that begins anew."""

    def __init__(self, message: str, *, why: str, retryable: bool) -> None:
        super().__init__(message, code="sync_point_broken", retryable=retryable)
        self.why = why


class SyncPointTimeout(SyncPointRefused):
    """The others did not come in time. The agent waits there no longer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="sync_point_timeout", retryable=True)


class TaskCancelled(TiercelError):
    """The attempt was asked to stop and stopped: it had no effect, or undid it."""


class SecretUnavailable(TiercelError):
    """A secret reference names nothing that this agent can read. The message holds the name, never a value."""


class BlobUnavailable(TiercelError):
    """A large value could not be fetched or stored. `permanent` says that asking again will not help; `away`, that who holds it
    cannot be reached just now, so that it is only a matter of waiting."""

    def __init__(self, message: str, *, permanent: bool = False, away: bool = False) -> None:
        super().__init__(message)
        self.permanent, self.away = permanent, away


class JournalInUse(TiercelError):
    """Another process holds the lock of the journal: two processes must not answer for one agent."""


class JournalUnusable(TiercelError):
    """The journal is not ours to read or cannot be written."""


class PeersPortUnavailable(TiercelError):
    """The agent cannot listen where its peers are to reach it: somebody else does, or there is no such address here."""


class AgentRefused(TiercelError):
    """The gateway refused the registration for a reason that trying again does not remove."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"the gateway refused the agent ({code}): {message}")
        self.code = code


class SessionLost(TiercelError):
    """One session with the gateway ended without a goodbye; `code` is the gateway's word for it, if it gave one, and `leader`
    where it sends us."""

    def __init__(self, message: str, *, code: str = "", leader: str = "") -> None:
        super().__init__(message)
        self.code, self.leader = code, leader
        self.at_once = False  # Is the next try to be made without a wait?


class DocumentRefused(TiercelError):
    """An edit of a document was not taken, or a read not answered. `code` is for programs (`version_conflict`, ...); `version` is
    the one that the home has, 0 if that was not said."""

    def __init__(self, message: str, *, code: str, version: int = 0) -> None:
        super().__init__(message)
        self.code, self.version = code, version


class DocumentStale(DocumentRefused):
    """What is known here is older than what was asked for; ask with `degrade=True` to take it as it is."""


class DocumentUnavailable(DocumentRefused):
    """It cannot be done just now, and nothing of it was recorded: try again."""


class DocumentUnknown(DocumentRefused):
    """Nobody here knows whether the edit counts. Asked again under its id it has the one answer."""
