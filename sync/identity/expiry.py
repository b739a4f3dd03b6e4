"""What is said of a certificate's end."""

from sync.identity.names import Identity

WARN_MS = 14 * 86_400_000
"""So long before its end a certificate is warned of."""
GRACE_MS = 3_600_000
"""So long after its certificate's end a connection goes on: clocks differ, and a new one may be on its way."""


def expiry_problem(identity: Identity, not_after_ms: int, now_ms: int, *, to_itself: bool = False) -> str:
    """What a person has to know and do; empty while there is more time than `WARN_MS`. Times are UTC milliseconds. In the
    log of the node itself (`to_itself`) it says, too, what a site can do that has no CA at hand."""
    left_ms = not_after_ms - now_ms
    if left_ms > WARN_MS:
        return ""
    when = f"expired {span(-left_ms)} ago" if left_ms <= 0 else f"expires in {span(left_ms)}"
    return f"certificate of {identity.words} {when}: {identity.again if to_itself and left_ms <= 0 else identity.reissue}"


def outlived(not_after_ms: int, now_ms: int) -> str:
    """Why a connection must end now, empty if it may go on. `not_after_ms` (UTC) of 0: it has shown no certificate."""
    over_ms = now_ms - not_after_ms
    return f"the certificate of this connection expired {span(over_ms)} ago" if not_after_ms and over_ms > GRACE_MS else ""


def span(ms: int) -> str:
    """A length of time in its largest unit, rounded down."""
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= unit_ms:
            return f"{ms // unit_ms} {unit}"
    return f"{ms // 1000} s"
