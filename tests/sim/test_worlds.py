"""A seed is told in the world that its number says, and who hears that it broke hears in which."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.sim.campaign import Campaign
from tests.sim.documents import DocumentWorld
from tests.sim.world import Outcome, run_seed
from tests.sim.worlds import OTHERS, WORLDS, tell, world_of

ROOT = Path(__file__).resolve().parents[2]


def test_worlds_have_their_shares() -> None:
    """Of the seeds of every test run 22 of 25 are plain and the others in turn; of ten nightly ones all worlds have some."""
    assert Counter(map(world_of, range(1_000, 1_200))) == {"World": 176, "CoordinatedWorld": 4} | dict.fromkeys(OTHERS, 4)
    nightly = dict.fromkeys(WORLDS, 1_000) | {"World": 2_000, "MovingWorld": 3_000}
    assert Counter(map(world_of, range(100_000, 110_000))) == nightly


def test_named_world_tells_the_same_seed() -> None:
    """The command tells a seed in the world that is named, to the byte as it is told here, and else in its own."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'sdk'}"}
    command = [sys.executable, "-m", "tests.sim", "7", "--world", "DocumentWorld"]
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"seed 7 in DocumentWorld: trace {run_seed(7, DocumentWorld).digest}," in told
    assert tell(7).world == "World"


def test_broken_seed_names_its_world() -> None:
    """What a campaign says of a seed that broke names its world, and how it is told again."""
    campaign = Campaign()
    campaign.add(Outcome(1_005, "", {}, 0, 0.0, "every run ends: no", ("last",), "DocumentWorld"))
    assert "seed 1005 in DocumentWorld: every run ends: no" in campaign.told()
    assert "python -m tests.sim 1005 --world DocumentWorld" in campaign.told()
