"""Commands for fragments whose home is a site: recorded here, decided by the home, answered by its events."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from workflow.events import CommandAnswered

COMMANDS_KEPT = 10_000


class Intent(msgspec.Struct, omit_defaults=True):
    """One command. `homes` are the sites whose streams carry it; `state`: pending (no home has answered), accepted or refused."""

    id: str
    run: str
    kind: str
    state: str
    created: int
    homes: list[str]
    detail: str = ""


@dataclass(slots=True)
class Intents:
    """The latest commands and what has become of each; the oldest are forgotten."""

    commands: dict[str, Intent] = field(default_factory=dict)

    def note(self, command: str, run: str, home: str, reason: str, time_ms: int) -> None:
        """The command was given; it is in the stream for `home` from now on (empty: for none yet)."""
        intent = self.commands.get(command)
        if intent is None:
            intent = self.commands[command] = Intent(command, run, "cancel", "pending", time_ms, [], reason)
            while len(self.commands) > COMMANDS_KEPT:
                del self.commands[next(iter(self.commands))]
        if home:
            intent.homes.append(home)

    def answer(self, event: CommandAnswered) -> None:
        """A home has decided. One that accepted is enough: the others had ended before."""
        if (intent := self.commands.get(event.command)) is not None:
            intent.state = "accepted" if event.accepted or intent.state == "accepted" else "refused"
            intent.detail = event.detail or intent.detail

    def restore(self, commands: Iterable[Intent]) -> None:
        """Begin from a snapshot."""
        self.commands = {command.id: command for command in commands}
