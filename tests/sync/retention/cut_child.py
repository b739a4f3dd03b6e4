"""A process that archives and cuts a log in small steps and says each, to be killed: `python -m ... PATH`."""

import os
import sys
from pathlib import Path

from sync.retention import driver
from sync.retention.driver import Retention
from sync.retention.policy import Policy
from tests.sync.chained import open_log


class Talking(Retention):
    """Says whenever it rests."""

    def _rest(self) -> None:
        os.write(1, b"step\n")
        super()._rest()


def main(path: Path) -> None:
    driver.SEGMENT_EVENTS_MAX, driver.DELETED_AT_ONCE, driver.PAGE = 2_000, 300, 500
    log = open_log(path)
    Talking(log, Policy(1.0, path.parent / "archive"), lambda: 4_000_000_000_000, pause_s=0.005).run()
    log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
