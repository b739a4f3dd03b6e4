"""What a member has its disk do, step by step and in order.

The log's thread writes; the loop goes on meanwhile, so that time passes for the core whatever the disk does. A disk that is full
is asked again until it has room: to the group this member is slow, and no more. Whatever else a disk refuses ends the member.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from coordination.raft.values import Message, Ready
from sync.commit import Commit
from sync.log import EventLog
from sync.log_errors import CommitSuperseded, LogFull

RETRY_S = 0.5

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Step:
    """One Ready (None: of the member itself, such as cutting the group's log), with what leaves once it is durable."""

    ready: Ready | None
    messages: Sequence[Message] = ()
    commits: list[Commit] = field(default_factory=list)
    began_s: float = 0.0
    durable: bool = False


class Writing:
    """Steps on their way. `settled` is called for each in their order, when it is durable; `broken` if one never will be."""

    def __init__(self, event_log: EventLog, settled: Callable[[Step], None], broken: Callable[[BaseException], None]) -> None:
        self._log, self._settled, self._broken = event_log, settled, broken
        self._loop = asyncio.get_running_loop()
        self._steps: deque[Step] = deque()
        self._asked = 0  # Transactions of which the log has not said yet what became of them.
        self._settling = False
        self.problem = ""

    @property
    def under_way(self) -> int:
        """Steps that are not durable yet."""
        return len(self._steps)

    def waiting_s(self) -> float:
        """How long the oldest step has been waiting for the disk."""
        return self._loop.time() - self._steps[0].began_s if self._steps else 0.0

    def submit(self, step: Step) -> None:
        """Have the step written behind all before it; one that writes nothing only waits for those."""
        step.began_s, step.durable = self._loop.time(), not step.commits
        self._steps.append(step)
        if step.durable:
            self._settle()
        elif not self.problem:
            self._ask(step)

    def _ask(self, step: Step) -> None:
        self._asked += 1

        def done(error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: what was written is found at the next start.
                self._loop.call_soon_threadsafe(self._told, step, error)

        self._log.submit_together(step.commits, done)

    def _told(self, step: Step, error: BaseException | None) -> None:
        self._asked -= 1
        if error is None:
            step.durable = True
            self._settle()
        elif isinstance(error, LogFull | CommitSuperseded):
            if not self.problem:
                self.problem = str(error)
                log.error("the disk of this member is full: it takes part again when there is room", problem=self.problem)
        else:
            self._broken(error)
            return
        if self.problem and not self._asked:
            self._loop.call_later(RETRY_S, self._retry)

    def _retry(self) -> None:
        self._log.reset()
        self.problem = ""
        for step in list(self._steps):
            if not step.durable:
                self._ask(step)

    def _settle(self) -> None:
        if self._settling:
            return  # Further down: in order, and one inside another is not.
        self._settling = True
        try:
            while self._steps and self._steps[0].durable:
                self._settled(self._steps.popleft())
        except Exception as error:  # noqa: BLE001 - Whoever serves the member gets it.
            self._broken(error)
        finally:
            self._settling = False
