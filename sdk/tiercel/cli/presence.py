"""`tiercel agent show`: one agent, what it holds, and which runs are its."""

from typing import Annotated, Any

import typer

from tiercel.cli.fleet import health
from tiercel.cli.leaders import agents
from tiercel.cli.options import Format, Output, Server
from tiercel.cli.show import Table, link, note, print_json
from tiercel.cli.text import age, when
from tiercel.client import DEFAULT_SERVER, Client

__all__ = ["agents"]


@agents.command()
def show(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The agent's id.")],
    site: Annotated[str, typer.Option("--site", help="Its site, if agents of several have this id.")] = "",
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Show an agent: where it is in its life and was before, its lease, what it holds, which runs are its."""
    with Client(server) as client:
        site = site or _site_of(client, agent)
        found = client.agent(site, agent)
        runs = client.agent_workflows(site, agent)
    if output is Format.JSON:
        print_json({**found, "workflows": runs})
        return
    _print(found)
    _print_runs(runs)


def _site_of(client: Client, agent: str) -> str:
    found = [each["site"] for each in client.agents() if each["id"] == agent]
    if len(found) == 1:
        return found[0]
    if not found:
        note(f"{agent}: no site has such an agent; `tiercel agent list` has those that have registered")
        raise typer.Exit(1)
    raise typer.BadParameter(f"agents {agent} are at {', '.join(found)}: say which site", param_hint="--site")


def _print(found: dict[str, Any]) -> None:
    agent, lease = found["agent"], found["lease"]
    state = agent["path"] + (f" ({agent['why']})" if agent.get("why") else "")
    ends = when(lease["ends"]) if lease["ends"] else "none"
    load = f"{agent['load']}/{agent['capacity']}"
    row = agent["id"], agent["site"], state, when(agent["path_since"]), health(agent), load, when(agent["seen"]), ends
    Table(("agent", "site", "state", "since", "health", "load", "seen", "lease until", "epoch"), [(*row, lease["epoch"])]).print()
    old = age(found["freshness"]["staleness_ms"])
    note(f"as its site told it; the picture is {old} old, the link {link(found['link'])}")
    if found["holds"]:
        table = Table(("task", "run", "attempt", "done", "note", "waits for"))
        for held in found["holds"]:
            done = f"{held['fraction']:.0%}" if held.get("fraction") is not None else ""
            what = held["task"], held["run"], held["attempt"]
            table.rows.append((*what, done, held.get("note", ""), held.get("waits_for", "")))
        table.print()
    history = Table(("state", "since", "why"))
    history.rows += [(each["state"], when(each["at"]), each.get("why", "")) for each in reversed(found["history"])]
    history.print()


def _print_runs(runs: dict[str, Any]) -> None:
    if not (runs["active"] or runs["recent"]):
        return
    table = Table(("run", "definition", "state", "holds", "waits for it", "sync points", "last given"))
    for each in (*runs["active"], *runs["recent"]):
        lists = (",".join(each.get(name, [])) for name in ("holds", "named", "sync_points"))
        table.rows.append((each["run"], each.get("definition", ""), each.get("state", ""), *lists, when(each.get("assigned", 0))))
    table.print()
