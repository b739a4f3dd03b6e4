"""Which runs somebody wants to see."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

LIVING = ("pending", "active", "paused")
OVER = ("completed", "failed", "cancelled")


class About(Protocol):
    """What is known of a run, whether it goes on or has ended."""

    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def sites(self) -> Sequence[str]: ...
    @property
    def parent(self) -> str: ...
    @property
    def created_ms(self) -> int: ...
    @property
    def ended_ms(self) -> int: ...


class Wanted(msgspec.Struct, frozen=True):
    """Runs for which all that is given holds. `definition` is `name@version`, or a name for all its versions; `labels` must all
    be there with these values. Moments are UTC ms, 0 for none: from `_after` on, and before `_before`. What has not ended is in
    no span of ends."""

    state: str = ""
    definition: str = ""
    site: str = ""
    labels: dict[str, str] = {}
    parent: str = ""
    created_after: int = 0
    created_before: int = 0
    ended_after: int = 0
    ended_before: int = 0

    def fits(self, state: str, definition: str, run: About) -> bool:
        """Is it one of them?"""
        name = definition if "@" in self.definition else definition.rpartition("@")[0]
        return (
            self.state in ("", state)
            and self.definition in ("", name)
            and (not self.site or self.site in run.sites)
            and self.labels.items() <= run.labels.items()
            and self.parent in ("", run.parent)
            and _is_within(run.created_ms, self.created_after, self.created_before)
            and _is_within(run.ended_ms, self.ended_after, self.ended_before)
        )

    def may_live(self) -> bool:
        """Can a run that has not ended be one of them?"""
        return self.state not in OVER and not self.ended_after and not self.ended_before

    def may_have_ended(self) -> bool:
        """Can one that has?"""
        return self.state not in LIVING


ALL = Wanted()


def _is_within(ms: int, after: int, before: int) -> bool:
    return (ms >= after if after else True) and (0 < ms < before if before else True)
