"""examples/lifting: two cranes raise one load together. The definitions of docs/sync-points.md load."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from examples.lifting import crane
from tests.whole import Whole, whole
from workflow.loading import load

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "examples/lifting.yaml").read_text("utf-8")
GUIDE = (ROOT / "docs/sync-points.md").read_text("utf-8")


@pytest_asyncio.fixture
async def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    monkeypatch.setenv("TIERCEL_STATE", str(tmp_path / "state"))
    async with whole(tmp_path, "harbour") as running:
        yield running


@pytest.mark.asyncio
async def test_both_cranes_lift_together(system: Whole) -> None:
    """Each says with whom it lifted: the two of them."""
    for name in ("crane-1", "crane-2"):
        await system.join("harbour", crane(name))
    registered = await system.client.post("/api/v1/definitions", content=EXAMPLE, headers={"Content-Type": "application/yaml"})
    assert registered.status_code in (200, 201), registered.text
    started = await system.client.post("/api/v1/workflows", json={"definition": "lifting", "inputs": {"load": "container-7"}})
    ended = await system.ended(started.json()["id"])
    assert [task["output"]["lifted_by"] for task in ended["tasks"]] == [["crane-1", "crane-2"]] * 2


def test_the_definitions_of_the_guide_load() -> None:
    """They are of today's form."""
    found = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert found
    assert not any(load(text, "guide.yaml").migrations for text in found)
