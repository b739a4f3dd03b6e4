"""Ids of conflicts: the same two sides have the same id, whoever meets them, and in whichever order."""

from hashlib import blake2b

PREFIX = "k-"


def conflict_id(subject: str, field: str, one: str, other: str) -> str:
    """`one` and `other` are the sides' refs."""
    first, second = sorted((one, other))
    said = "\0".join((subject, field, first, second)).encode()
    return PREFIX + blake2b(said, digest_size=10).hexdigest()
