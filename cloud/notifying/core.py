"""The notifications of the cloud, a Part of the planner, and the contact book that says where they go.

Whom something is for is looked up when it is heard, and recorded with it: one notification per address, an event of the cloud's
own stream in the commit that holds what was heard. So a restart loses none, and begins with those that are pending. What was
heard before and comes again after a loss has the same id, and raises nothing.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec

from cloud.notifying.events import (
    ContactRemoved,
    ContactSet,
    NotificationDelivered,
    NotificationFailed,
    NotificationRaised,
    NotificationRetried,
)
from cloud.notifying.inputs import Attempted, Deliver, Note, RemoveContact, RetryNotification, SetContact
from cloud.notifying.messages import MESSAGE_CHARACTERS_MAX, Notice, encoded, id_of, notice_of
from cloud.part import Fold, Hear, Part, Step
from cloud.port import Problem
from cloud.runs import Run, Runs
from sync.conflicts.events import ConflictRecorded
from sync.outputs import Reply
from sync.values import Now
from workflow.event import Event
from workflow.steering_events import ApprovalEscalated, ApprovalRequested, IncidentOpened, RuleFired

if TYPE_CHECKING:
    from cloud.outcomes import Outcome

PENDING_MAX = 1_000
KEPT_MAX = 1_000
"""Notifications that are not pending any more; the oldest are forgotten here, and stay in the log."""

CONTACTS_MAX = 1_000
ENDED_MAX = 1_000
HEARD = (RuleFired, ApprovalRequested, ApprovalEscalated, IncidentOpened, ConflictRecorded)


class Planning(Protocol):
    """What notifications need of the planner."""

    @property
    def runs(self) -> Runs: ...
    def note(self, reader: str, event: Event, now: Now, out: list[object]) -> None: ...


class Contact(msgspec.Struct, array_like=True):
    """Where notifications for a name go, since when (UTC ms)."""

    urls: list[str]
    secret: str
    set_ms: int


class Saved(msgspec.Struct, array_like=True):
    """All of it in a snapshot."""

    contacts: dict[str, Contact]
    pending: list[Note]
    settled: list[Note]
    crowded: int


class Notifications(Part):
    """`pending` are to be delivered, `settled` are the latest of the others; `crowded` counts those that found the queue full."""

    name: ClassVar[str] = "notifications"

    def __init__(self, planner: Planning, pending_max: int = PENDING_MAX, kept_max: int = KEPT_MAX) -> None:
        self._planner, self.pending_max, self.kept_max = planner, pending_max, kept_max
        self.contacts: dict[str, Contact] = {}
        self.pending: dict[str, Note] = {}
        self.settled: dict[str, Note] = {}
        self.crowded = 0
        # Of the moment: how the attempts go (attempts, error, next), and the definitions of runs that have just ended.
        self.tries: dict[str, Attempted] = {}
        self._ended: dict[str, str] = {}

    # What it takes ----------------------------------------------------------------------------------------------------

    def steps(self) -> dict[type, Step]:
        return {
            SetContact: self._set,
            RemoveContact: self._remove,
            RetryNotification: self._retry,
            Attempted: self._attempted,
        }

    def own_folds(self) -> dict[type, Fold]:
        return {
            ContactSet: self._fold_contact,
            ContactRemoved: self._fold_contact,
            NotificationRaised: self._fold_raised,
            NotificationDelivered: self._fold_settled,
            NotificationFailed: self._fold_settled,
            NotificationRetried: self._fold_retried,
        }

    def hears(self) -> dict[type, Hear]:
        return dict.fromkeys(HEARD, self._hear)

    def ended(self, run: Run, how: "Outcome", now: Now, out: list[object]) -> None:
        """What its rules say to its end is heard when it has left memory."""
        self._ended[run.id] = run.plan.ref
        if len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def restored(self, now: Now, out: list[object]) -> None:
        out += map(self._delivery, self.pending.values())

    # Hearing ----------------------------------------------------------------------------------------------------------

    def _hear(self, site: str, run: str, event: Event, time_ms: int, now: Now, out: list[object]) -> None:
        known = self._planner.runs.get(run)
        notice = notice_of(event, run, known.fragment(site) if known is not None else None)
        if notice is None:
            return
        definition = known.plan.ref if known is not None else self._ended.get(run, "")
        for number, (to, url) in enumerate(self._addresses(notice)):
            id = id_of(site, run, event, time_ms, to, number)
            said = notice.task, notice.message[:MESSAGE_CHARACTERS_MAX], encoded(notice.detail)
            self._raise(NotificationRaised(id, notice.event, to, url, run, definition, site, *said, time_ms), now, out)

    def _addresses(self, notice: Notice) -> Iterator[tuple[str, str]]:
        """Each name with each of its addresses; a name without any, with none."""
        for to in notice.to:
            if notice.event == "rule.notify":
                yield to, to
                continue
            contact = self.contacts.get(to)
            for url in contact.urls if contact is not None else [""]:
                yield to, url

    def _raise(self, event: NotificationRaised, now: Now, out: list[object]) -> None:
        if event.id in self.pending or event.id in self.settled:
            return
        if event.url and len(self.pending) >= self.pending_max:
            refused = f"{self.pending_max:,} notifications wait for delivery already: retry it when some have gone"
            event = msgspec.structs.replace(event, refused=refused)
        self._planner.note("", event, now, out)
        if event.id in self.pending:
            out.append(self._delivery(self.pending[event.id]))

    def _delivery(self, note: Note) -> Deliver:
        contact = self.contacts.get(note.to)
        return Deliver(note, contact.secret if contact is not None and note.url in contact.urls else "")

    # Asked ------------------------------------------------------------------------------------------------------------

    def _set(self, input: SetContact, now: Now, out: list[object]) -> None:
        if input.name not in self.contacts and len(self.contacts) >= CONTACTS_MAX:
            detail = f"{CONTACTS_MAX:,} contacts are kept already: remove one that is not needed any more"
            out.append(Reply(input.token, Problem(409, "contacts_full", detail)))
            return
        known = self.contacts.get(input.name)
        if known is None or (known.urls, known.secret) != (input.urls, input.secret):
            self._planner.note("", ContactSet(input.name, input.urls, input.secret), now, out)
        out.append(Reply(input.token, None))

    def _remove(self, input: RemoveContact, now: Now, out: list[object]) -> None:
        if input.name not in self.contacts:
            out.append(Reply(input.token, self.unknown_contact(input.name)))
            return
        self._planner.note("", ContactRemoved(input.name), now, out)
        out.append(Reply(input.token, None))

    def unknown_contact(self, name: str) -> Problem:
        """The refusal of a name that is not in the book."""
        known = ", ".join(sorted(self.contacts)[:20]) or "none"
        return Problem(404, "contact_unknown", f"there is no contact {name} (known: {known})")

    def _retry(self, input: RetryNotification, now: Now, out: list[object]) -> None:
        refusal = self._refuse_retry(input.id)
        if refusal is None:
            note = self.settled[input.id]
            first, *others = self._urls(note)
            self._planner.note("", NotificationRetried(note.id, first), now, out)
            out.append(self._delivery(self.pending[note.id]))
            if not note.url:  # It was to reach all of them.
                for number, url in enumerate(others, 1):
                    self._raise(_sibling(note, f"{note.id}.{number}", url), now, out)
        out.append(Reply(input.token, refusal))

    def _urls(self, note: Note) -> list[str]:
        """Where it goes now: the book may have changed."""
        contact = self.contacts.get(note.to)
        if note.event == "rule.notify":
            return [note.url]
        urls = contact.urls if contact is not None else []
        return [note.url] if note.url in urls else list(urls)

    def _refuse_retry(self, id: str) -> Problem | None:
        note = self.settled.get(id)
        if id in self.pending:
            return Problem(409, "notification_pending", f"notification {id} is pending: it is tried again by itself")
        if note is None:
            detail = f"notification {id} is not known, or forgotten: look at GET /api/v1/notifications"
            return Problem(404, "notification_unknown", detail)
        if note.state == "delivered":
            return Problem(409, "notification_delivered", f"notification {id} was delivered: there is nothing to retry")
        if not self._urls(note):
            detail = f"there is still no contact {note.to}: before it is retried, set one with PUT /api/v1/contacts/{note.to}"
            return Problem(409, "contact_unknown", detail)
        if len(self.pending) >= self.pending_max:
            detail = f"{self.pending_max:,} notifications wait for delivery already: try again when some have gone"
            return Problem(503, "notifications_full", detail)
        return None

    # From the courier -------------------------------------------------------------------------------------------------

    def _attempted(self, input: Attempted, now: Now, out: list[object]) -> None:
        if input.id not in self.pending:
            return
        match input.outcome:
            case "delivered":
                self._planner.note("", NotificationDelivered(input.id, input.attempts), now, out)
            case "failed":
                self._planner.note("", NotificationFailed(input.id, input.attempts, input.error), now, out)
            case "waiting":
                self.tries[input.id] = input

    # Folding ----------------------------------------------------------------------------------------------------------

    def _fold_contact(self, site: str, run: str, event: Event, time_ms: int) -> None:
        if isinstance(event, ContactSet):
            self.contacts[event.name] = Contact(event.urls, event.secret, time_ms)
        elif isinstance(event, ContactRemoved):
            self.contacts.pop(event.name, None)

    def _fold_raised(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, NotificationRaised)
        who = event.id, event.event, event.to, event.url, event.run, event.definition, event.site, event.task
        note = Note(*who, event.message, event.detail, event.time_ms, time_ms, time_ms)
        if event.refused:
            note.state, note.error = "failed", event.refused
            self.crowded += 1
        elif not event.url:
            note.state, note.error = "undeliverable", f"no contact: nobody knows where to reach {event.to}"
        self._keep(note)

    def _fold_settled(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, NotificationDelivered | NotificationFailed)
        if (note := self.pending.pop(event.id, None)) is None:
            return
        self.tries.pop(event.id, None)
        note.attempts, note.changed_ms = event.attempts, time_ms
        note.state, note.error = ("failed", event.error) if isinstance(event, NotificationFailed) else ("delivered", "")
        self._keep(note)

    def _fold_retried(self, site: str, run: str, event: Event, time_ms: int) -> None:
        assert isinstance(event, NotificationRetried)
        if (note := self.settled.pop(event.id, None)) is not None:
            # A new value: the courier may still have the old one in its hands.
            since = {"url": event.url, "since_ms": time_ms, "changed_ms": time_ms}
            self._keep(msgspec.structs.replace(note, state="pending", attempts=0, error="", **since))

    def _keep(self, note: Note) -> None:
        if note.state == "pending":
            self.pending[note.id] = note
            return
        self.settled[note.id] = note
        if len(self.settled) > self.kept_max:
            del self.settled[next(iter(self.settled))]

    def save(self) -> bytes:
        if not self.contacts and not self.pending and not self.settled:
            return b""
        contacts = {name: self.contacts[name] for name in sorted(self.contacts)}
        return msgspec.msgpack.encode(Saved(contacts, [*self.pending.values()], [*self.settled.values()], self.crowded))

    def restore(self, body: bytes) -> None:
        saved = _SAVED.decode(body)
        self.contacts, self.crowded = saved.contacts, saved.crowded
        self.pending = {note.id: note for note in saved.pending}
        self.settled = {note.id: note for note in saved.settled}


_SAVED = msgspec.msgpack.Decoder(Saved)


def _sibling(note: Note, id: str, url: str) -> NotificationRaised:
    """The same for another address."""
    said = note.run, note.definition, note.site, note.task, note.message, note.detail, note.time_ms
    return NotificationRaised(id, note.event, note.to, url, *said)
