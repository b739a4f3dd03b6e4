"""How what has lost among the writers of a document comes back: by a new write, which has seen both."""

from cloud.conflicts.restoring import RESTORERS, Restoring, Wanted
from sync.documents.inputs import EditDocument
from sync.merging.conflicts import OVER_DELETE, restoring
from sync.merging.rules import KINDS, PARTED


def restore_write(wanted: Wanted) -> Restoring:
    """The member as the loser had it; of a deletion the deletion."""
    operation, value = restoring(wanted.conflict)
    return EditDocument(0, wanted.conflict.subject, wanted.edit, operation, value, wanted.expected, wanted.by)


for _rule in (OVER_DELETE, *(kind for kind in KINDS if kind not in PARTED)):
    RESTORERS.register(_rule, restore_write)
