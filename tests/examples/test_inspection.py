"""examples/inspection: three inspectors decide. The definitions of docs/coordination.md load."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from examples.inspectors import inspector
from tests.whole import Whole, whole
from workflow.loading import load

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / "examples/inspection.yaml").read_text("utf-8")
GUIDE = (ROOT / "docs/coordination.md").read_text("utf-8")


@pytest_asyncio.fixture
async def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Whole]:
    monkeypatch.setenv("TIERCEL_STATE", str(tmp_path / "state"))
    async with whole(tmp_path, "harbour") as running:
        for name in ("inspector-1", "inspector-2", "inspector-3"):
            await running.join("harbour", inspector(name))
        registered = await running.client.post(
            "/api/v1/definitions", content=EXAMPLE, headers={"Content-Type": "application/yaml"}
        )
        assert registered.status_code in (200, 201), registered.text
        yield running


async def inspected(system: Whole, **batch: Any) -> dict[str, Any]:
    body = {"definition": "inspection", "inputs": {"batch": {"id": "b7", **batch}}}
    started = await system.client.post("/api/v1/workflows", json=body)
    return await system.ended(started.json()["id"])


@pytest.mark.asyncio
async def test_two_of_three_are_enough_and_one_is_not(system: Whole) -> None:
    """A heavy batch with a label and few scratches is shipped; a scratched one without a label is not."""
    good = await inspected(system, weight_kg=25, scratches=0, label="b7")
    assert good["tasks"][1]["output"] == {"batch": "b7", "for": ["inspector-2", "inspector-3"]}
    bad = await inspected(system, weight_kg=10, scratches=9)
    assert [task["state"] for task in bad["tasks"]] == ["completed", "skipped"]
    assert bad["tasks"][0]["output"]["votes"]["inspector-1"] == "accept"


def test_the_definitions_of_the_guide_load() -> None:
    """They are of today's form."""
    found = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    assert len(found) >= 3
    assert not any(load(text, "guide.yaml").migrations for text in found)
