"""What the data directory of a site says of its boxes: how many there are, and by which ports they reach each other.

Both are settled when the group is founded, for they stand in its log (docs/groups.md). So a later start goes by what is noted
here, and one that asks for something else is refused.
"""

from dataclasses import replace
from pathlib import Path

import msgspec

from deploy.layout import SiteConfig, SystemConfig
from sync.identity.main import write

NOTE = "boxes.json"
LOG = "edge.db"


class FoundedOtherwise(ValueError):
    """The site is there already, with other boxes than were asked for. The message says which, and what helps."""


class Founded(msgspec.Struct, frozen=True):
    """A site that has begun."""

    nodes: int
    peer_port: int = 0


def founded(home: Path) -> Founded | None:
    """The site in this directory; None if none has begun there. Raises ValueError if the note cannot be read."""
    note = home / NOTE
    try:
        return msgspec.json.decode(note.read_bytes(), type=Founded)
    except FileNotFoundError:
        return Founded(1) if (home / LOG).exists() else None
    except msgspec.DecodeError as error:
        raise ValueError(f"{note} does not say how many boxes the site has: {error}") from None


def as_founded(site: SiteConfig, home: Path, nodes: int = 0) -> SiteConfig:
    """The site with the boxes that its directory holds, and with `nodes` (0: one) if it has none yet. Raises FoundedOtherwise."""
    held = founded(home)
    if held is None:
        return replace(site, nodes=nodes or 1)
    if nodes not in (0, held.nodes):
        raise FoundedOtherwise(
            f"{site.name} has {_boxes(held.nodes)} in {home}, and `up` makes no other number of them: leave --nodes away, or "
            "choose another directory with --data (docs/groups.md: how boxes are added to a site and removed)"
        )
    return replace(site, nodes=held.nodes, peer_port=held.peer_port if held.nodes > 1 else site.peer_port)


def note_founding(config: SystemConfig, data: Path) -> None:
    """Write down what is about to be founded, before it is. Raises FoundedOtherwise, ValueError, OSError."""
    for site in config.sites:
        home = data / site.name
        if as_founded(site, home, site.nodes) != site:
            raise FoundedOtherwise(f"the boxes of {site.name} reach each other by other ports, as {home / NOTE} says")
        if site.nodes > 1 and not (home / NOTE).exists():
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            write(home / NOTE, msgspec.json.encode(Founded(site.nodes, site.peer_port)), 0o600)


def _boxes(count: int) -> str:
    return "one box" if count == 1 else f"{count} boxes"
