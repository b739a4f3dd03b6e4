"""`tiercel document`: JSON values with versions that belong to no run."""

import asyncio
import json
from typing import Annotated, Any

import typer

from tiercel.cli.difference import differences
from tiercel.cli.document_watching import follow
from tiercel.cli.options import Server, noun
from tiercel.cli.run_growing import text_of
from tiercel.cli.show import link, note, print_json
from tiercel.cli.text import clean
from tiercel.client import DEFAULT_SERVER, Client

app = noun("Look at documents and put values into them.")

Id = Annotated[str, typer.Argument(metavar="DOCUMENT", help="shared/NAME, site/SITE/NAME, agent/SITE/AGENT/NAME, run/RUN/NAME.")]
Value = Annotated[str, typer.Argument(metavar="JSON")]
Version = Annotated[int, typer.Argument(metavar="VERSION", min=1)]
Expected = Annotated[int | None, typer.Option("--expected", help="Only over this version; 0: only if there is none.", min=0)]
Base = Annotated[int | None, typer.Option("--base", help="The version you saw; what came since is kept as a conflict.", min=0)]

Edit = Annotated[str, typer.Option("--edit", metavar="ID", help="Asked again under the same id, it is not done again.")]


@app.command("list")
def list_documents(prefix: Annotated[str, typer.Argument()] = "", server: Server = DEFAULT_SERVER) -> None:
    """List the documents whose ids begin with PREFIX, as JSON."""
    with Client(server) as client:
        print_json(client.documents(prefix))


