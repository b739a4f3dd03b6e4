"""`tiercel definition`: register workflow definitions and look at them."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from tiercel.answers import Definition
from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.show import Table, print_json
from tiercel.client import DEFAULT_SERVER, Client

app = noun("Register and look at workflow definitions.")


def register_file(client: Client, path: Path) -> Definition:
    """Register what the file holds. Raises ApiError whose problems name the file and the line."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error
    media = "application/json" if path.suffix.lower() == ".json" else "application/yaml"
    return client.register(text, source=str(path)[-255:], media=media)


@app.command()
def register(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML or JSON.", exists=True, dir_okay=False)],
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Register definitions. A version never changes: the same content again is fine, other content is refused."""
    with Client(server) as client:
        _print([register_file(client, path) for path in files], output)


@app.command("list")
def list_definitions(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the registered definitions."""
    with Client(server) as client:
        _print(client.definitions(), output)


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
        typer.echo(yaml.safe_dump(definition["document"], sort_keys=False, allow_unicode=True).rstrip())


def _print(definitions: list[Definition], output: Format) -> None:
    if output is Format.JSON:
        print_json(definitions)
    else:
        Table(("definition", "tasks"), [(each["ref"], each["tasks"]) for each in definitions]).print()
