"""`tiercel document`: JSON values with versions that belong to no run."""

from typing import Annotated

import typer

from tiercel.cli.options import Server, noun
from tiercel.cli.show import print_json
from tiercel.client import DEFAULT_SERVER, Client

app = noun("Look at documents and put values into them.")

Id = Annotated[str, typer.Argument(metavar="DOCUMENT", help="shared/NAME or site/SITE/NAME.")]
Expected = Annotated[int | None, typer.Option("--expected", help="Only over this version; 0: only if there is none.", min=0)]


@app.command("list")
def list_documents(prefix: Annotated[str, typer.Argument()] = "", server: Server = DEFAULT_SERVER) -> None:
    """List the documents whose ids begin with PREFIX, as JSON."""
    with Client(server) as client:
        print_json(client.documents(prefix))


@app.command()
def get(document: Id, server: Server = DEFAULT_SERVER) -> None:
    """Show a document as JSON: value, version, and what is pending."""
    with Client(server) as client:
        print_json(client.document(document))


@app.command()
def put(
    document: Id,
    value: Annotated[str, typer.Argument(metavar="JSON")],
    expected: Expected = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Put a JSON value. While the document's home cannot be reached, the edit is pending."""
    with Client(server) as client:
        print_json(client.put_document(document, value, expected))
