"""Keys that order the items of a list: between any two there is another one (fractional indexing)."""

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FIRST, LAST = DIGITS[0], DIGITS[-1]
_VALUE = {digit: value for value, digit in enumerate(DIGITS)}


def between(before: str, after: str, site: str = "") -> str:
    """A key larger than `before` and smaller than `after`; empty strings are the ends of the list. Two sites that insert at the
    same place get different keys if they give their names."""
    assert not after or before < after, f"{before!r} does not come before {after!r}"
    key = _between(before, after)
    return f"{key}.{site}" if site else key


def _between(before: str, after: str) -> str:
    key = ""
    while True:
        place = len(key)
        low = _VALUE.get(before[place], -1) if place < len(before) else -1
        high = _VALUE.get(after[place], -1) if after and place < len(after) else len(DIGITS)
        if before[:place] == key and place < len(before) and before[place] not in _VALUE:
            low = -1
        if after and not after.startswith(key):
            high = len(DIGITS)
        if not before.startswith(key):
            low = -1
        if high - low > 1:
            middle = (low + high) // 2
            if middle > 0 or (middle == 0 and low >= 0):
                return key + DIGITS[middle]
            key += FIRST
            continue
        key += DIGITS[max(low, 0)]
