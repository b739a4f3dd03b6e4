"""Systems for the tests, ended with every process of theirs, also when the test fails."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.storm import SEEDS
from tests.e2e.system import System

Build = Callable[..., System]

# Forking, pidfds and limits of other processes: only Linux has all of it.
collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A seed that did no harm is worth knowing too."""
    for seed in SEEDS:
        terminalreporter.write_line(f"kills at moments of TIERCEL_SEED={seed}")


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Make a system. Afterwards no node may have died that nobody killed."""
    systems: list[System] = []

    def build(*sites: str, **more: int) -> System:
        systems.append(System(tmp_path / f"system-{len(systems)}", *sites, **more))
        return systems[-1]

    yield build
    deaths = [death for system in systems for death in system.deaths()]
    for system in systems:
        system.close()
    assert not deaths, "\n".join(deaths)
