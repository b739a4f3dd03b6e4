"""What is asked of the re-seeding of sites."""

from typing import NamedTuple

from sync.log_errors import LogCut
from sync.values import StreamId


class RenewStream(NamedTuple):
    """Let another incarnation of `stream`, which is for the site, begin: the site lacks of it what was cut (`lacked`), or of its
    own stream (`lost`), of which we hold `position` events; then that ends. Answered with the id of the stream for the site."""

    token: int
    site: str
    stream: StreamId
    lacked: LogCut | None
    lost: LogCut | None = None
    position: int = 0
