"""How a link is shown: the same from the cloud's side and from the site's, which is asked on its own machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from tiercel.answers import ServerUnreachable
from tiercel.cli.show import Table, note
from tiercel.cli.text import age, when
from tiercel.v1 import node_pb2, node_pb2_grpc

STATUS_TIMEOUT_S = 5.0


def print_edge(found: dict[str, Any]) -> None:
    """A site as it knows itself; of a box that does not lead, what that knows: the group."""
    group = found.get("group")
    if group is not None and group["node"] != group["leader"]:
        print_members(group)
        note(f"box {group['node']} does not lead: what the site does is told by {group['leader'] or 'the one that will lead'}")
        return
    halted = found["halted"] or "no"
    row = found["site"], found["boot"], found["agents"], found["running_tasks"], found["ready_tasks"], halted
    Table(("site", "boot", "agents", "running", "ready", "halted"), [row]).print()
    print_standing(found["link"])
    if group is not None:
        print_members(group)
    if forgotten := found.get("forgotten"):
        note(f"{forgotten} attempts were written off too long ago: if their agents have done them after all, nobody notices")
    if alone := found.get("alone"):  # A site of the version before does not tell.
        _print_alone(alone)


def print_members(found: dict[str, Any]) -> None:
    """The boxes of a site, as one of them sees them."""
    columns = "site", "asked", "role", "term", "leader", "committed", "applied"
    row = found["site"], found["node"], found["role"], found["term"], found["leader"] or "unknown", found["commit"]
    Table(columns, [(*row, found["applied"])]).print()
    preferred = _preferred(found)
    table = Table(("node", "kind", "state", *preferred, "lacks", "large values", "reached by nodes", "reached by agents"))
    for member in found["members"]:
        lacks = "" if member["lag"] < 0 else f"{member['lag']:,} entries"
        state = member["node"], member["kind"], _box(member), *(member[each] for each in preferred), lacks, _values(member)
        table.rows.append((*state, member["address"], member["advertise"]))
    table.print()
    for member in found["members"]:
        if waiting := member.get("waiting"):
            note(f"being added: {waiting}")
        if problem := member.get("values_problem"):
            note(f"{member['node']} fetches no large values just now: {problem}")
    if unheld := max((member.get("values_unheld", 0) for member in found["members"]), default=0):
        note(f"{unheld:,} large values that the log names are held by no node: made at other sites, or lost")
    for why in (found["waiting"], found.get("preferring", "")):
        if why:
            note(why)
    for member in found["members"]:
        if problem := member.get("problem"):
            note(problem)
    if found["refused"]:
        said = ", ".join(f"{code} {count}" for code, count in sorted(found["refused"].items()))
        note(f"messages refused by this node: {said}")


def _preferred(found: dict[str, Any]) -> tuple[str, ...]:
    return ("priority",) if any(member.get("priority") for member in found["members"]) else ()


def _values(member: dict[str, Any]) -> str:
    missing = member.get("values_missing", -1)
    if missing <= 0:
        return "" if missing < 0 else "all"
    return f"lacks {missing:,}" + (f", {member['missing_bytes']:,} bytes" if "missing_bytes" in member else "")


def _box(member: dict[str, Any]) -> str:
    if member["leads"]:
        return "leads"
    if member["copying"]:
        return "copies the log"
    if member.get("problem"):
        return "refused"
    return "here" if member["here"] else "silent"


def print_group(found: dict[str, Any]) -> None:
    """The boxes of a site, as the cloud was told."""
    preferred = _preferred(found)
    table = Table(("node", "kind", "state", *preferred, "lacks", "large values"))
    for member in found["members"]:
        word = "leads" if member["node"] == found["leader"] else "here" if member["here"] else "silent"
        kind = "voter" if member["voter"] else "learner"
        state = word, *(member[each] for each in preferred)
        table.rows.append((member["node"], kind, *state, f"{member['lag']:,} entries", _values(member)))
    table.print()


def _print_alone(found: dict[str, Any]) -> None:
    if found["cut_since"]:
        note(f"cut off since {when(found['cut_since'])}")
    table = Table(("run", "consistency", "when cut", "begun alone", "held for", "why"))
    for run in found["runs"]:
        begun = f"{run['begun']} of {run['budget']}" if run["budget"] else run["begun"]
        held = age(run["held_ms"]) if run["held"] else ""
        table.rows.append((run["run"], run["level"], run["when_cut"], begun, held, run["held"]))
    if table.rows:
        table.print()
    if found["more"]:
        note(f"{found['more']:,} more runs have a contract")


@contextmanager
def site_at(socket: Path) -> Iterator[node_pb2_grpc.NodeServiceStub]:
    """The site on this machine. Raises ServerUnreachable."""
    with grpc.insecure_channel(f"unix:{socket.absolute()}") as channel:
        try:
            yield node_pb2_grpc.NodeServiceStub(channel)
        except grpc.RpcError as error:
            raise ServerUnreachable(f"unix:{socket}", error.details() or "no site answers there") from error


def asked(socket: Path) -> dict[str, Any]:
    """The site's answer. Raises ServerUnreachable."""
    with site_at(socket) as site:
        reply = site.Status(node_pb2.NodeStatusRequest(), timeout=STATUS_TIMEOUT_S)
    found: dict[str, Any] = json.loads(reply.json)
    return found


