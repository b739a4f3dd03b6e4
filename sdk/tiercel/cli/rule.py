"""`tiercel rule`: rules that operators set outside of definitions."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.show import Table, print_json
from tiercel.cli.text import clean, short, when
from tiercel.client import DEFAULT_SERVER, Client

app = noun("Set rules for the runs of all definitions, look at them, remove them.")

Name = Annotated[str, typer.Argument(metavar="RULE")]


@app.command()
def add(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML or JSON.", exists=True, dir_okay=False)],
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Add rules. The very same again is fine; another one under its name is refused."""
    found = []
    with Client(server) as client:
        for path in files:
            media = "application/json" if path.suffix.lower() == ".json" else "application/yaml"
            found.append(client.add_rule(_text(path), source=str(path)[-255:], media=media))
    _print(found, output)


@app.command("list")
def list_rules(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the rules: how often they fired, and those that cannot be computed."""
    with Client(server) as client:
        _print(client.rules(), output)


@app.command()
def show(rule: Name, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Show a rule, the sites that have it, and what came of it."""
    with Client(server) as client:
        found = client.rule(rule)
    if output is Format.JSON:
        print_json(found)
        return
    typer.echo(clean_lines(yaml.safe_dump(found["rule"], sort_keys=False, allow_unicode=True).rstrip()))
    _print([found], output)
    for site, reason in found.get("refused", {}).items():
        typer.echo(clean(f"{site} cannot obey it: {reason}"))


@app.command()
def remove(rule: Name, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Remove a rule. A site that is cut off learns of it when it is back."""
    with Client(server) as client:
        _print([client.remove_rule(rule)], output)


def clean_lines(text: str) -> str:
    """The lines of a text, none of which can move the cursor."""
    return "\n".join(map(clean, text.splitlines()))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error


def _print(found: list[dict[str, Any]], output: Format) -> None:
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("rule", "on", "does", "scope", "sites", "fired", "last", "errors", "error"))
    for each in found:
        rule = each["rule"]
        what = rule["on"], short(_does(rule["do"])), short(rule.get("scope", "all"))
        counts = each.get("fired", 0), when(each.get("fired_at", 0)), each.get("errors", 0), short(each.get("error", ""), 120)
        table.rows.append((each["name"], *what, ",".join(each["sites"]), *counts))
    table.print()


def _does(action: dict[str, Any]) -> str:
    ((word, what),) = action.items()
    target = what.get("definition", "") if isinstance(what, dict) else what
    return f"{word} {target}".rstrip()
