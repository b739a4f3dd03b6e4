"""`bench sync` in small: every part of it runs with real processes and gives figures."""

from pathlib import Path

from bench.sync import catch_up, commit, resume


async def test_a_small_catch_up(tmp_path: Path) -> None:
    """All events of the site reach the cloud's process."""
    figures = await catch_up(tmp_path / "catchup", 2_000)
    assert list(figures) == ["catchup_events_per_s", "catchup_rss_mb"]
    assert figures["catchup_events_per_s"] > 0


async def test_a_few_strong_commits(tmp_path: Path) -> None:
    """Each is answered, one in flight and many."""
    figures = await commit(tmp_path / "strong", 200)
    assert all(value > 0 for value in figures.values())


async def test_a_short_cut(tmp_path: Path) -> None:
    """What was written while the link was cut arrives after the heal."""
    assert await resume(tmp_path / "resume", 1, 1.0) > 0
