"""Which agents of a site take part in finding who does a task."""

from coordination.auction.bids import Bidder, Who
from edge.roster import Roster, Slot
from workflow.tasks import GroupOfAgents, TaskPlan


def who_may(plan: TaskPlan, group: GroupOfAgents | None) -> Who:
    """Those who can do the task, and are in the group if there is one."""
    if group is None:
        return Who(plan.capability)
    return Who(plan.capability, group.agents, group.label, group.capability)


def belongs(slot: Slot, who: Who) -> bool:
    """Is the agent one of them?"""
    if (who.capability and who.capability not in slot.capabilities) or (who.also and who.also not in slot.capabilities):
        return False
    if who.agents and slot.agent not in who.agents:
        return False
    key, _, value = who.label.partition("=")
    return not who.label or slot.labels.get(key) == value


def members(roster: Roster, who: Who) -> list[Slot]:
    """Those of them that are connected, by id."""
    named = (roster.slots.get(agent) for agent in who.agents) if who.agents else roster.slots.values()
    return sorted(
        (slot for slot in named if slot is not None and slot.session and not slot.draining and belongs(slot, who)),
        key=lambda slot: slot.agent,
    )


def has_room(roster: Roster, who: Who) -> bool:
    """May any of them take one task more now?"""
    if who == Who(who.capability):
        return roster.assigner.choose(who.capability) is not None
    return any(roster.assigner.room(slot.agent) > 0 for slot in members(roster, who))


def bidder_of(roster: Roster, slot: Slot) -> Bidder:
    """What it has room for, as far as its health allows."""
    return Bidder(slot.agent, roster.assigner.room(slot.agent), slot.capacity)
