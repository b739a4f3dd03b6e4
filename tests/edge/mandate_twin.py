"""What stands of a site's awards, told from its log in the plainest way."""

import msgspec

from sync.accounts import Account
from tests.edge.site import Site
from workflow.coordination_events import TaskAwarded
from workflow.events import TaskLost
from workflow.homes import attempt_of


def accounts(site: Site, run: str = "r1") -> dict[tuple[str, ...], Account]:
    """By each level that had a say, and the cloud above them: its awards that were not given back before anybody had begun."""
    told = site.events_of(run)
    back = {(event.task, event.attempt) for event in told if isinstance(event, TaskLost) and not event.begun}
    found: dict[tuple[str, ...], Account] = {}
    for event in told:
        if not isinstance(event, TaskAwarded) or not event.agent or (event.task, attempt_of(event.epoch)) in back:
            continue
        why = msgspec.json.decode(event.detail)
        for depth in range(len(why["path"]) + 1):
            found.setdefault(tuple(why["path"][:depth]), Account()).spend(event.task, why["cost"])
    return found
