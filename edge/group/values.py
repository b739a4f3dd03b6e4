"""What a box of a site is told at its start. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from coordination.group.values import PRIORITY_MAX
from sync.listen import check_address
from sync.values import site_name_problem

SIZES = (1, 3, 5)
ELECTION_MS, ELECTION_MS_MIN, ELECTION_MS_MAX = 400, 100, 10_000
WILDCARDS = ("0.0.0.0", "[::]", "::", "")


@dataclass(frozen=True, slots=True)
class Box:
    """`peers`: where each member is reached by the others, this one too. `listen`: where this one takes them, if that is another
    address. `advertise`: where agents reach this box. One that `joins` founds no group and waits to be taken into one. A leader
    that is silent for `election_ms` to twice that is replaced. Who has the highest `priority` leads when it can."""

    node: str
    peers: Mapping[str, str]
    advertise: str
    listen: str = ""
    joins: bool = False
    election_ms: int = ELECTION_MS
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What an operator says of it on the command line; see `tiercel edge start --help`."""

    node: str = ""
    peers: str = ""
    join: bool = False
    peer_listen: str = ""
    advertise: str = ""
    listen: str = ""
    is_secured: bool = False
    election_ms: int = ELECTION_MS
    priority: int = 0


def box_of(asked: Asked) -> Box | None:
    """The box; None for a site of one node. Raises ValueError, which says what is wrong and what is allowed."""
    if not asked.peers:
        _check_alone(asked)
        return None
    peers = peers_of(asked.peers)
    if not asked.node:
        raise ValueError(f"--peers without --node: which of {', '.join(peers)} is this one? Say it with --node")
    if asked.node not in peers:
        raise ValueError(
            f"--node {asked.node}: it is none of --peers ({', '.join(peers)}); each node names itself among them, too"
        )
    if asked.join and len(peers) == 1:
        raise ValueError("--join: name at least one node of the group among --peers, too, or nobody knows whom to ask")
    if not asked.join and len(peers) not in SIZES:
        raise ValueError(
            f"--peers: a group is founded by 1, 3 or 5 nodes, not by {len(peers)}: an even number bears no more losses than "
            "the odd one below it. Others are added to a group that runs: tiercel edge group add"
        )
    listen = asked.peer_listen or peers[asked.node]
    check_address(listen, insecure=asked.is_secured)
    if not ELECTION_MS_MIN <= asked.election_ms <= ELECTION_MS_MAX:
        allowed = f"{ELECTION_MS_MIN} to {ELECTION_MS_MAX} milliseconds, the same on each node"
        raise ValueError(f"--election-timeout {asked.election_ms}: allowed are {allowed}")
    if not 0 <= asked.priority <= PRIORITY_MAX:
        raise ValueError(f"--priority {asked.priority}: allowed are 0 to {PRIORITY_MAX}; the highest leads when it can")
    return Box(asked.node, peers, _advertised(asked), asked.peer_listen, asked.join, asked.election_ms, asked.priority)


def peers_of(text: str) -> dict[str, str]:
    """From `a=host:port,b=host:port`. Raises ValueError."""
    peers: dict[str, str] = {}
    for each in (part.strip() for part in text.split(",")):
        name, equals, address = each.partition("=")
        if not equals or not _is_address(address):
            raise ValueError(
                f"--peers: {each!r} is none; allowed: name=host:port, with commas between them, as in a=10.0.0.1:7500"
            )
        if (wrong := site_name_problem(name)) is not None:
            raise ValueError(f"--peers: {wrong.replace('a site', 'a node')}")
        if name in peers:
            raise ValueError(f"--peers: {name} is named twice")
        if address in peers.values():
            raise ValueError(f"--peers: two nodes have the address {address}")
        peers[name] = address
    return peers


def _check_alone(asked: Asked) -> None:
    given = {"--join": asked.join, "--peer-listen": asked.peer_listen, "--advertise": asked.advertise, "--node": asked.node}
    if said := [name for name, value in given.items() if value]:
        raise ValueError(f"{said[0]} without --peers: a site of one node has no peers. Name all nodes: --peers a=host:port,b=...")
    if asked.election_ms != ELECTION_MS:
        raise ValueError("--election-timeout without --peers: a site of one node elects nobody")
    if asked.priority:
        raise ValueError("--priority without --peers: a site of one node is always led by it")


def _advertised(asked: Asked) -> str:
    """Where agents are sent. Where the gateway listens everywhere, somebody has to say by which name it is reached."""
    if asked.advertise:
        if not _is_address(asked.advertise):
            raise ValueError(f"--advertise {asked.advertise!r}: allowed is host:port, as agents dial it")
        if _host(asked.advertise) in WILDCARDS:
            raise ValueError(
                f"--advertise {asked.advertise}: it is dialled by agents, so it names this box and not all of its addresses"
            )
        return asked.advertise
    if not asked.listen:
        return ""
    if _host(asked.listen) in WILDCARDS:
        raise ValueError(f"--listen {asked.listen}: by which address do agents reach this box? Say it with --advertise host:port")
    return asked.listen


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65_536


def _host(address: str) -> str:
    return address.rpartition(":")[0]
