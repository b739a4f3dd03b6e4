"""Notifications at the planner: who is told of what, what is recorded of it, and what a restart knows."""

from typing import Any

import msgspec
import pytest

from cloud.notifying.core import Notifications
from cloud.notifying.inputs import Attempted, Deliver, Note, RemoveContact, RetryNotification, SetContact
from cloud.notifying.messages import DETAIL_BYTES_MAX, body_of
from cloud.port import Problem
from tests.cloud.control import Control
from tests.workflow.plans import plan_of
from workflow.plan import DefinitionError, Plan
from workflow.steering_events import ApprovalEscalated, IncidentOpened, RuleFired

HOOK = "https://example.org/hook"
SIGN = plan_of({"sign": {"approval": {"by": ["ann", "role:chief"], "request": {"sum": 7}}}}, name="sign")
RULED = plan_of(
    {"a": {"capability": "pick"}},
    name="ruled",
    rules=[
        {"on": "task.completed", "do": {"notify": HOOK}},
        {"on": "run.completed", "do": {"escalate": "role:chief"}},
    ],
)


@pytest.fixture
def cloud() -> Control:
    cloud = Control()
    cloud.join("harbour", "pick")
    return cloud


def notifications(cloud: Control) -> Notifications:
    return cloud.planner.notifications


def contact(cloud: Control, name: str, *urls: str, secret: str = "") -> None:
    assert cloud.ask(lambda token: SetContact(token, name, list(urls), secret)) is None


def begun(cloud: Control, plan: Plan) -> str:
    (run,) = cloud.start(plan)
    cloud.settle()
    return run


def ordered(cloud: Control) -> list[Deliver]:
    """What the courier was given since the last look."""
    found = [effect for effect in cloud.sent if isinstance(effect, Deliver)]
    cloud.sent.clear()
    return found


def notes(cloud: Control) -> list[tuple[str, str, str, str]]:
    known = notifications(cloud)
    return [(n.event, n.to, n.url, n.state) for n in (*known.pending.values(), *known.settled.values())]


def refusal(answer: object) -> str:
    assert isinstance(answer, Problem), answer
    return answer.code


def body(note: Note) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(body_of(note, "http://cloud"))
    return found


def test_whoever_may_decide_is_told_at_every_address(cloud: Control) -> None:
    """And who has no address is listed as undeliverable."""
    contact(cloud, "ann", HOOK, "http://10.0.0.7/ann")
    run = begun(cloud, SIGN)
    assert notes(cloud) == [
        ("approval.requested", "ann", HOOK, "pending"),
        ("approval.requested", "ann", "http://10.0.0.7/ann", "pending"),
        ("approval.requested", "role:chief", "", "undeliverable"),
    ]
    orders = ordered(cloud)
    assert [order.note.url for order in orders] == [HOOK, "http://10.0.0.7/ann"]
    said = body(orders[0].note)
    assert (said["run"], said["definition"], said["site"], said["task"]) == (run, "sign@1", "harbour", "sign")
    assert said["message"] == f"run {run} at harbour waits for ann, role:chief to decide on task sign"
    assert (said["detail"]["request"], said["detail"]["by"]) == ({"sum": 7}, ["ann", "role:chief"])
    assert said["links"] == {
        "run": f"http://cloud/api/v1/workflows/{run}",
        "explain": f"http://cloud/api/v1/workflows/{run}/explain",
        "approvals": "http://cloud/api/v1/approvals",
    }
    (undeliverable,) = notifications(cloud).settled.values()
    assert undeliverable.error == "no contact: nobody knows where to reach role:chief"


def test_rules_call_their_address_and_escalate_to_people(cloud: Control) -> None:
    """What is said of a run's end is told when the run has left memory, with its definition all the same."""
    contact(cloud, "role:chief", HOOK, secret="s3")
    run = begun(cloud, RULED)
    cloud.work_all(run)
    assert cloud.outcome(run) == "completed"
    first, second = ordered(cloud)
    assert (first.note.event, first.note.to, first.note.url, first.secret) == ("rule.notify", HOOK, HOOK, "")
    assert (second.note.event, second.note.to, second.secret) == ("rule.escalate", "role:chief", "s3")
    assert first.note.definition == second.note.definition == "ruled@1"
    assert body(second.note)["detail"] == {"rule": 2, "on": "run.completed", "event": {"outcome": "completed", "detail": ""}}
    assert first.note.message == f"rule 1: task.completed in run {run}, task a"
    assert first.note.time_ms == 1_800_000_000_000  # Of the site's own stamp.


