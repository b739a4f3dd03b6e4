"""The command `tiercel schema`: prints the JSON Schema of workflow definitions, for editors and other tools."""

import msgspec
import typer

from workflow.definition import json_schema


def command() -> None:
    """Print the JSON Schema of workflow definitions."""
    typer.echo(msgspec.json.format(msgspec.json.encode(json_schema())).decode())
