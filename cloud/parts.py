"""All Parts of a planner as one: who takes what, looked up once by the type of event, so that an event that nobody takes costs
one look into a dict."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloud.part import Elapse, Fold, Hear, Part, Step
from sync.taking import apart, together
from sync.values import Now

if TYPE_CHECKING:
    from cloud.outcomes import Outcome
    from cloud.runs import Run


class Parts:
    """The Parts in the order in which they see what happens. Two that take the same input or timer are a mistake."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.steps: dict[type, Step] = apart(part.steps() for part in parts)
        self.timers: dict[str, Elapse] = apart(part.timers() for part in parts)
        self.own_folds: dict[type, list[Fold]] = together(part.own_folds() for part in parts)
        self.site_folds: dict[type, list[Fold]] = together(part.site_folds() for part in parts)
        self.hears: dict[type, list[Hear]] = together(part.hears() for part in parts)

    def ended(self, run: "Run", how: "Outcome", now: Now, out: list[object]) -> None:
        """A run has ended."""
        for part in self._parts:
            part.ended(run, how, now, out)

    def greet(self, site: str, now: Now, out: list[object]) -> None:
        """The stream for a site may be written to from now on."""
        for part in self._parts:
            part.greet(site, now, out)

    def untell(self, site: str) -> None:
        """The stream for a site begins anew."""
        for part in self._parts:
            part.untell(site)

    def settle(self, now: Now, out: list[object]) -> None:
        """A batch is over."""
        for part in self._parts:
            part.settle(now, out)

    def restored(self, now: Now, out: list[object]) -> None:
        """The log has been folded."""
        for part in self._parts:
            part.restored(now, out)

    def save(self) -> dict[str, bytes]:
        """What each has to save, by its name."""
        return {part.name: body for part in self._parts if (body := part.save())}

    def restore(self, saved: dict[str, bytes]) -> None:
        """Begin from what `save` gave. What a later version saved under a name unknown here is left alone."""
        for part in self._parts:
            if (body := saved.get(part.name)) is not None:
                part.restore(body)
