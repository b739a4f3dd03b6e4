"""A process of its own that writes to a log, to be killed or starved: `python -m tests.sync.log_child append|starve PATH`."""

import os
import resource
import sys
import time
from pathlib import Path

from sync.commit import Commit
from sync.log_errors import LogFull
from tests.sync.chained import PEER, Scribe, commit, open_log, outcome, scribe_of

ROOM_BYTES = 1_000_000


def append(path: Path) -> None:
    """Commit without end, and say each position once it is acknowledged."""
    log = open_log(path)
    scribe = scribe_of(log)

    def say(pos: int, error: BaseException | None) -> None:
        assert error is None, error
        os.write(1, b"%63d\n" % pos)  # A pipe holds a thousand such lines: the child waits to be heard.

    for turn in range(100_000):
        rows = scribe.rows(1 + turn % 5) + scribe.rows(turn % 3, PEER, "run-2")
        pos = scribe.pos
        log.submit(Commit(rows=rows), lambda error, pos=pos: say(pos, error))  # type: ignore[misc]
        if turn % 8 == 0:
            log.read(lambda reader: reader.pos).result()  # Eight commits at most are under way.
    time.sleep(600)


def starve(path: Path) -> None:
    """Run into the limit on the size of files, see that nothing was lost, raise it, go on."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
    log = open_log(path)
    scribe, acknowledged = Scribe(), 0
    error: BaseException | None = None
    while error is None:
        acknowledged = scribe.pos
        error = outcome(log, Commit(rows=scribe.rows(20, payload=b"x" * 1_000)))
    assert isinstance(error, LogFull), repr(error)
    assert log.load().pos == acknowledged, (log.load().pos, acknowledged)
    log.reset()
    scribe = scribe_of(log)
    again = outcome(log, Commit(rows=scribe.rows(2_000, payload=b"x" * 1_000)))
    assert isinstance(again, LogFull), repr(again)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    log.reset()
    scribe = scribe_of(log)
    commit(log, Commit(rows=scribe.rows(2_000, payload=b"x" * 1_000)))
    log.close()
    os.write(1, b"%d %d\n" % (acknowledged, scribe.pos))


if __name__ == "__main__":
    {"append": append, "starve": starve}[sys.argv[1]](Path(sys.argv[2]))
