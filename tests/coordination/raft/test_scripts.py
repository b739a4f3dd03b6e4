"""Golden scripts: what a group does, message by message."""

from pathlib import Path

import pytest

from tests.coordination.raft.script import FOLDER, play

SCRIPTS = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_script(path: Path) -> None:
    """Every command does what a person has read and found right."""
    assert play(path.read_text()) == path.read_text()
