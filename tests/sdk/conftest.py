"""What tests of the agent runtime share."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.sdk.gateway import Gateway, gateway_running
from tiercel import Agent


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with gateway_running() as running:
        yield running


@pytest.fixture
def new_agent(tmp_path: Path) -> Callable[..., Agent]:
    """An agent whose journal is in the test's directory; the same name has the same journal."""

    def make(name: str = "picker-1", **settings: Any) -> Agent:
        settings.setdefault("grace_s", 5.0)
        return Agent(name, journal=tmp_path / f"{name}.journal", **settings)

    return make
