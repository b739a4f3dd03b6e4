"""What keeps a group from being changed so. Pure."""

from coordination.group.values import PeerStanding, Standing
from sync.values import site_name_problem

MEMBERS_MAX = 7
"""Five voters, and two that are on their way in or out."""


def add_problem(standing: Standing, name: str, address: str) -> str:
    """Why the node cannot be added; empty if it can."""
    if wrong := site_name_problem(name):
        return wrong.replace("a site", "a node")
    known = {peer.name: peer for peer in standing.peers}
    if name in known:
        return f"{name} is a voter of the group already" if known[name].voter else ""
    if not address:
        return f"where do the others reach {name}? tiercel edge group add {name}=host:port"
    taken = [peer.name for peer in standing.peers if peer.address == address]
    if taken:
        return f"{address} is the address of {taken[0]}"
    if len(known) >= MEMBERS_MAX:
        return f"the group has {len(known)} members; at most {MEMBERS_MAX}, of which 5 vote for long. Remove one first"
    return ""


def remove_problem(standing: Standing, name: str, *, force: bool) -> str:
    """Why the node cannot be removed; empty if it can. What is left must be able to decide, or nobody could add one again."""
    leaving = next((peer for peer in standing.peers if peer.name == name), None)
    if leaving is None:
        names = ", ".join(peer.name for peer in standing.peers)
        return f"{name} is no member of the group ({names})"
    if not leaving.voter:
        return ""
    left = [peer for peer in standing.peers if peer.voter and peer.name != name]
    if not left:
        return f"without {name} nobody could decide: a group keeps one voter at least"
    here = [peer.name for peer in left if is_here(standing, peer)]
    if not force and len(here) < len(left) // 2 + 1:
        gone = ", ".join(peer.name for peer in left if peer.name not in here)
        return (
            f"without {name} only {len(here)} of {len(left)} voters are there ({gone} not heard of late), which is no majority: "
            "the site would stand still. Bring one back or remove that first; --force does it all the same"
        )
    return ""


def transfer_problem(standing: Standing, name: str) -> str:
    """Why the node cannot be made to lead; empty if it can."""
    peer = next((peer for peer in standing.peers if peer.name == name), None)
    if peer is None or not peer.voter:
        voters = ", ".join(each.name for each in standing.peers if each.voter)
        return f"{name} is no voter of the group; voters are {voters}"
    if name == standing.member:
        return f"{name} leads already"
    return "" if is_here(standing, peer) else f"{name} has not been heard of late: it cannot lead"


def successor(standing: Standing) -> str:
    """Who leads best after this box: the voter that is here and holds most; empty if there is none."""
    others = [peer for peer in standing.peers if peer.voter and peer.name != standing.member and is_here(standing, peer)]
    return max(others, key=lambda peer: (peer.match, peer.name)).name if others else ""


def is_here(standing: Standing, peer: PeerStanding) -> bool:
    """Was the member heard of late? Whoever tells is."""
    return peer.name == standing.member or peer.recent