@app.command()
def get(
    document: Id,
    consistency: Annotated[str, typer.Option(help="strong, bounded or eventual; without it the document's own level.")] = "",
    max_staleness: Annotated[str, typer.Option(help="Not older than this, such as 2s.")] = "",
    min_version: Annotated[int | None, typer.Option(help="From this version on.", min=0)] = None,
    degrade: Annotated[bool, typer.Option("--degrade", help="Take what there is, marked, if it is outside of that.")] = False,
    version: Annotated[int | None, typer.Option(help="As it was in this version.", min=1)] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Show a document as JSON: value, version, how fresh it is, and what is pending."""
    if version is not None:
        with Client(server) as client:
            print_json(client.document_version(document, version))
        return
    asked = {"consistency": consistency, "max_staleness": max_staleness, "degrade": "eventual" if degrade else ""}
    if min_version is not None:
        asked["min_version"] = str(min_version)
    with Client(server) as client:
        print_json(client.document(document, **{name: value for name, value in asked.items() if value}))


@app.command()
def create(
    document: Id,
    value: Value,
    level: Annotated[str, typer.Option(help="eventual, strong, or bounded,versions=10,time=5s.")] = "eventual",
    resolver: Annotated[
        str, typer.Option(help="home; ot: edits are transformed; lww, semantic: every site writes at once.")
    ] = "home",
    rule: Annotated[list[str] | None, typer.Option(metavar="FIELD=RULE", help="Of semantic: speed=safety,run,slow,stop.")] = None,
    sites: Annotated[str, typer.Option(help="Who holds a shared one, such as harbour,airport; without it all sites.")] = "",
    acyclic: Annotated[bool, typer.Option("--acyclic", help="Of ot: no edge closes a circle.")] = False,
    check: Annotated[list[str] | None, typer.Option(metavar="CEL", help="Of ot: must hold, as value.speed <= 2.0.")] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Begin a document on terms that stay as long as it exists."""
    with Client(server) as client:
        terms = {**_terms(level, resolver, rule or [], sites), **_checks(acyclic, check or [])}
        print_json(client.create_document(document, value, **terms))


def _checks(acyclic: bool, checks: list[str]) -> dict[str, str]:
    said = {"acyclic": "true"} if acyclic else {}
    return {**said, "checks": json.dumps(checks)} if checks else said


def _terms(level: str, resolver: str, rules: list[str], sites: str) -> dict[str, str]:
    terms = {"level": level, "resolver": resolver if resolver != "home" else "", "sites": sites}
    if rules:
        named = dict(rule.partition("=")[::2] for rule in rules)
        terms["rules"] = json.dumps(named)
    return {name: value for name, value in terms.items() if value}


@app.command()
def put(
    document: Id,
    value: Value,
    expected: Expected = None,
    base: Base = None,
    edit: Edit = "",
    server: Server = DEFAULT_SERVER,
) -> None:
    """Put a JSON value. While the document's home cannot be reached, the edit is pending."""
    with Client(server) as client:
        found = client.put_document(document, value, expected, base, edit=edit)
    print_json(found)
    _note_pending(found, edit)


@app.command()
def patch(
    document: Id,
    value: Value,
    expected: Expected = None,
    base: Base = None,
    edit: Edit = "",
    server: Server = DEFAULT_SERVER,
) -> None:
    """Replace members of the value by a JSON Merge Patch; null removes one."""
    with Client(server) as client:
        found = client.patch_document(document, value, expected, base, edit=edit)
    print_json(found)
    _note_pending(found, edit)


@app.command()
def edit(
    document: Id,
    operations: Annotated[str, typer.Option("--operations", metavar="JSON|FILE", help="A list of operations, or its file.")],
    expected: Expected = None,
    base: Annotated[int | None, typer.Option("--base", help="The version they are made on top of.", min=0)] = None,
    edit: Edit = "",
    server: Server = DEFAULT_SERVER,
) -> None:
    """Do operations to a document that began with --resolver ot; they go behind what came since."""
    text = operations if operations.lstrip().startswith("[") else text_of(operations)
    with Client(server) as client:
        found = client.edit_document(document, text, expected, base, edit=edit)
    print_json(found)
    _note_pending(found, edit)


@app.command()
def delete(document: Id, expected: Expected = None, base: Base = None, edit: Edit = "", server: Server = DEFAULT_SERVER) -> None:
    """Take a document away. Its versions count on if it begins again."""
    with Client(server) as client:
        found = client.delete_document(document, expected, base, edit=edit)
    if not _note_pending(found, edit):
        typer.echo(f"{document} is deleted")


def _note_pending(found: dict[str, Any], edit: str) -> bool:
    """Has the document's home not decided yet? Then say so."""
    named = [each["edit"] for each in found.get("pending", []) if edit in ("", each["edit"])]
    if named:
        at = f"{found['home']} (link {link(found['link'])})" if found.get("link") else found["home"]
        note(f"{at} has not decided yet: edit {named[-1]} is pending; tiercel document get {found['id']} shows when it has")
    return bool(named)


@app.command()
def watch(
    document: Annotated[str, typer.Argument(metavar="DOCUMENT", help="An id; ending with a slash, all that begin so.")],
    from_version: Annotated[int | None, typer.Option("--from", help="Only versions beyond this.", min=0)] = None,
    limit: Annotated[int, typer.Option(help="End after so many changes; 0: never.", min=0)] = 0,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Print each version as it comes, a line of JSON each; the present one first. Goes on when the server starts again."""
    with Client(server) as client:
        asyncio.run(follow(client, document, from_version, limit, lambda change: typer.echo(json.dumps(change))))


@app.command()
def history(
    document: Id,
    values: Annotated[bool, typer.Option("--values", help="With their values, the newest first.")] = False,
    limit: Annotated[int, typer.Option(help="So many versions with their values.", min=1, max=100)] = 20,
    cursor: Annotated[str, typer.Option(help="The next of a page before.")] = "",
    server: Server = DEFAULT_SERVER,
) -> None:
    """List the versions that are kept, as JSON: who made them, when, by which edit."""
    with Client(server) as client:
        if values or cursor:
            print_json(client.document_versions(document, limit=limit, cursor=cursor))
        else:
            print_json(client.document_history(document))


@app.command()
def diff(document: Id, before: Version, after: Version, server: Server = DEFAULT_SERVER) -> None:
    """Show what differs between two versions, member by member."""
    with Client(server) as client:
        versions = [client.document_version(document, version)["value"] for version in (before, after)]
    for difference in differences(*versions):
        typer.echo(clean(str(difference)))


@app.command()
def restore(
    document: Id,
    version: Annotated[int, typer.Option(help="The version whose value is put again.", min=1)],
    server: Server = DEFAULT_SERVER,
) -> None:
    """Put the value of a former version again, as a new one; refused if somebody edits it meanwhile."""
    with Client(server) as client:
        print_json(client.restore_document(document, version))
