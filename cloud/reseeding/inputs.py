"""What is asked of the re-seeding of sites."""

from typing import NamedTuple

from sync.values import StreamId


class RenewStream(NamedTuple):
    """The site holds `stream` up to `held`, and it was cut up to `cut`: let another incarnation begin. Answered with its id."""

    token: int
    site: str
    stream: StreamId
    held: int
    cut: int
