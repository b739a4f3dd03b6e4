"""docs/conflicts.md: its commands do what it says, one after the other."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.whole import PATIENCE_S, Whole, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")
GUIDE = (Path(__file__).resolve().parents[2] / "docs/conflicts.md").read_text("utf-8")
TIERCEL = f"set -eu\ntiercel() {{ {sys.executable} -c 'from tiercel.cli.main import main; main()' \"$@\"; }}\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole(tmp_path_factory.mktemp("guide")) as running:
        yield running


async def test_the_commands_of_the_guide(system: Whole) -> None:
    """Ann's berth was overwritten, that is accepted, and then it is hers again."""
    (block,) = re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    environment = {**os.environ, "TIERCEL_SERVER": str(system.client.base_url), "COLUMNS": "200"}
    told = ["bash", "-c", TIERCEL + block]
    done = await asyncio.to_thread(
        subprocess.run, told, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "accepted by dora" in done.stdout
    document = (await system.client.get("/api/v1/documents/shared/berths")).json()
    assert (document["version"], document["value"], document["author"]) == (4, {"north": "ann"}, "dora")
