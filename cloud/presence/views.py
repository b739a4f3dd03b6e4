"""Agents as the cloud shows them. Times are UTC ms; what a site says by the way is as of when it was heard."""

import msgspec

from cloud.views import AgentView, Freshness, LinkView


class LeaseView(msgspec.Struct):
    """The lease of an agent's session, as its site told at `as_of` (0: it has not): it ends at `ends` (0: there is none) unless
    the agent is heard of before. `epoch` grows with every session."""

    epoch: int
    ends: int
    as_of: int


class HeldView(msgspec.Struct, omit_defaults=True):
    """An attempt in the agent's hands: how far it is (0 to 1), what it said last and when, and for what it waits."""

    run: str
    task: str
    attempt: int
    fraction: float | None = None
    note: str = ""
    at: int = 0
    waits_for: str = ""


class ChangeView(msgspec.Struct, omit_defaults=True):
    """The state that an agent came into, when, and why if that is known."""

    state: str
    at: int
    why: str = ""


class AgentDetail(msgspec.Struct):
    """All that is known of one agent. `history`: its latest states, the oldest first; that it came, left or became unreachable is
    in its site's log, the others were told by the way. `link` and `freshness` are of its site: while it is cut off, this is a
    picture of before."""

    agent: AgentView
    lease: LeaseView
    holds: list[HeldView]
    history: list[ChangeView]
    link: LinkView
    freshness: Freshness


class WorkflowOfAgent(msgspec.Struct, omit_defaults=True):
    """A run that has to do with an agent: `holds` of its tasks are in its hands, `named` wait for it and nobody else, it is a
    party of `sync_points`, and `assigned` is when it was last given a task of it."""

    run: str
    definition: str = ""
    state: str = ""
    holds: list[str] = []
    named: list[str] = []
    sync_points: list[str] = []
    assigned: int = 0


class WorkflowsOfAgent(msgspec.Struct):
    """The runs that go on, and those that it worked for before, by the last `looked_through` events of its site."""

    site: str
    agent: str
    active: list[WorkflowOfAgent]
    recent: list[WorkflowOfAgent]
    looked_through: int
