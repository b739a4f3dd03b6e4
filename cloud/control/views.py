"""What the cloud shows to those who steer runs. Times are UTC ms."""

import msgspec


class BulkItem(msgspec.Struct, omit_defaults=True):
    """One run of a bulk order: `state` of its command (accepted, pending or refused), and why it was refused."""

    run: str
    state: str
    command: str = ""
    detail: str = ""


class BulkView(msgspec.Struct):
    """What became of a bulk order. `matched` counts all runs that fit; those beyond the first 1,000 were left alone."""

    verb: str
    matched: int
    accepted: int
    pending: int
    refused: int
    items: list[BulkItem]


class ApprovalView(msgspec.Struct):
    """An open request. A decision must name its `hash`. `by` may decide (empty: anybody with a name), `count` must agree."""

    run: str
    definition: str
    task: str
    site: str
    request: msgspec.Raw
    hash: str
    asked: int
    by: list[str]
    count: int
    given: list[str]
    level: int
    deadline: int


class IncidentView(msgspec.Struct):
    """A task that waits for a person, why, and what a person can do."""

    run: str
    definition: str
    task: str
    site: str
    state: str
    code: str
    message: str
    attempt: int
    allowed: list[str]


class QueryView(msgspec.Struct):
    """The value of a definition's query, read from the replicas here."""

    run: str
    query: str
    value: object
    as_of: int
    staleness_ms: int
