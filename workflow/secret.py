"""A secret is only a name here: `secret://name`. Its value exists at the agent, for as long as one task needs it."""

import re

PREFIX = "secret://"
RULE = "secret://name (letters, digits and . _ / -)"

_REFERENCE = re.compile(r"secret://[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", re.ASCII)
_IN_JSON = f'"{PREFIX}'.encode()


def is_reference(value: object) -> bool:
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def may_hold_reference(encoded: bytes) -> bool:
    """Does a text in this JSON begin like a reference? An agent would resolve it."""
    return _IN_JSON in encoded
