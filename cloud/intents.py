"""Commands for fragments whose home is a site: recorded here, decided by the home, answered by its events."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cloud.views import CommandView
from workflow.events import CommandAnswered

COMMANDS_KEPT = 10_000


@dataclass(slots=True)
class Intents:
    """The latest commands and what has become of each; the oldest are forgotten."""

    commands: dict[str, CommandView] = field(default_factory=dict)

    def note(self, command: str, run: str, home: str, reason: str, time_ms: int) -> None:
        """The command was given; it is in the stream for `home` from now on (empty: for none yet)."""
        view = self.commands.get(command)
        if view is None:
            view = self.commands[command] = CommandView(command, run, "cancel", "pending", time_ms, [], reason)
            while len(self.commands) > COMMANDS_KEPT:
                del self.commands[next(iter(self.commands))]
        if home:
            view.homes.append(home)

    def answer(self, event: CommandAnswered) -> None:
        """A home has decided. One that accepted is enough: the others had ended before."""
        if (view := self.commands.get(event.command)) is not None:
            view.state = "accepted" if event.accepted or view.state == "accepted" else "refused"
            view.detail = event.detail or view.detail

    def restore(self, commands: Iterable[CommandView]) -> None:
        """Begin from a snapshot."""
        self.commands = {command.id: command for command in commands}
