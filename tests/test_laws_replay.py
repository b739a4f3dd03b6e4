"""The stories of the laws, each told by two processes that order sets otherwise: they decide and send the same."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def told(hash_seed: str) -> list[str]:
    """The hashes of all stories, told by a process of its own."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.laws_child"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout.split()


def test_the_laws_stories_do_not_depend_on_the_hash_seed() -> None:
    """Engine, site and two tiers: the same events, effects and states, byte for byte."""
    one, other = told("1"), told("8")
    assert len(one) == 6
    assert other == one
