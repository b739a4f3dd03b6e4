"""When a certificate is renewed. Pure; times are UTC milliseconds."""

SHARE = 3
"""With a third of its life left: what fails then can fail for weeks, and the warning comes later still."""
SPREAD = 10
"""Within the first tenth of what is left: sites that joined together do not come together."""


def due_ms(not_before_ms: int, not_after_ms: int) -> int:
    """From when on."""
    return not_after_ms - (not_after_ms - not_before_ms) // SHARE


def spread_s(left_ms: int) -> float:
    """The window (s) in which the first attempt is made, at any moment of it, if so much is left."""
    return max(0, left_ms) / SPREAD / 1000
