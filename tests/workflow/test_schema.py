"""The command `tiercel schema`."""

import json

import typer
from typer.testing import CliRunner

from workflow.definition import json_schema
from workflow.schema import command


def test_the_schema_is_printed() -> None:
    """The command prints the published JSON Schema and nothing else."""
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app)
    assert (0, json_schema()) == (result.exit_code, json.loads(result.stdout))
