"""What can happen to the contact book and to notifications, as facts in the cloud's own stream."""

from workflow.events import Event, register


class ContactSet(Event, frozen=True):
    """Notifications for `name` go to these addresses from here on; with a `secret`, they are signed."""

    name: str
    urls: list[str]
    secret: str = ""


class ContactRemoved(Event, frozen=True):
    """Nobody knows any more how to reach `name`."""

    name: str


class NotificationRaised(Event, frozen=True):
    """Somebody is to be told. Without a `url` nobody knows where; `refused` says why it is not even tried.

    `time_ms` is when it happened, at its site. `detail` is a JSON object.
    """

    id: str
    event: str
    to: str
    url: str
    run: str
    definition: str
    site: str
    task: str
    message: str
    detail: bytes
    time_ms: int
    refused: str = ""


class NotificationDelivered(Event, frozen=True):
    """Its address has taken it, at the last of so many attempts."""

    id: str
    attempts: int


class NotificationFailed(Event, frozen=True):
    """It was given up."""

    id: str
    attempts: int
    error: str


class NotificationRetried(Event, frozen=True):
    """A person asked to try again, at this address."""

    id: str
    url: str


register(ContactSet, ContactRemoved, NotificationRaised, NotificationDelivered, NotificationFailed, NotificationRetried)
