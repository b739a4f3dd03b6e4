"""All Parts of an executor as one: who takes what, looked up once by the type of event, so that an event that nobody takes costs
one look into a dict."""

from collections.abc import Sequence

from edge.part import Elapse, Fold, Hear, Obey, Part, Step
from sync.taking import apart, together
from sync.values import Now


class Parts:
    """The Parts in the order in which they see what happens. Two that take the same input or timer are a mistake."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.steps: dict[type, Step] = apart(part.steps() for part in parts)
        self.timers: dict[str, Elapse] = apart(part.timers() for part in parts)
        self.orders: dict[type, Obey] = apart(part.orders() for part in parts)
        self.folds: dict[type, list[Fold]] = together(part.folds() for part in parts)
        self.hears: dict[type, list[Hear]] = together(part.hears() for part in parts)

    def linked(self, now: Now, out: list[object]) -> None:
        """The link to the cloud is up."""
        for part in self._parts:
            part.linked(now, out)

    def lost(self, now: Now, out: list[object]) -> None:
        """The link to the cloud is down."""
        for part in self._parts:
            part.lost(now, out)

    def met(self, agent: str, now: Now, out: list[object]) -> None:
        """An agent has come."""
        for part in self._parts:
            part.met(agent, now, out)

    def settle(self, now: Now, out: list[object]) -> None:
        """A batch is over."""
        for part in self._parts:
            part.settle(now, out)

    def restored(self, now: Now, out: list[object]) -> None:
        """The log has been folded."""
        for part in self._parts:
            part.restored(now, out)

    def wake_mono_ms(self) -> int | None:
        """When the first of them wants a turn."""
        return min((due for part in self._parts if (due := part.wake_mono_ms()) is not None), default=None)

    def save(self) -> dict[str, bytes]:
        """What each has to save, by its name."""
        return {part.name: body for part in self._parts if (body := part.save())}

    def restore(self, saved: dict[str, bytes]) -> None:
        """Begin from what `save` gave. What a later version saved under a name unknown here is left alone."""
        for part in self._parts:
            if (body := saved.get(part.name)) is not None:
                part.restore(body)