def test_an_incident_is_for_anybody(cloud: Control) -> None:
    """The contact * is told, and so it is of what anybody may decide; people of whom it does not speak are not."""
    contact(cloud, "*", HOOK)
    run = begun(cloud, plan_of({"a": {"capability": "pick"}}, name="plain"))
    cloud.outposts["harbour"].say(run, IncidentOpened(0, "jam", "the belt is torn"))
    cloud.hear("harbour")
    (order,) = ordered(cloud)
    assert order.note.message == f"task a of run {run} at harbour needs a person: jam: the belt is torn"
    assert body(order.note)["detail"] == {"code": "jam", "message": "the belt is torn"}
    begun(cloud, plan_of({"ok": {"approval": {}}}, name="anybody"))
    assert [(o.note.event, o.note.to) for o in ordered(cloud)] == [("approval.requested", "*")]


def test_an_escalation_is_told_to_those_who_may_decide_now(cloud: Control) -> None:
    """With the request, which the escalation itself does not repeat."""
    contact(cloud, "boss", HOOK)
    run = begun(cloud, SIGN)
    cloud.outposts["harbour"].say(run, ApprovalEscalated(0, 1, ["boss"]))
    cloud.hear("harbour")
    (order,) = ordered(cloud)
    assert (order.note.event, order.note.to) == ("approval.escalated", "boss")
    assert body(order.note)["detail"]["request"] == {"sum": 7}
    assert order.note.message.startswith("nobody has decided in time (step 1): ")


def test_what_a_site_says_after_a_cut_keeps_its_time(cloud: Control) -> None:
    """When it happened, not when it was heard; giving up counts from when it was heard."""
    contact(cloud, "*", HOOK)
    run = begun(cloud, plan_of({"a": {"capability": "pick"}}, name="plain"))
    cloud.cut("harbour")
    cloud.outposts["harbour"].say(run, IncidentOpened(0, "jam", "torn"))
    cloud.clock.pass_ms(3_600_000)
    cloud.link("harbour")
    cloud.hear("harbour")
    (order,) = ordered(cloud)
    assert body(order.note)["time"] == 1_800_000_000_000
    assert order.note.since_ms == cloud.clock.now().wall_ms


def test_a_rule_that_could_not_be_computed_calls_nobody(cloud: Control) -> None:
    """What its condition would have said is not known."""
    run = begun(cloud, SIGN)
    cloud.outposts["harbour"].say(run, RuleFired(0, "task.started", "notify", HOOK, b"{}", "event has no 'x'"))
    cloud.hear("harbour")
    assert not [n for n in notes(cloud) if n[0] == "rule.notify"]


def test_what_is_heard_twice_is_told_once(cloud: Control) -> None:
    """The id follows from what was heard, and from it alone."""
    run = begun(cloud, SIGN)
    event = IncidentOpened(0, "jam", "torn")
    known = notifications(cloud)
    before = set(known.settled)
    out: list[object] = []
    for _ in range(2):
        known._hear("harbour", run, event, 7, cloud.clock.now(), out)
    assert len(out) == 1
    known._hear("harbour", run, event, 8, cloud.clock.now(), out)
    assert len(set(known.settled) - before) == 2


def test_a_restart_hands_out_what_is_pending_and_nothing_else(cloud: Control) -> None:
    """With and without a snapshot the state is the same, whatever the moment."""
    contact(cloud, "ann", HOOK, secret="s3")
    begun(cloud, SIGN)
    begun(cloud, SIGN)
    first, second = ordered(cloud)
    cloud.turn(Attempted(first.note.id, 3, "delivered"))
    cloud.turn(Attempted(second.note.id, 1, "waiting", "answered 503", 5))
    assert notifications(cloud).tries[second.note.id].attempts == 1
    before = notifications(cloud).save()
    for snapshot in (False, True):
        if snapshot:
            cloud.snapshot()
        cloud.sent.clear()
        cloud.begin_anew()
        cloud.turn()
        assert notifications(cloud).save() == before
        (order,) = ordered(cloud)
        assert (order.note.id, order.secret) == (second.note.id, "s3")
    cloud.turn(Attempted(first.note.id, 4, "failed", "late"))  # Settled: what comes later says nothing.
    assert notifications(cloud).settled[first.note.id].state == "delivered"


