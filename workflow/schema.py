"""The commands `tiercel schema`: the JSON Schema of definitions, and files of older forms brought to today's or back."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import yaml

from workflow.definition import json_schema
from workflow.loading import load, read_text
from workflow.migrations import FORMS, TODAY, Migrated, form_of, migrate
from workflow.problems import DefinitionError, choices

SUFFIXES = (".yaml", ".yml", ".json")
BACKUP = ".bak"

command = typer.Typer(
    help="Print the JSON Schema of workflow definitions; bring files of older forms to today's.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML or JSON.", exists=True, dir_okay=False)]
File = Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON.", exists=True, dir_okay=False)]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Searched with all that is in it.", exists=True, file_okay=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")]
To = Annotated[str, typer.Option("--to", metavar="VERSION", help=f"The form to bring it to: {choices(FORMS)}.")]


@command.callback(invoke_without_command=True)
def schema(context: typer.Context) -> None:
    """Print the JSON Schema of workflow definitions; with a command, look at files of any form."""
    if context.invoked_subcommand is None:
        show()


@command.command()
def show() -> None:
    """Print the JSON Schema of workflow definitions."""
    typer.echo(msgspec.json.format(msgspec.json.encode(json_schema())).decode())


@command.command()
def status(files: Files) -> None:
    """Say which form each file has, and what brings it to today's. Exit code 1 if any cannot be read."""

    def look(path: Path) -> str:
        document = read_text(_text(path), str(path))
        form = form_of(document)
        if form == TODAY:
            return f"{path}: today's form"
        return f"{path}: form {form}; to today's: {', '.join(migrate(document).steps)}"

    _each(files, look)


@command.command("migrate")
def migrate_file(
    file: File,
    dry_run: DryRun = False,
    to: To = TODAY,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write here, and leave FILE as it is.")] = None,
    back: Annotated[bool, typer.Option("--back", help=f"Put FILE{BACKUP} back in its place.")] = False,
) -> None:
    """Bring a file to today's form, or to an older one. What was there stays beside it as FILE.bak."""
    if back:
        _each([file], lambda path: _restore(path, dry_run=dry_run))
    else:
        _each([file], lambda path: _migrate(path, to, out, dry_run=dry_run))


@command.command("migrate-all")
def migrate_all(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Searched with all that is in it.", exists=True, file_okay=False)
    ],
    dry_run: DryRun = False,
    back: Annotated[bool, typer.Option("--back", help=f"Put every FILE{BACKUP} below it back in its place.")] = False,
) -> None:
    """Bring all definitions below a directory to today's form; other YAML and JSON files are passed over."""
    if back:
        kept = sorted(path.with_name(path.name.removesuffix(BACKUP)) for path in directory.rglob(f"*{BACKUP}") if path.is_file())
        _each([path for path in kept if path.suffix in SUFFIXES], lambda path: _restore(path, dry_run=dry_run))
        return
    paths = sorted(path for path in directory.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    _each(paths, lambda path: _migrate_definition(path, dry_run=dry_run))


def _each(paths: list[Path], act: Callable[[Path], str]) -> None:
    """One line per file; all that can be done is done before the exit code tells that something could not."""
    refused = False
    for path in paths:
        try:
            if said := act(path):
                typer.echo(said)
        except DefinitionError as refusal:
            refused = True
            typer.echo(f"{path}: refused", err=True)
            for problem in refusal.problems:
                typer.echo(f"  {problem}", err=True)
    if refused:
        raise typer.Exit(1)


def _migrate_definition(path: Path, *, dry_run: bool) -> str:
    try:
        document = read_text(_text(path), str(path))
    except DefinitionError:
        return f"{path}: passed over, it cannot be read"
    if not isinstance(document, dict) or "name" not in document or not ({"tasks", "steps"} & document.keys()):
        return f"{path}: passed over, it is no definition"
    return _migrate(path, TODAY, None, dry_run=dry_run)


def _migrate(path: Path, to: str, out: Path | None, *, dry_run: bool) -> str:
    text = _text(path)
    moved = migrate(read_text(text, str(path)), to)
    if not moved.steps and out is None:
        return f"{path}: has this form already"
    written = _written(moved, out or path)
    if to == TODAY:
        load(written, str(out or path))  # A file that would then be refused is not written.
    said = ", ".join([*moved.steps, *(f"left out: {name}" for name in moved.left_out)]) or "no change"
    if dry_run:
        return f"{path}: would be brought: {said}"
    if out is None:
        path.with_name(path.name + BACKUP).write_text(text, "utf-8")
    (out or path).write_text(written, "utf-8")
    return f"{out or path}: {said}"


def _restore(path: Path, *, dry_run: bool) -> str:
    backup = path.with_name(path.name + BACKUP)
    if not backup.is_file():
        raise typer.BadParameter(f"{backup} is not there; with --to an older form is written anew")
    if dry_run:
        return f"{path}: would be as it was before"
    backup.replace(path)
    return f"{path}: as it was before"


def _written(moved: Migrated, path: Path) -> str:
    if path.suffix == ".json":
        return msgspec.json.format(msgspec.json.encode(moved.document)).decode() + "\n"
    return yaml.dump(moved.document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes no anchors: they say nothing to people here."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error


def check(text: str, source: str) -> dict[str, Any]:
    """What a definition is, for `tiercel definition validate`: its name, tasks, canonical document, and the migrations that
    brought it to today's form. Raises DefinitionError."""
    loaded = load(text, source)
    return {
        "ref": loaded.plan.ref,
        "name": loaded.definition.name,
        "version": loaded.definition.version,
        "tasks": len(loaded.plan.tasks),
        "document": msgspec.json.decode(loaded.plan.document),
        "migrations": list(loaded.migrations),
        "left_out": list(loaded.left_out),
    }
