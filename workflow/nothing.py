"""Empty defaults that all models share.

Pydantic copies a default that has no hash for every object it makes: three copies for each of 100,000 tasks are a third of the
time in which all of them are compiled. These have one, and refuse to be changed.
"""

from typing import Any, NoReturn


def _refuse(self: object, *given: object, **named: object) -> NoReturn:
    raise TypeError("this is the default that all share: make a new one instead of changing it")


class NoItems(list[Any]):
    """No items, for ever."""

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]  # It is always the same, so it may have one.
    append = extend = insert = __setitem__ = __iadd__ = __imul__ = _refuse


class NoFields(dict[str, Any]):
    """No fields, for ever."""

    __slots__ = ()
    __hash__ = object.__hash__  # type: ignore[assignment]  # It is always the same, so it may have one.
    update = setdefault = __setitem__ = __ior__ = _refuse


NO_ITEMS = NoItems()
NO_FIELDS = NoFields()