def test_what_was_given_up_is_retried_when_a_person_says_so(cloud: Control) -> None:
    """To where the book says now; what is pending, delivered or unknown is refused."""
    contact(cloud, "ann", HOOK)
    begun(cloud, SIGN)
    (order,) = ordered(cloud)
    id = order.note.id
    assert refusal(cloud.ask(lambda token: RetryNotification(token, id))) == "notification_pending"
    cloud.turn(Attempted(id, 20, "failed", "answered 404"))
    assert (notifications(cloud).settled[id].attempts, notifications(cloud).settled[id].error) == (20, "answered 404")
    contact(cloud, "ann", "https://example.org/new")
    assert cloud.ask(lambda token: RetryNotification(token, id)) is None
    (again,) = ordered(cloud)
    assert (again.note.id, again.note.url, again.note.attempts) == (id, "https://example.org/new", 0)
    cloud.turn(Attempted(id, 1, "delivered"))
    assert refusal(cloud.ask(lambda token: RetryNotification(token, id))) == "notification_delivered"
    assert refusal(cloud.ask(lambda token: RetryNotification(token, "n7"))) == "notification_unknown"


def test_what_had_no_contact_goes_to_all_its_addresses_once_there_are_some(cloud: Control) -> None:
    """One of them under the id that was asked for, each other under one of its own."""
    begun(cloud, SIGN)
    id = next(note.id for note in notifications(cloud).settled.values() if note.to == "ann")
    assert refusal(cloud.ask(lambda token: RetryNotification(token, id))) == "contact_unknown"
    contact(cloud, "ann", HOOK, "https://example.org/two")
    cloud.ask(lambda token: RetryNotification(token, id))
    assert [(o.note.id, o.note.url) for o in ordered(cloud)] == [(id, HOOK), (f"{id}.1", "https://example.org/two")]
    before = notifications(cloud).save()
    cloud.begin_anew()
    assert notifications(cloud).save() == before


def test_a_full_queue_is_shown_and_counted(cloud: Control) -> None:
    """What found no room is in the log as failed, says so, and can be retried once there is room."""
    notifications(cloud).pending_max = 1
    contact(cloud, "ann", HOOK)
    begun(cloud, SIGN)
    begun(cloud, SIGN)
    (order,) = ordered(cloud)
    crowded = next(note for note in notifications(cloud).settled.values() if note.state == "failed")
    assert crowded.error == "1 notifications wait for delivery already: retry it when some have gone"
    assert notifications(cloud).crowded == 1
    assert refusal(cloud.ask(lambda token: RetryNotification(token, crowded.id))) == "notifications_full"
    cloud.turn(Attempted(order.note.id, 1, "delivered"))
    assert cloud.ask(lambda token: RetryNotification(token, crowded.id)) is None
    assert list(notifications(cloud).pending) == [crowded.id]


def test_only_the_latest_are_kept(cloud: Control) -> None:
    """The oldest that are not pending are forgotten, and stay in the log."""
    notifications(cloud).kept_max = 3
    for _ in range(3):
        begun(cloud, SIGN)
    assert len(notifications(cloud).settled) == 3
    kept = [row for row in cloud.log.disk.rows if row.kind == "NotificationRaised"]
    assert len(kept) == 6


def test_a_contact_book_has_a_bound(cloud: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused, another address for a known name is not."""
    monkeypatch.setattr("cloud.notifying.core.CONTACTS_MAX", 1)
    contact(cloud, "ann", HOOK)
    assert refusal(cloud.ask(lambda token: SetContact(token, "bob", [HOOK], ""))) == "contacts_full"
    contact(cloud, "ann", "https://example.org/new")
    assert cloud.ask(lambda token: RemoveContact(token, "ann")) is None
    assert refusal(cloud.ask(lambda token: RemoveContact(token, "ann"))) == "contact_unknown"
    contact(cloud, "bob", HOOK)


def test_a_large_detail_is_left_out(cloud: Control) -> None:
    """And said to be."""
    contact(cloud, "ann", HOOK)
    begun(cloud, plan_of({"ok": {"approval": {"by": ["ann"], "request": "x" * DETAIL_BYTES_MAX}}}, name="large"))
    (order,) = ordered(cloud)
    assert list(body(order.note)["detail"]) == ["left_out_bytes"]


def test_no_secret_input_can_be_told() -> None:
    """A request that reads one is refused when it is defined, and so is a rule's condition."""
    secret = {"pin": {"secret": True}}
    with pytest.raises(DefinitionError, match="is a secret"):
        plan_of({"ok": {"approval": {"request": "${{ inputs.pin }}"}}}, inputs=secret)
    with pytest.raises(DefinitionError, match="is a secret"):
        plan_of({"a": {}}, inputs=secret, rules=[{"on": "run.failed", "when": "inputs.pin == '1'", "do": {"notify": HOOK}}])
