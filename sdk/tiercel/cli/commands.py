"""Commands that are imported only when they are called: ours, and those that installed packages add."""

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

GROUP = "tiercel.commands"

NOUNS = {
    "run": ("tiercel.cli.run_coordination:app", "Start runs, look at them, watch them, steer them, cancel them."),
    "approval": ("tiercel.cli.open:approvals", "See what waits for a person's decision, and decide."),
    "incident": ("tiercel.cli.open:incidents", "See what waits for a person's help, and resolve it."),
    "definition": ("tiercel.cli.definition:app", "Check, register, look at and compare workflow definitions."),
    "schedule": ("tiercel.cli.schedule:app", "Create schedules, look at them, pause them, make up what they missed."),
    "agent": ("tiercel.cli.tokens:agents", "Look at the agents of all sites, and make the tokens that they join with."),
    "site": ("tiercel.cli.tokens:sites", "Look at the sites, pause and empty them, make the tokens that new ones join with."),
    "rule": ("tiercel.cli.rule:app", "Set rules for the runs of all definitions, look at them, remove them."),
    "document": ("tiercel.cli.document:app", "Look at documents and put values into them."),
    "conflict": ("tiercel.cli.conflict:app", "See what lost against what, bring it back, or accept it."),
    "deadlock": ("tiercel.cli.deadlock:app", "See which runs waited for each other in a circle, and who gave way."),
    "contact": ("tiercel.cli.notify:contacts", "Say where people and roles are notified."),
    "notification": ("tiercel.cli.notify:notifications", "See who was notified of what, and try again what did not arrive."),
    "retention": ("tiercel.cli.retention:app", "See what the cloud keeps of runs that have ended, and let what is older go."),
    "log": ("tiercel.cli.log:app", "Check that a log holds what was written to it; archive and cut what is old."),
}

# The help must not import what it lists: `up` alone would bring Ray along.
ADDED_HELP = {
    "up": "Run a cloud and its sites on this machine, in the foreground.",
    "actions": "List what agents on this machine can do.",
    "demo": "Run the demonstration: orders in, report out, a link cut halfway.",
    "cloud": "Run the cloud.",
    "edge": "Run the edge node of a site.",
    "cert": "Make the certificates of cloud, sites and agents; look at them, renew them.",
    "schema": "Print the JSON Schema of workflow definitions; bring files of older forms to today's.",
}


class Commands(TyperGroup):
    """The top of `tiercel`. Lists commands by name and help, and imports the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._places: dict[str, EntryPoint] = {}
        for name, (place, text) in NOUNS.items():
            self._add(EntryPoint(name, place, GROUP), text)
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
            if entry.name not in NOUNS:
                origin = entry.dist.name if entry.dist is not None else entry.value
                self._add(entry, ADDED_HELP.get(entry.name, f"Added by {origin}."))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name in self._places:
            command = _load(self._places[name])
        return name, command, rest

    def _add(self, place: EntryPoint, text: str) -> None:
        self._places[place.name] = place
        self.add_command(TyperCommand(place.name, help=text), place.name)


def _load(place: EntryPoint) -> Any:
    """The command at that place, which is a typer.Typer or a function that typer can run."""
    module, _, attribute = place.value.partition(":")
    try:
        found: typer.Typer | Callable[..., None] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        typer.echo(f"tiercel: the command `{place.name}` ({place.value}) cannot be loaded: {error}", err=True)
        raise typer.Exit(1) from error
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(place.name)(found)
    return typer.main.get_command(alone)
