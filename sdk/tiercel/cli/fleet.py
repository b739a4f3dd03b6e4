"""`tiercel agent` and `tiercel site`: who is there, and does the cloud know it right."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tiercel.answers import AgentStatus, Site
from tiercel.cli.links import asked, print_edge, print_standing
from tiercel.cli.options import REFUSED, Format, Output, Server, noun
from tiercel.cli.show import Table, link, note, print_json
from tiercel.cli.text import age, when
from tiercel.client import DEFAULT_SERVER, Client

SiteName = Annotated[str, typer.Argument(metavar="SITE")]
Reason = Annotated[str, typer.Option(help="Why; shown with the site.")]
Wait = Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for the site's answer.")]

agents = noun("Look at the agents of all sites.")
sites = noun("Look at the sites and their links, bring them level, pause and empty them, let new ones join.")


@agents.callback()
def agent() -> None:
    """Look at the agents of all sites."""


@agents.command("list")
def list_agents(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the agents, as their sites last reported them."""
    with Client(server) as client:
        found = client.agents()
    if output is Format.JSON:
        print_json(found)
        return
    table = Table(("agent", "site", "kind", "state", "doing", "health", "running", "capabilities", "since", "seen"))
    for each in found:
        load, skills = f"{each['running']}/{each['capacity']}", ",".join(each["capabilities"])
        who = each["id"], each["site"], each["kind"], each["state"], each.get("path", "").partition(".")[2], health(each)
        table.rows.append((*who, load, skills, when(each["since"]), when(each.get("seen", 0))))
    table.print()


def health(agent: AgentStatus) -> str:
    """`open until 12:00:07`: it kept failing and is given no work until then."""
    said, until = agent.get("health", "ok"), agent.get("open_until", 0)
    return f"{said} until {when(until)}" if until else said


def _clock(site: Site) -> str:
    ahead = site["clock"]
    return f"{age(ahead['ahead_ms'])} ahead, {when(ahead['at'])}" if ahead is not None else "ok"


def _cached(site: Site) -> str:
    """Results kept for other runs, and how many of those that were looked for since the site's start were there."""
    kept = site.get("cache")
    if not kept or not (kept["entries"] or kept["hits"] or kept["misses"]):
        return ""
    return f"{kept['entries']}, {kept['hits']} of {kept['hits'] + kept['misses']} found"


def _state(site: Site) -> str:
    pause = site.get("pause")
    if pause is None:
        return "active"
    return f"{pause['state']} since {when(pause['since'])}" + (f": {pause['reason']}" if pause["reason"] else "")


