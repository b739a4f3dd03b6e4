"""What a notification says: in words, and as the JSON that its receiver gets."""

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import msgspec

from cloud.notifying.inputs import Note
from sync.conflicts.events import ConflictRecorded
from workflow.event import Event
from workflow.events import encode
from workflow.steering_events import ApprovalEscalated, ApprovalRequested, IncidentOpened, RuleFired

if TYPE_CHECKING:
    from workflow.fragment import Fragment

ANYBODY = "*"
DETAIL_BYTES_MAX = 16_384
"""A larger detail is left out, and said to be: the receiver finds it by the links."""

MESSAGE_CHARACTERS_MAX = 1_000


class Notice(NamedTuple):
    """Something that people are to be told: to whom (names, or addresses that a rule names itself), and what."""

    event: str
    to: tuple[str, ...]
    task: str
    message: str
    detail: dict[str, Any]


def notice_of(event: Event, run: str, fragment: "Fragment | None") -> Notice | None:
    """What is told of an event; None if nobody is to be told. Of a run that has ended only rules tell."""
    match event:
        case RuleFired(action="notify" | "escalate", error=""):
            return _of_rule(event, run)
        case IncidentOpened(task, code, message) if fragment is not None:
            name = fragment.id_of(task)
            said = f"task {name} of run {run} at {fragment.site} needs a person: {code}: {message}"
            return Notice("incident.opened", (ANYBODY,), name, said, {"code": code, "message": message})
        case ApprovalRequested(task) if fragment is not None:
            return _of_approval("approval.requested", fragment, task, run, event.due_ms)
        case ApprovalEscalated(task, level, by, due_ms) if fragment is not None:
            told = _of_approval("approval.escalated", fragment, task, run, due_ms)
            said = f"nobody has decided in time (step {level}): {told.message}"
            return told._replace(to=tuple(dict.fromkeys(by)), message=said, detail={**told.detail, "level": level})
        case ConflictRecorded(family="outcome"):
            said = f"task {event.subject} of run {run}: {event.reason}"
            detail = {"conflict": event.conflict, "rule": event.rule, "stands": event.stands.what, "loses": event.loses.what}
            return Notice("conflict.recorded", (ANYBODY,), event.subject, said, detail)
        case _:
            return None


def _of_rule(fired: RuleFired, run: str) -> Notice:
    local = msgspec.json.decode(fired.detail)
    rule = f"standing rule {fired.name}" if fired.name else f"rule {fired.rule + 1}"
    words = [f"{word} {local[word]}" for word in ("task", "stage", "outcome", "code") if local.get(word)]
    more = local.get("message") or local.get("detail") or local.get("reason") or ""
    said = f"{rule}: {fired.on} in run {run}" + "".join(f", {word}" for word in words) + (f": {more}" if more else "")
    detail = {"rule": fired.name or fired.rule + 1, "on": fired.on, "event": local}
    return Notice(f"rule.{fired.action}", (fired.target,), str(local.get("task", "")), said, detail)


def _of_approval(what: str, fragment: "Fragment", task: int, run: str, due_ms: int) -> Notice:
    name = fragment.id_of(task)
    asked = fragment.extras.approvals.get(task) if fragment.extras is not None else None
    by = asked.by if asked is not None else []
    detail: dict[str, Any] = {"by": by, "due": due_ms}
    if asked is not None:
        detail |= {"hash": asked.hash, "request": msgspec.Raw(asked.request or b"null"), "asked": asked.asked_ms}
    said = f"run {run} at {fragment.site} waits for {', '.join(by) or 'anybody'} to decide on task {name}"
    return Notice(what, tuple(dict.fromkeys(by)) or (ANYBODY,), name, said, detail)


def encoded(detail: dict[str, Any]) -> bytes:
    """The detail as JSON, or how large it would be."""
    found = msgspec.json.encode(detail)
    return found if len(found) <= DETAIL_BYTES_MAX else msgspec.json.encode({"left_out_bytes": len(found)})


def id_of(site: str, run: str, event: Event, time_ms: int, to: str, number: int) -> str:
    """It follows from the site's event and the receiver alone: heard again after a loss, it is the same."""
    facts = (site, run, event.kind, time_ms, encode(event), to, number)
    return f"n{hashlib.sha256(msgspec.msgpack.encode(facts)).hexdigest()[:24]}"


def body_of(note: Note, base_url: str) -> bytes:
    """What the receiver gets."""
    run = f"{base_url}/api/v1/workflows/{quote(note.run, safe='')}"
    links = {"run": run, "explain": f"{run}/explain", **_more_links(note.event, base_url)}
    said = {name: getattr(note, name) for name in ("id", "event", "to", "run", "definition", "site", "task", "message")}
    detail = msgspec.Raw(note.detail or b"{}")
    return msgspec.json.encode({**said, "links": links, "time": note.time_ms, "detail": detail})


def _more_links(event: str, base_url: str) -> dict[str, str]:
    known = {"approval": "approvals", "incident": "incidents", "conflict": "conflicts"}
    places = [place for word, place in known.items() if event.startswith(word)]
    return {place: f"{base_url}/api/v1/{place}" for place in places}
