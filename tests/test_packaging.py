"""What gets installed: every package pinned, and pinned to what the tests ran with."""

import re
from importlib.metadata import PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")
OURS = {"tiercel-platform", "tiercel-sdk"}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def test_constraints_are_pins_and_nothing_else() -> None:
    """Each line is a comment or `name==version`: no address of an index, no option, no file."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)] == []
    assert "://" not in "".join(lines)


def test_all_that_we_need_is_pinned() -> None:
    """All that the platform and its development need, directly or through others, has a pin, and nothing else has."""
    needed = closure("tiercel-platform", {"dev"}) | closure("hatchling", set()) | {"editables"}
    assert needed - OURS == set(pins())


def test_what_is_installed_is_what_is_pinned() -> None:
    """The versions that these tests run with are those of constraints.txt."""
    installed = {canonicalize_name(found.name): found.version for found in distributions()}
    assert {name: version for name, version in installed.items() if name in pins()}.items() <= pins().items()


def closure(root: str, extras: set[str]) -> set[str]:
    """The names of all distributions that `root[extras]` needs on any Python we support, itself included."""
    found: set[str] = set()
    waiting = [(root, frozenset(extras))]
    seen = set(waiting)
    while waiting:
        name, wanted = waiting.pop()
        found.add(name)
        for requirement in map(Requirement, requirements(name)):
            following = (canonicalize_name(requirement.name), frozenset(requirement.extras))
            if following not in seen and applies(requirement, wanted):
                seen.add(following)
                waiting.append(following)
    return found


def requirements(name: str) -> list[str]:
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []  # Needed on another Python than this one.


def applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    if requirement.marker is None:
        return True
    pythons = ({"python_full_version": full, "python_version": full.rpartition(".")[0]} for full in PYTHONS)
    environments = [{**python, "extra": extra} for python in pythons for extra in ("", *extras)]
    return any(requirement.marker.evaluate({**environment}) for environment in environments)
