"""`tiercel edge group`: the nodes of a site of several. Asked on one of its boxes, over the Unix socket of that."""

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import grpc
import typer

from tiercel.cli.links import print_members
from tiercel.cli.options import REFUSED, Format, Output
from tiercel.cli.show import print_json
from tiercel.v1 import members_pb2, members_pb2_grpc

STATUS_TIMEOUT_S, CHANGE_TIMEOUT_S = 5.0, 30.0
SOCKET = "the node's socket, as its log names it: RUN_DIR/SITE-NODE.sock"
WAIT = "seconds that the new node may take to catch up; when they are over it stays a learner, and may be asked for again"
FORCE = "even if those who are left and there are no majority, so that the site stands still until others are back"

command = typer.Typer(
    name="group",
    help="Look at the nodes of a site of several, add and remove them, make one lead.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Socket = Annotated[Path, typer.Option(help=SOCKET)]


@command.command()
def status(socket: Socket, output: Output = Format.TABLE) -> None:
    """Show the nodes: who leads, who votes, who was heard of late, and what each lacks of the log."""
    with grpc.insecure_channel(f"unix:{socket.absolute()}") as channel:
        try:
            reply = members_pb2_grpc.GroupAdminStub(channel).Members(members_pb2.MemberQuery(), timeout=STATUS_TIMEOUT_S)
        except grpc.RpcError as error:
            _fail(_no_answer(socket, error))
    found: dict[str, Any] = json.loads(reply.json)
    if output is Format.JSON:
        print_json(found)
        return
    print_members(found)


@command.command()
def add(
    node: Annotated[str, typer.Argument(metavar="NAME=HOST:PORT", help="The new node, and where the others reach it.")],
    socket: Socket,
    wait: Annotated[float, typer.Option(min=0, max=600, help=WAIT)] = 60.0,
) -> None:
    """Add a node that was started with --join: as a learner until it has the log, then as a voter."""
    name, _, address = node.partition("=")
    _change(socket, members_pb2.MemberChange(what="add", node=name, address=address, wait_ms=int(wait * 1000)))


@command.command()
def remove(
    node: Annotated[str, typer.Argument(metavar="NAME", help="The node that is to go.")],
    socket: Socket,
    force: Annotated[bool, typer.Option("--force", help=FORCE)] = False,
) -> None:
    """Remove a node: it votes no more, and gets nothing more of the log."""
    _change(socket, members_pb2.MemberChange(what="remove", node=node, force=force))


@command.command()
def transfer(
    node: Annotated[str, typer.Argument(metavar="NAME", help="The node that is to lead.")],
    socket: Socket,
) -> None:
    """Make another node lead; before the one that leads is updated, say. Agents go there by themselves."""
    _change(socket, members_pb2.MemberChange(what="transfer", node=node))


def _change(socket: Path, change: members_pb2.MemberChange) -> None:
    with grpc.insecure_channel(f"unix:{socket.absolute()}") as channel:
        timeout_s = CHANGE_TIMEOUT_S + change.wait_ms / 1000
        try:
            changed = members_pb2_grpc.GroupAdminStub(channel).Change(change, timeout=timeout_s)
        except grpc.RpcError as error:
            _fail(_no_answer(socket, error))
    if changed.problem:
        _fail(changed.problem)
    typer.echo(changed.done)


def _no_answer(socket: Path, error: grpc.RpcError) -> str:
    details = getattr(error, "details", lambda: "")()
    return f"no node answers at {socket}: {details or error}"


def _fail(words: str) -> NoReturn:
    typer.echo(f"tiercel edge group: {words}", err=True)
    raise typer.Exit(REFUSED)