def print_standing(found: dict[str, Any]) -> None:
    """A link: its state, both directions, and what was refused."""
    trip = f"{found['round_trip_ms']:.3g} ms" if found["round_trip_ms"] >= 0 else ""
    columns = "link to", "state", "since", "round trip", "knowledge", "last sync", "connected", "telemetry lost", "clock"
    lost = found["telemetry_lost"] + found["telemetry_lost_there"]
    at = age(found["staleness_ms"]), when(found["last_sync"]), f"{found['connected']} times", lost, _clock(found)
    Table(columns, [(found["peer"], found["state"], when(found["since"]), trip, *at)]).print()
    table = Table(("stream", "way", "behind", "bytes behind", "oldest", "held", "head", "events", "bytes"))
    for way in ("sends", "receives"):
        each = found[way]
        behind = each["behind_events"], each["behind_bytes"], age(each["behind_ms"])
        table.rows.append((each["stream"], way, *behind, each["held"], each["head"], each["events"], each["bytes"]))
    table.print()
    _print_states(found.get("states"))
    if (group := found.get("group")) is not None:
        print_group(group)
    if found["state"] != "up" and found["ended"]:
        note(f"the link ended: {found['ended']}")
    if (reseeding := found["reseeding"]) is not None:
        left = f", {reseeding['left']} runs to come" if reseeding["left"] else ""
        note(f"re-seeded since {when(reseeding['begun'])} ({reseeding['state']}{left}): {reseeding['reason']}")
    if count := found.get("conflicts_open"):
        note(f"{count} conflicts wait for a person: tiercel conflict list --site {found['peer']} --state open")
    if (refusals := found["refusals"])["count"]:
        codes = ", ".join(f"{code} {count}" for code, count in sorted(refusals["by_code"].items()))
        note(f"refused {refusals['count']} times ({codes}); the last at {when(refusals['last_at'])}: {refusals['last']}")


def _print_states(found: dict[str, Any] | None) -> None:
    """What comparing states found, if both sides are of a version that does."""
    if found is not None:
        named = ", ".join(found["runs"])
        row = when(found["at"]), found["compared"], found["different"], named and f"{named}: the logs of both sides say how"
        Table(("states compared", "at equal versions", "different", "runs"), [row]).print()


def _clock(found: dict[str, Any]) -> str:
    if found["clock_disbelieved"]:
        return f"{age(found['clock_disbelieved'])} ahead, not believed"
    offset = found["clock_offset_ms"]
    return "" if offset is None else f"{offset:+d} ms"
