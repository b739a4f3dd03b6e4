"""What the cloud shows of contacts and notifications. Times are UTC ms."""

import msgspec

from cloud.notifying.core import Contact, Notifications
from cloud.notifying.inputs import Attempted, Note

STATES = ("pending", "delivered", "failed", "undeliverable")


class ContactView(msgspec.Struct):
    """Where notifications for a name go; `signed`, with a secret that is never shown."""

    name: str
    urls: list[str]
    signed: bool
    set: int


class NotificationView(msgspec.Struct, omit_defaults=True):
    """One notification: what, to whom, what has become of it. `time` is when it happened, `since` when it was raised or last
    retried, `changed` when its state last changed, `next` when it is tried again."""

    id: str
    event: str
    to: str
    url: str
    state: str
    run: str
    message: str
    time: int
    since: int
    changed: int
    attempts: int = 0
    error: str = ""
    next: int = 0
    definition: str = ""
    site: str = ""
    task: str = ""
    detail: msgspec.Raw = msgspec.Raw(b"{}")


class NotificationsView(msgspec.Struct):
    """The latest, newest first; how many are pending of how many at most; how many found no room among them."""

    items: list[NotificationView]
    pending: int
    pending_max: int
    crowded: int


def contact_view(name: str, contact: Contact) -> ContactView:
    """A contact as it is shown."""
    return ContactView(name, contact.urls, bool(contact.secret), contact.set_ms)


def notification_view(note: Note, tries: Attempted | None) -> NotificationView:
    """A notification, with how the attempts go of one that is pending."""
    attempts, error, following = (tries.attempts, tries.error, tries.next_ms) if tries else (note.attempts, note.error, 0)
    return NotificationView(
        id=note.id,
        event=note.event,
        to=note.to,
        url=note.url,
        state=note.state,
        run=note.run,
        message=note.message,
        time=note.time_ms,
        since=note.since_ms,
        changed=note.changed_ms,
        attempts=attempts,
        error=error,
        next=following,
        definition=note.definition,
        site=note.site,
        task=note.task,
        detail=msgspec.Raw(note.detail or b"{}"),
    )


def notifications_view(notifications: Notifications, state: str, limit: int) -> NotificationsView:
    """The latest `limit` (of one state)."""
    notes = [*notifications.pending.values(), *notifications.settled.values()]
    wanted = sorted((note for note in notes if state in ("", note.state)), key=lambda note: (-note.since_ms, note.id))
    items = [notification_view(note, notifications.tries.get(note.id)) for note in wanted[:limit]]
    return NotificationsView(items, len(notifications.pending), notifications.pending_max, notifications.crowded)
