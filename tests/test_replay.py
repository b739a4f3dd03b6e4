"""One story, one history: what the cores decide depends on nothing but their inputs, not even on the order of a set."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def told(hash_seed: str) -> list[str]:
    """The hashes of all stories, told by a process of its own."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.replay_child"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout.split()


def test_histories_do_not_depend_on_the_hash_seed() -> None:
    """Fragment, site and cloud decide the same events, byte for byte, under hash seeds that order the sites differently."""
    one, *others = told("1"), told("6"), told("8")
    assert len(one) == 6
    assert others == [one, one]
