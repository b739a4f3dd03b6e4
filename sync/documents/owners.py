"""Who may write what is an agent's own: the agent, at its site, where its connection says who it is. A person may only take it
away, for an agent that has gone for good cannot.
"""

from sync.documents.events import EditProposed
from sync.documents.ids import owner_of


def author_of(agent: str) -> str:
    """As what an agent's edits are signed by its gateway, and by nobody else."""
    return f"agent:{agent}"


def stranger_problem(edit: EditProposed, *, by_agent: bool) -> str:
    """Why this edit is not its maker's to make; empty if it is. `by_agent`: it came from the gateway, which knows who it was."""
    owner = owner_of(edit.document)
    if not owner or (edit.author == author_of(owner) if by_agent else edit.operation == "delete"):
        return _shared_problem(edit) if owner else ""
    who = edit.author if by_agent else "the cloud"
    return f"{edit.document} is written by agent {owner} at its site alone, and this came from {who}: others read it"


def _shared_problem(edit: EditProposed) -> str:
    is_shared = edit.terms is not None and edit.terms.multi_writer
    return f"{edit.document} has one writer: leave out multi_writer" if is_shared else ""
