"""What tests of sites of several boxes share."""

from dataclasses import replace

import pytest

from coordination.group.values import GroupConfig
from edge.driver import EdgeConfig
from edge.group import driver
from edge.group.values import Box

ELECTION_TICKS = 60


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader is missed after three seconds at the earliest: on a busy machine nobody is elected but by order."""
    usual = driver.group_config

    def slower(config: EdgeConfig, box: Box) -> GroupConfig:
        return replace(usual(config, box), election_ticks=ELECTION_TICKS)

    monkeypatch.setattr(driver, "group_config", slower)
