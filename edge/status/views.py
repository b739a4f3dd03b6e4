"""What a site tells of itself on its own machine. Pure."""

import msgspec

from edge.alone import Alone
from edge.leading.groups import GroupView
from sync.link.standing import LinkStanding


class MemberView(msgspec.Struct):
    """One box of a site: `kind` is voter or learner, `address` where the others reach it, `advertise` where agents do. `lag`:
    entries of the group's log that it lacks, -1 if the box that tells does not know; `here`: was it heard of late?
    `values_missing`: large values that it lacks and another box holds, -1 if it has not told; `values_unheld`: those that its log
    names and no box holds. `waiting`: what it waits for that is being added. `problem`: why the box that tells does not listen to
    it. Who has the highest `priority` leads when it can."""

    node: str
    kind: str
    address: str
    advertise: str
    leads: bool
    here: bool
    lag: int
    copying: bool = False
    values_missing: int = -1
    missing_bytes: int = 0
    values_unheld: int = 0
    values_problem: str = ""
    waiting: str = ""
    problem: str = ""
    priority: int = 0


class MembersView(msgspec.Struct):
    """The boxes of a site, as `node` sees them. `waiting`: why it takes no part yet; empty if it does. `preferring`:
    why the one that leads does so though another one is preferred."""

    site: str
    node: str
    role: str
    term: int
    leader: str
    commit: int
    applied: int
    members: list[MemberView]
    waiting: str = ""
    dropped: int = 0
    refused: dict[str, int] = {}
    preferring: str = ""


class EdgeStatus(msgspec.Struct):
    """The site as it knows itself. `halted`: why it takes no work, if it does not. `written_off`: attempts that agents may still
    be done with though the site counts on them no more; `forgotten`: those of which such a word would not be noticed any more.
    `group`: of a site of several boxes; `leaders`: its groups of agents, and who leads them."""

    site: str
    boot: int
    halted: str
    agents: int
    running_tasks: int
    ready_tasks: int
    link: LinkStanding
    alone: Alone
    written_off: int = 0
    forgotten: int = 0
    group: MembersView | None = None
    leaders: list[GroupView] = []
