"""What the cloud shows of standing rules. Times are UTC ms."""

import msgspec

from cloud.ruling.core import Known, RuleBook


class RuleView(msgspec.Struct, omit_defaults=True):
    """A standing rule: what it says, which sites have been told, how often it fired (last at `fired_at`), how often it could not
    be computed and why (`error`, last at `error_at`), and which sites cannot obey it."""

    name: str
    rule: msgspec.Raw
    set: int
    sites: list[str]
    fired: int = 0
    fired_at: int = 0
    errors: int = 0
    error: str = ""
    error_at: int = 0
    refused: dict[str, str] = {}


def rule_view(book: RuleBook, name: str) -> RuleView:
    """One of them. Raises KeyError."""
    known: Known = book.rules[name]
    return RuleView(
        name=name,
        rule=msgspec.Raw(known.document),
        set=known.set_ms,
        sites=[site for site, told in sorted(book.told.items()) if told.get(name) == known.set_ms],
        fired=known.fired,
        fired_at=known.fired_ms,
        errors=known.errors,
        error=known.error,
        error_at=known.error_ms,
        refused=known.refused,
    )
