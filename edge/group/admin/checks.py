"""What keeps a group from being changed so. Pure."""

from collections.abc import Collection

from coordination.group.values import PeerStanding, Standing
from sync.values import site_name_problem
from tiercel.v1 import members_pb2

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


def keep_problem(standing: Standing, name: str, behind: str) -> str:
    """Why the node is not removed yet, of which others may still have to fetch; empty if it is lost anyway."""
    if not any(peer.name == name and is_here(standing, peer) for peer in standing.peers):
        return ""
    return f"{behind}; {name} may be the only one that does. They are being fetched: ask again, or --force"


def waits(said: members_pb2.ValuesLacking, index: int, here: Collection[str]) -> str:
    """Why the node does not have all large values that some box holds that is `here`; empty if it has."""
    if said.missing:
        held_up = f" ({said.problem})" if said.problem else ""
        return f"lacks {said.missing:,} large values, {said.missing_bytes:,} bytes, that other nodes hold{held_up}"
    if said.compared < index:
        return f"has not compared its large values with its log yet{f': {said.problem}' if said.problem else ''}"
    if said.unheld and (unasked := [name for name in said.unasked if name in here]):
        return f"could not ask {', '.join(unasked)} for {said.unheld:,} large values"
    return ""


def left_behind(said: members_pb2.ValuesLacking) -> str:
    """What is said of large values that the node has not; empty if there are none."""
    if said.missing:
        return f"; {said.missing:,} large values that were stored meanwhile are on their way to it"
    if not said.unheld:
        return ""
    names = [digest.hex()[:16] for digest in said.unheld_sha256] + ["..."] * (said.unheld > len(said.unheld_sha256))
    asked = f" ({', '.join(said.unasked)} could not be asked)" if said.unasked else ""
    return (
        f"; {said.unheld:,} large values that the log names are held by no node of the site{asked}: made at other sites, and "
        f"brought by the cloud when they are needed, or lost: {', '.join(names)}"
    )
