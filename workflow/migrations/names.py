"""Names of older forms, made into ids of today's, in one way: lower case, `-` for what is not allowed, `t-` before another
beginning than a letter, 128 characters at most. Two names that become one id are refused."""

import re
from collections.abc import Iterable

from workflow.problems import Place, Problems

_NOT_ALLOWED = re.compile(r"[^a-z0-9_-]+")
_NOT_IN_INPUTS = re.compile(r"[^A-Za-z0-9_]+")
LENGTH_MAX = 128


def identifier(name: str) -> str:
    """`Pick Item #2` as `pick-item-2`."""
    id = _NOT_ALLOWED.sub("-", name.strip().lower()).strip("-")
    return (id if id[:1].isalpha() else f"t-{id}")[:LENGTH_MAX].rstrip("-")


def input_name(name: str) -> str:
    """`order-id` as `order_id`."""
    allowed = _NOT_IN_INPUTS.sub("_", name)
    return (allowed if not allowed[:1].isdigit() else f"_{allowed}")[:LENGTH_MAX] or "_"


def identifiers(names: Iterable[str], place: Place, problems: Problems) -> dict[str, str]:
    """The id of each name."""
    ids: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        id = identifier(name)
        if id in taken:
            message = f"{name!r} and {taken[id]!r} would both become {id!r}"
            problems.add((*place, name), message, "names that differ in more than case and signs")
        taken.setdefault(id, name)
        ids[name] = id
    return ids
