"""Members of a group, with real sockets and disks: what is committed is the same everywhere, whoever dies."""

from pathlib import Path

from tests.coordination.group.boxes import group


async def test_what_is_committed_is_in_every_log(tmp_path: Path) -> None:
    """Three boxes found a group; what one of them takes as their leader is applied by all, at the same places."""
    async with group(tmp_path) as boxes:
        written = await boxes.write(*(b"%d" % number for number in range(20)))
        assert await boxes.same() == written
