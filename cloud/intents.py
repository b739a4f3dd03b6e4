"""Commands for fragments whose home is a site: recorded here, decided by the home, answered by its events."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from cloud.port import Problem
from sync.values import Now
from workflow.event import Event
from workflow.events import CommandAnswered
from workflow.steering_events import CommandRequested

if TYPE_CHECKING:
    from cloud.fleet import Fleet
    from cloud.ids import Ids

COMMANDS_KEPT = 10_000


class Intent(msgspec.Struct, omit_defaults=True):
    """One command. `homes` are the sites whose streams carry it; `state`: pending, accepted or refused.

    A cancel is accepted once one home has: the others had ended before. An order is for its `targets`, and accepted once all of
    them have, refused as soon as one has; `accepted` and `refused` are those that did. It is for the others even then. Of a
    cancel only those that accepted are kept.
    """

    id: str
    run: str
    kind: str
    state: str
    created: int
    homes: list[str]
    detail: str = ""
    arguments: bytes = b""
    targets: list[str] = []
    accepted: list[str] = []
    refused: list[str] = []

    @property
    def is_open(self) -> bool:
        """Is there a home that has not answered? One that was refused before `refused` was kept waits for nobody."""
        return self.state == "pending" or (bool(self.refused) and not {*self.targets} <= {*self.accepted, *self.refused})

    def is_known_to(self, site: str) -> bool:
        """Does the stream for the site carry it, or has the site answered it?"""
        return site in (*self.homes, *self.accepted, *self.refused)


@dataclass(slots=True)
class Intents:
    """The latest commands and what has become of each; the oldest are forgotten, those first that all have answered."""

    commands: dict[str, Intent] = field(default_factory=dict)

    def note(self, command: str, run: str, home: str, reason: str, time_ms: int) -> None:
        """A run is to be cancelled; this is in the stream for `home` from now on (empty: for none yet)."""
        self.keep(Intent(command, run, "cancel", "pending", time_ms, [], reason), home)

    def note_order(self, event: CommandRequested, run: str, home: str, time_ms: int) -> None:
        """The same of an order. One without targets was decided by the cloud when it recorded it."""
        state = "pending" if event.homes else "accepted"
        command, arguments, targets = event.command, event.arguments, event.homes
        self.keep(Intent(command, run, event.verb, state, time_ms, [], "", arguments, targets), home)

    def keep(self, new: Intent, home: str) -> None:
        """Keep a command, or note that the stream for `home` carries one that is kept."""
        intent = self.commands.setdefault(new.id, new)
        if intent is new and len(self.commands) > COMMANDS_KEPT:
            answered = (known.id for known in self.commands.values() if not known.is_open)
            del self.commands[next(answered, next(iter(self.commands)))]
        if home:
            intent.homes.append(home)

    def is_full(self) -> bool:
        """Is nothing of what is kept answered?"""
        return len(self.commands) >= COMMANDS_KEPT and all(known.is_open for known in self.commands.values())

    def unsent(self, site: str) -> list[Intent]:
        """Orders for the site that its stream does not carry yet, the oldest first."""
        return [i for i in self.commands.values() if site in i.targets and not i.is_known_to(site) and i.is_open]

    def untell(self, site: str) -> None:
        """The stream for the site begins anew: what it has not answered, it has not been told."""
        for intent in self.commands.values():
            if site in intent.homes and site not in (*intent.accepted, *intent.refused):
                intent.homes = [home for home in intent.homes if home != site]

    def hand_on(self, run: str, old: str, new: str) -> None:
        """The run has a new home: what its old home has not answered is for the new one, whose stream does not carry it yet."""
        for intent in self.commands.values():
            if intent.run == run and intent.is_open and old not in (*intent.accepted, *intent.refused):
                intent.targets = [new if site == old else site for site in intent.targets]
                intent.homes = [site for site in intent.homes if site not in (old, new)]

    def answer(self, event: CommandAnswered, site: str) -> bool:
        """A home has decided. Is the command settled by it?"""
        intent = self.commands.get(event.command)
        if intent is None:
            return False
        was_pending = intent.state == "pending"
        if not intent.targets:
            intent.state = "accepted" if event.accepted or intent.state == "accepted" else "refused"
            intent.detail = event.detail or intent.detail
            if event.accepted and site not in intent.accepted:
                intent.accepted.append(site)
        elif not event.accepted:
            if was_pending or (intent.refused and site not in intent.refused):
                intent.refused.append(site)
            intent.state = "refused"
            intent.detail = f"{intent.detail}; {event.detail}" if intent.detail else event.detail
        elif site not in intent.accepted:
            intent.accepted.append(site)
            intent.detail = event.detail or intent.detail
            if was_pending and set(intent.targets) <= set(intent.accepted):
                intent.state = "accepted"
        return was_pending and intent.state != "pending"

    def restore(self, commands: Iterable[Intent]) -> None:
        """Begin from a snapshot."""
        self.commands = {command.id: command for command in commands}


def commands_full() -> Problem:
    """503: as many wait as are kept."""
    detail = f"{COMMANDS_KEPT:,} commands wait for their sites' answers: nothing was sent; try again when some have come"
    return Problem(503, "commands_full", detail)


class Ordering(Protocol):
    """What a Part that orders something of a site needs of the planner."""

    @property
    def fleet(self) -> "Fleet": ...
    @property
    def ids(self) -> "Ids": ...
    @property
    def intents(self) -> Intents: ...
    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...
