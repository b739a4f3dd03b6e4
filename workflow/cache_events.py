"""What happens to the results that a site keeps for other runs."""

from workflow.event import Blob
from workflow.events import Event, register


class ResultCached(Event, frozen=True):
    """What the task `name` gave is kept for other runs until `until_ms` (UTC), under `key`: the SHA-256 of `work` (the capability
    or @agent) and of the key that its definition gives. A result that was kept under it before is not kept any more."""

    task: int
    key: str
    until_ms: int
    work: str
    name: str
    output: bytes = b"null"
    blob: Blob | None = None


class CacheCleared(Event, frozen=True):
    """Results are not kept any more: that under `key`, or if that is empty all of `work`, or if that is empty all."""

    command: str
    work: str = ""
    key: str = ""


class CacheClearRequested(Event, frozen=True):
    """An intent of the cloud for `site`: it answers by CacheCleared."""

    command: str
    work: str = ""
    key: str = ""
    site: str = ""


register(ResultCached, CacheCleared, CacheClearRequested)