@sites.command("list")
def list_sites(server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """List the sites: their links, how old our knowledge is, what they are doing."""
    with Client(server) as client:
        found = client.sites()
    if output is Format.JSON:
        print_json(found)
        return
    columns = "site", "state", "link", "knowledge", "agents", "running", "ready", "runs", "received", "unacknowledged", "clock"
    table = Table((*columns, "cached"))
    for each in found:
        freshness = age(each["freshness"]["staleness_ms"])
        load = each["agents"], f"{each['running_tasks']}/{each['capacity']}", each["ready_tasks"], each["active_runs"]
        events = each["events_received"], each["events_unacknowledged"]
        table.rows.append((each["id"], _state(each), link(each["link"]), freshness, *load, *events, _clock(each), _cached(each)))
    table.print()
    for each in found:
        if refused := each.get("refused"):
            note(f"{each['id']}: the link stays down: {refused}")
        if problem := each.get("certificate"):
            note(f"{each['id']}: {problem}")
        if (boxes := each.get("group")) is not None:
            gone = [box["node"] for box in boxes["members"] if box["voter"] and not box["here"]]
            missing = f"; {', '.join(gone)} not heard of late" if gone else ""
            note(f"{each['id']}: {boxes['leader']} leads its {len(boxes['members'])} nodes, in term {boxes['term']}{missing}")


@sites.command()
def pause(
    site: SiteName, reason: Reason = "", wait: Wait = 2.0, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE
) -> None:
    """Let nothing new start at a site; what its agents have in hand goes on. One that is cut off learns of it when it is back."""
    with Client(server) as client:
        _print_pause(client.pause_site(site, reason, wait_s=wait), output)


@sites.command()
def resume(
    site: SiteName, reason: Reason = "", wait: Wait = 2.0, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE
) -> None:
    """Let a paused site go on."""
    with Client(server) as client:
        _print_pause(client.resume_site(site, reason, wait_s=wait), output)


def _print_pause(found: dict[str, Any], output: Format) -> None:
    if output is Format.JSON:
        print_json(found)
        return
    said = found["pause"] or {"since": 0, "reason": ""}
    rows = [(found["site"], found["state"], when(said["since"]), said["reason"], link(found["link"]))]
    Table(("site", "state", "since", "reason", "link"), list(rows)).print()
    if found["state"] in ("pausing", "resuming"):
        note(f"{found['site']} has not answered yet: it does so once it has the order")


@sites.command()
def diff(
    site: SiteName,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Compare what cloud and site hold of every fragment. Exit code 1 if anything differs at equal versions."""
    with Client(server) as client:
        found = client.diff(site)
    if output is Format.JSON:
        print_json(found)
    else:
        counts = found["compared"], found["equal"], found["behind"], len(found["different"])
        Table(("site", "compared", "equal", "behind", "different"), [(found["site"], *counts)]).print()
        for line in found["different"]:
            typer.echo(f"different: {line}")
    if found["different"]:
        raise typer.Exit(REFUSED)


@sites.command()
def status(
    site: Annotated[str, typer.Argument(metavar="SITE", help="The site, asked about at the cloud; or --socket.")] = "",
    socket: Annotated[
        Path | None, typer.Option(help="Ask the site itself, on its own machine: SITE.sock in its run directory.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """How the link to a site stands: what each side lacks, how old our knowledge is, and what was refused. A site that is cut
    off tells it on its own machine (--socket), to its own user."""
    if bool(site) == (socket is not None):
        raise typer.BadParameter("name a site, or its --socket")
    if socket is not None:
        found, show = asked(socket), print_edge
    else:
        with Client(server) as client:
            found, show = client.sync_status(site), print_standing
    if output is Format.JSON:
        print_json(found)
    else:
        show(found)


@sites.command()
def sync(
    site: Annotated[str, typer.Argument(metavar="SITE", help="The site; or --all.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All sites.")] = False,
    wait: Annotated[float, typer.Option(min=0, max=60, help="Wait so many seconds until they are level.")] = 10.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Bring a site, or all, level with the cloud now, and tell what moved. Exit code 1 if one is away or late."""
    if bool(site) == every:
        raise typer.BadParameter("name a site, or say --all")
    with Client(server) as client:
        found = client.sync_now(site, wait_s=wait)
    if output is Format.JSON:
        print_json(found)
    else:
        table = Table(("site", "state", "events sent", "bytes sent", "events received", "bytes received", "took"))
        for each in found["items"]:
            sent = each["events_sent"], each["bytes_sent"], each["events_received"], each["bytes_received"]
            table.rows.append((each["peer"], each["state"], *sent, age(each["took_ms"])))
        table.print()
        for each in found["items"]:
            if each["detail"]:
                note(each["detail"])
    if not found["level"]:
        raise typer.Exit(REFUSED)


caches = noun("The results that a site keeps for other runs.")
sites.add_typer(caches, name="cache")


@caches.callback()
def cache() -> None:
    """The results that a site keeps for other runs."""


@caches.command()
def clear(
    site: Annotated[str, typer.Argument(metavar="SITE")],
    capability: Annotated[str, typer.Option(help="Only results of this capability.")] = "",
    agent: Annotated[str, typer.Option(help="Only results of tasks for this agent.")] = "",
    key: Annotated[str, typer.Option(help="Of these, only that under this key, as the definition gives it.")] = "",
    wait: Annotated[float, typer.Option(min=0, max=60, help="Wait so many seconds for the site.")] = 10.0,
    server: Server = DEFAULT_SERVER,
    output: Output = Format.TABLE,
) -> None:
    """Keep results no more: whoever asks for the same next has the work done. A site that is cut off does so when it is back."""
    with Client(server) as client:
        done = client.clear_cache(site, capability=capability, agent=agent, key=key, wait_s=wait)
    if output is Format.JSON:
        print_json(done)
    elif done["state"] == "pending":
        typer.echo(f"{site} has not answered yet: command {done['command']} reaches it when it can be reached")
    else:
        typer.echo(f"{site}: {done.get('detail') or done['state']}")


@sites.command("autonomy")
def site_autonomy(site: SiteName, server: Server = DEFAULT_SERVER, output: Output = Format.TABLE) -> None:
    """Show how a site stands to the cloud, and what its runs may do while it is cut off."""
    with Client(server) as client:
        found = client.site_autonomy(site)
    if output is Format.JSON:
        print_json(found)
        return
    since = f" since {when(found['since'])}" if found["since"] else ""
    others = found.get("others", 0)
    note(f"{site} is {found['mode']}{since}" + (f"; runs without a contract of their own: {others}" if others else ""))
    table = Table(("run", "consistency", "when cut", "horizon", "budget", "held", "why"))
    for run in found.get("runs", []):
        then = f", then {run['then']}" if run.get("then") else ""
        horizon = age(run["horizon_ms"]) if run.get("horizon_ms") else ""
        held = "yes" if run.get("held") else "no"
        cells = run["run"], run["level"], run["when_cut"] + then, horizon, run.get("budget") or "", held, run.get("why", "")
        table.rows.append(cells)
    table.print()
