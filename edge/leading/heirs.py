"""Who belongs to a group with a leader, and who of it may lead it next: whoever names somebody else is refused, by code."""

from coordination.delegating import Refused, refusal_of
from coordination.leading import Group
from edge.coordinating.members import belongs
from edge.leading.inputs import LeaderSpoke
from edge.roster import Roster, Slot

KNOWN_SHOWN_MAX = 20


def belongs_to(slot: Slot, group: Group) -> bool:
    """Is the agent a member, by any definition that says who is?"""
    return any(belongs(slot, who) for who in group.charter.holds.who)


def lacks(roster: Roster, agent: str) -> tuple[str, str] | None:
    """Why this agent cannot lead anything now: a code, and what helps."""
    slot = roster.slots.get(agent)
    if slot is None or not slot.session:
        return "agent_silent", f"{agent} is not connected: name one that is, or wait until it is back"
    if slot.draining:
        return "agent_draining", f"{agent} is being stopped ({slot.draining}): name another one"
    return None


def unfit(roster: Roster, group: Group, heir: str) -> tuple[str, str] | None:
    """Why this agent cannot lead the group now, if it does not already."""
    slot = roster.slots.get(heir)
    if slot is None or not belongs_to(slot, group):
        members = ", ".join(sorted(group.standing)[:KNOWN_SHOWN_MAX]) or "none"
        return "not_a_member", f"{heir} does not belong to it (members here: {members})"
    return None if heir == group.term.leader else lacks(roster, heir)


def refusal_of_word(roster: Roster, group: Group | None, said: LeaderSpoke) -> Refused | None:
    """Why what an agent says as a leader does not count."""
    if group is None:
        return Refused("", "group_unknown", f"there is no group {said.group} here: it begins with the first task that wants it")
    if refused := refusal_of(group, said.agent, said.epoch):
        return refused
    if said.successor == said.agent:
        return Refused("", "leads_already", f"{said.agent} leads group {group.name}: name another member, or nobody to step down")
    if said.successor and (why := unfit(roster, group, said.successor)):
        return Refused("", why[0], f"group {group.name}: {why[1]}")
    return None
