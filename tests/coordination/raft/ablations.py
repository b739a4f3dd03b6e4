"""Safeguards, taken out one at a time: which world notices, by which guarantee, and the first seed that does.

`python -m tests.coordination.raft.ablations [NAME ...]` looks for the first seeds anew, among 300.
"""

import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coordination.raft.entries import Entries
from coordination.raft.leading import Leading
from coordination.raft.progress import Progress
from coordination.raft.raft import Raft
from tests.coordination.raft.box import Box
from tests.coordination.raft.lists import ListWorld
from tests.coordination.raft.world import Weather, World, played

SEEDS = 300
SAFETY = "state machine safety|leader completeness|election safety|log matching|committed|commit"


@dataclass(frozen=True)
class Ablation:
    """`world` and `sky` say where; what is taken out is in `make`, `box` or `ablated`. `seed`: the first that notices."""

    guarantee: str
    seed: int
    world: type[World] = World
    ablated: type[World] | None = None
    make: type[Raft] = Raft
    box: type[Box] = Box
    sky: Weather | None = None
    size: int = 0
    duration_ms: int = 30_000

    def told(self, seed: int, *, whole: bool = False) -> str:
        """How the seed ends: the guarantee that broke, or nothing. `whole`: with the safeguard in its place."""
        make: Callable[..., World] = self.world
        settings: dict[str, Any] = {"size": self.size, "weather": self.sky}
        if not whole:
            make = self.ablated or self.world
            settings |= {"make_raft": unremembering(self.make), "box": self.box}
        try:
            world = played(make(seed, **settings), self.duration_ms)
            if isinstance(world, ListWorld):
                world.judge()
        except (AssertionError, ValueError) as broken:
            return str(broken)
        return ""

    def notices(self, seed: int) -> bool:
        """Does this seed notice, and name the guarantee?"""
        return re.search(self.guarantee, self.told(seed)) is not None


class Led(Raft):
    """A node whose side of a leader is another one."""

    leads: type[Leading] = Leading

    def __post_init__(self) -> None:
        super().__post_init__()
        self.leading = self.leads(self)


class Kept(Raft):
    """A node with another log."""

    log: type[Entries] = Entries

    def __post_init__(self) -> None:
        super().__post_init__()
        self.entries = self.log.load(self.stored)


def unremembering(make: type[Raft]) -> type[Raft]:
    """Such a node, which does not compare itself with what others remember of it: that would notice some of what is missing, and
    keep the guarantees."""
    return type("Node", (make,), {"_hear_marks": lambda _node, _message: True})


def led_by(leads: type[Leading]) -> type[Raft]:
    """A node with this side of a leader."""
    return type("Node", (Led,), {"leads": leads})


def keeping(log: type[Entries]) -> type[Raft]:
    """A node with this log."""
    return type("Node", (Kept,), {"log": log})


def paced(progress: type[Progress]) -> type[Raft]:
    """A node whose leader keeps this account of its followers."""

    class Keeps(Leading):
        def begin(self) -> None:
            super().begin()
            self.progress = {peer: turned(known, progress) for peer, known in self.progress.items()}

        def group_changed(self) -> None:
            super().group_changed()
            self.progress = {peer: turned(known, progress) for peer, known in self.progress.items()}

    return led_by(Keeps)


def turned(known: Progress, progress: type[Progress]) -> Progress:
    """The same account, kept in the other way."""
    if isinstance(known, progress):
        return known
    return progress(**{name: getattr(known, name) for name in Progress.__dataclass_fields__})


def tried(name: str) -> tuple[bool, str]:
    """Is it noticed by its first seed that the safeguard is missing, and what breaks there with it in its place?"""
    ablation = all_ablations()[name]
    return ablation.notices(ablation.seed), ablation.told(ablation.seed, whole=True)


MODULES = ("durability", "elections", "replication", "membership", "liveness", "ambushes")


def all_ablations() -> dict[str, Ablation]:
    """By name."""
    found: dict[str, Ablation] = {}
    for module in MODULES:
        found |= importlib.import_module(f"tests.coordination.raft.ablated.{module}").ABLATIONS
    return found


def main(names: list[str]) -> None:
    """Print the first seed of each, and what it tells."""
    for name, ablation in all_ablations().items():
        if not names or name in names:
            first = next((seed for seed in range(SEEDS) if ablation.notices(seed)), None)
            told = "nothing notices" if first is None else ablation.told(first)[:90]
            silent = "" if first is None else ablation.told(first, whole=True)
            known = "" if first == ablation.seed else f"(not {ablation.seed})"
            print(name, first, known, told, silent and f"WHOLE: {silent}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
