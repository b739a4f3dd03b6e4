"""`tiercel run coordination`: how the tasks of a run find their agents."""

from itertools import islice
from typing import Annotated, Any

import typer
import yaml

from tiercel.bodies import encoded
from tiercel.cli.options import Format, Output, Server, noun
from tiercel.cli.run import RunArgument, print_outcome
from tiercel.cli.run_control import Wait
from tiercel.cli.run_growing import text_of
from tiercel.cli.run_syncing import app
from tiercel.cli.show import Table, note, print_json
from tiercel.cli.text import short, when
from tiercel.cli.values import worded
from tiercel.cli.yaml_text import read_yaml
from tiercel.client import DEFAULT_SERVER, Client

__all__ = ["app"]

coordination = noun("See by which protocol the tasks of a run find their agents, and what came of it; choose another.")
app.add_typer(coordination, name="coordination")
BIDS_SHOWN = 5


@coordination.command()
def show(run: RunArgument, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Show what is in force for each task, what is under way, and who was named last and why."""
    with Client(server) as client:
        found = client.coordination(run)
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("task", "state", "site", "protocol", "said by", "more"))
    for task in found["tasks"]:
        plan = task["coordination"]
        more = ", ".join(f"{name}={short(value, 60)}" for name, value in plan.items() if name != "protocol")
        table.rows.append((task["task"], task["state"], task["site"], plan["protocol"], task["said_by"], more))
    table.print()
    if found["more"]:
        note(f"and {found['more']:,} more tasks")
    _mandates(found.get("mandates", []))
    for each in found["negotiations"]:
        note(f"{each['task']} at {each['site']}, {each['protocol']} round {each.get('round', 1)}, {each['phase']}: {each['why']}")
        _offers(each.get("given", []))
    for award in found["awards"]:
        _award(award)
    for site, codes in found["refused"].items():
        note(f"refused at {site}: " + ", ".join(f"{count:,} {code}" for code, count in codes.items()))


@coordination.command()
def awards(
    run: RunArgument,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Show all awards of a run, the latest first, as far back as its history is in the log."""
    with Client(server) as client:
        found = list(islice(client.awards(run), limit))
    if output is Format.JSON:
        print_json(found)
        return
    for award in found:
        _award(award)


def _mandates(mandates: list[dict[str, Any]]) -> None:
    """Who decides by whose word, what of it is used, and until when."""
    table = Table(("level", "name", "by", "protocol", "tasks", "cost", "scope", "expires", "without above", "epoch", "state"))
    for each in mandates:
        tasks = f"{each['tasks_used']:,} of {each['tasks']:,}" if "tasks" in each else f"{each['tasks_used']:,}"
        cost = f"{each['cost_used']:g} of {each['cost']:g}" if "cost" in each else f"{each['cost_used']:g}"
        scope = short(", ".join([*each.get("capabilities", ()), *each.get("names", ())]), 40)
        expires = when(each["expires"]) if each.get("expires") else ""
        epoch = (
            f"{each['epoch'] >> 32}.{each['epoch'] & 0xFFFFFFFF}" if each["epoch"] else ""
        )  # Of the home; since which version.
        ends = expires, each.get("on_loss", "continue"), epoch, each["state"]
        table.rows.append((each["level"], each["name"], each["by"], each["protocol"], tasks, cost, scope, *ends))
    if mandates:
        table.print()


def _award(award: dict[str, Any]) -> None:
    detail = award["detail"]
    who = award["agent"] or ("nobody" if award["task"] else f"site {award['site']}")
    by = f"{award['protocol']} ({detail['rule']})" if "rule" in detail else award["protocol"]
    note(f"{award['task'] or 'the run'} at {when(award['at'])}: {who} by {by}: {detail['reason']}")
    _offers(detail.get("given", []))
    for refused in detail.get("refused", []):
        note(f"    {refused['agent']} did not count ({refused['code']}): {refused['reason']}")


def _offers(given: list[dict[str, Any]]) -> None:
    for each in given[:BIDS_SHOWN]:
        said = ", ".join(f"{name} {short(value, 40)}" for name, value in each.items() if name != "agent")
        note(f"    {each.get('agent')}: {said}")
    if len(given) > BIDS_SHOWN:
        note(f"    and {len(given) - BIDS_SHOWN} more")


@coordination.command("set")
def change(
    run: RunArgument,
    protocol: Annotated[
        str,
        typer.Argument(
            metavar="[PROTOCOL[,NAME=VALUE...]]",
            help="direct, auction, leader, consensus, with what belongs to it: auction,evaluator=fastest,wait=300ms. "
            "hierarchical has levels, which stand in a --file.",
        ),
    ] = "",
    file: Annotated[
        str, typer.Option(metavar="FILE", help="YAML or JSON instead: `coordination`, as in a definition; - reads the input.")
    ] = "",
    task: Annotated[str, typer.Option(help="Only this task; without it, all that agents do.")] = "",
    idempotency_key: Annotated[str, typer.Option("--idempotency-key", help="Asked again under it, it is one order.")] = "",
    wait: Wait = 2.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Let tasks that nobody has in hand find their agents by another protocol."""
    if bool(protocol) == bool(file):
        raise typer.BadParameter("say either PROTOCOL or --file FILE", param_hint="PROTOCOL")
    said = coordination_in(text_of(file), file) if file else worded(protocol, "protocol", "PROTOCOL")
    asked = {"protocol": said} if isinstance(said, str) else said
    with Client(server) as client:
        outcome: Any = client.coordinate(run, asked, task=task, wait_s=wait, idempotency_key=idempotency_key)
    print_outcome(outcome, output)


def coordination_in(text: str, source: str) -> str | dict[str, Any]:
    """What the text says of `coordination`: a word or a mapping, alone or under that name. Raises BadParameter."""
    try:
        found = read_yaml(text)
    except yaml.YAMLError as error:
        raise typer.BadParameter(f"{source} is neither YAML nor JSON: {error}", param_hint="--file") from None
    if isinstance(found, dict) and found.keys() == {"coordination"}:
        found = found["coordination"]
    if isinstance(found, str) or (isinstance(found, dict) and "protocol" in found):
        try:
            encoded(found)
        except ValueError as error:
            raise typer.BadParameter(f"{source}: {error}", param_hint="--file") from None
        return found
    what = ", ".join(map(str, found)) or "an empty mapping" if isinstance(found, dict) else type(found).__name__
    raise typer.BadParameter(f"{source} holds {what}; allowed: `coordination`, with a `protocol`", param_hint="--file")
