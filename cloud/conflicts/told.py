"""Conflicts that other events tell of, as the feed shows them: facts of their own, which are recorded once, as what they are.

An earlier home of a run decides on, not knowing that there is another (`DecisionRefused`); what was done there was done here, too
(`FactRefused`); an order reaches a run that has ended meanwhile (`CommandAnswered`).
"""

from cloud.intents import Intent
from sync.conflicts.events import ConflictRecorded, Side
from sync.conflicts.ids import conflict_id
from workflow.events import CommandAnswered
from workflow.home_events import DecisionRefused, FactRefused
from workflow.losing import OVERTAKEN, PHYSICAL, output_of

EARLIER_HOME = "earlier_home"
OF_NOBODY = ("hold", "lift", "end_child", "anew")
"""Orders that no person gives: runs wait for each other by them."""


def of_decision(run: str, event: DecisionRefused, number: int, time_ms: int) -> ConflictRecorded:
    """`number` tells it from others of the same home that say the same."""
    stands = Side(event.home, "", f"{event.home}@{event.home_epoch}", f"home of the run since epoch {event.home_epoch}")
    what = f"{event.decision} {event.detail}".strip()
    loses = Side(event.site, "", f"{event.site}@{event.epoch}/{number}", what, b"", time_ms)
    reason = f"{event.site} decided under epoch {event.epoch}, when the run was at {event.home} already"
    id = conflict_id(run, "", stands.ref, loses.ref)
    return ConflictRecorded(id, "home", run, "", stands, loses, EARLIER_HOME, "refused", reason, time_ms)


def of_fact(run: str, name: str, site: str, event: FactRefused, time_ms: int) -> ConflictRecorded:
    """`site` is the present home, which says so; `name` the task's."""
    stands = Side(site, "", f"{run}/{event.task}: {event.ours}", event.ours, b"", time_ms)
    value = output_of(event.output, event.blob)
    loses = Side(event.site, event.agent, f"{run}/{event.task}: {event.theirs}", event.theirs, value)
    reason = "it was done at an earlier home of the run, and begun here, too: both have happened"
    id = conflict_id(run, "", stands.ref, loses.ref)
    return ConflictRecorded(id, "outcome", name, "", stands, loses, PHYSICAL, "not_taken", reason, time_ms)


def of_intent(intent: Intent, site: str, event: CommandAnswered, time_ms: int) -> ConflictRecorded:
    """The order came too late: its run, or its part at the site, had ended."""
    stands = Side(site, "", f"{intent.run}: ended at {site}", "the run had ended", b"", time_ms)
    loses = Side("cloud", "", intent.id, intent.kind, b"", intent.created)
    id = conflict_id(intent.run, "", stands.ref, loses.ref)
    return ConflictRecorded(id, "order", intent.run, "", stands, loses, OVERTAKEN, "refused", event.detail, time_ms)
