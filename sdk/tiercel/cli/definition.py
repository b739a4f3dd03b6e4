"""`tiercel definition`: check workflow definitions, register them, look at them, compare them."""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, cast

import typer
import yaml

from tiercel.answers import ApiError, Definition
from tiercel.cli.difference import differences
from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.show import Table, print_json
from tiercel.cli.text import clean
from tiercel.client import ANSWER_S_MAX, DEFAULT_SERVER, Client, definition_s

app = noun("Check, register, look at and compare workflow definitions.")


LARGE_CHARACTERS = 1 << 20
CHECKS = "tiercel.checks"  # Entry points: the platform checks definitions without a server.


def register_file(client: Client, path: Path) -> Definition:
    """Register what the file holds. Raises ApiError whose problems name the file and the line."""
    text = _text(path)
    _announce(path, len(text))
    return client.register(text, source=str(path)[-255:], media=_media(path))


def check_file(client: Client, path: Path) -> Definition:
    """What the file defines: checked on this machine if the platform is installed here, else by the server. Raises ApiError."""
    text = _text(path)
    check = next((entry.load() for entry in entry_points(group=CHECKS, name="definition")), None)
    _announce(path, len(text))
    if check is None:
        return client.validate(text, source=str(path)[-255:], media=_media(path))
    try:
        return cast(Definition, check(text, str(path)))
    except ValueError as refusal:
        problems = [str(problem) for problem in getattr(refusal, "problems", ())]
        raise ApiError(422, "invalid_definition", str(refusal), problems) from None


def _announce(path: Path, characters: int) -> None:
    """Say what is under way, if it takes long enough for somebody to wonder."""
    if characters > LARGE_CHARACTERS:
        seconds = ANSWER_S_MAX + definition_s(characters)
        size = f"{characters / (1 << 20):.1f} MiB"
        typer.echo(f"{clean(str(path))} has {size}: reading and checking it, which takes {seconds:.0f} s at most", err=True)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error


def _media(path: Path) -> str:
    return "application/json" if path.suffix.lower() == ".json" else "application/yaml"


Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML or JSON.", exists=True, dir_okay=False)]


@app.command()
def register(
    files: Files,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Register definitions. A version never changes: the same content again is fine, other content is refused."""
    with Client(server) as client:
        _print([register_file(client, path) for path in files], output)


@app.command()
def validate(files: Files, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Check definitions without registering them; no server is needed where the platform is installed."""
    with Client(server) as client:
        _print([check_file(client, path) for path in files], output)


@app.command()
def versions(
    name: Annotated[str, typer.Argument(metavar="NAME")], server: Server = DEFAULT_SERVER, output: Output = Format.TABLE
) -> None:
    """List the registered versions of a definition."""
    with Client(server) as client:
        found = [each for each in client.definitions() if each["name"] == name]
        _print(found or [client.definition(name)], output, latest=True)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="REF", help="name@version, or name for the latest.")],
    after: Annotated[str, typer.Argument(metavar="REF|FILE", help="Another registered one, or a file.")],
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Say what differs between two definitions, field by field: + added, - removed, ~ changed."""
    with Client(server) as client:
        path = Path(after)
        there = check_file(client, path) if path.is_file() else client.definition(after)
        found = list(differences(client.definition(before)["document"], there["document"]))
    if output is Format.JSON:
        print_json([each._asdict() for each in found])
    else:
        for each in found:
            typer.echo(clean(str(each)))
        if not found:
            typer.echo("no difference")


@app.command("list")
def list_definitions(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the registered definitions."""
    with Client(server) as client:
        _print(client.definitions(), output, latest=True)


@app.command()
def show(
    ref: Annotated[str, typer.Argument(metavar="REF", help="name@version, or name for the latest.")],
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Print a definition."""
    with Client(server) as client:
        definition = client.definition(ref)
    if output is Format.JSON:
        print_json(definition)
    else:
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # Where it is there, it is ten times as fast.
        typer.echo(yaml.dump(definition["document"], Dumper=dumper, sort_keys=False, allow_unicode=True).rstrip())


def _print(definitions: list[Definition], output: Format, *, latest: bool = False) -> None:
    if output is Format.JSON:
        print_json(definitions)
    else:
        table = Table(("definition", "tasks", "latest") if latest else ("definition", "tasks"))
        for each in definitions:
            mark = ("yes" if each.get("latest") else "",) if latest else ()
            table.rows.append((each["ref"], each["tasks"], *mark))
        table.print()
        for each in definitions:
            if each.get("migrations"):
                typer.echo(f"{each['ref']} was brought to today's form: {', '.join(each['migrations'])}")
            if each.get("left_out"):
                typer.echo(f"{each['ref']}: left out: {', '.join(each['left_out'])}")
