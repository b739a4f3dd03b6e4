"""Large results are blobs: made at one site, used at another, through the cloud, also when that takes several tries."""

import pytest

from tests.e2e.conftest import Build
from tests.e2e.system import System

pytestmark = pytest.mark.timeout(300)

CROSSING = """
name: crossing
version: 1.0.0
inputs: {size: {type: integer}}
tasks:
  make: {capability: bulk.make, with: {size: "${{ inputs.size }}"}, effect: repeatable, site: harbour}
  near: {capability: bulk.weigh, with: {made: "${{ tasks.make.output }}"}, effect: repeatable, site: harbour, needs: [make]}
  far: {capability: bulk.weigh, with: {made: "${{ tasks.make.output }}"}, effect: repeatable, site: airport, needs: [make]}
"""
INLINE = 60_000
LARGE = 1_500_000


def outputs(system: System, run: str) -> dict[str, object]:
    return {task["id"]: task.get("output") for task in system.client.run(run)["tasks"]}


def held(system: System, node: str) -> int:
    """How many complete blobs a node holds."""
    folder = system.data(node) / "blobs"
    return sum(path.is_file() for path in folder.rglob("*") if "partial" not in path.parts)


def test_a_large_result_crosses_to_another_site(build: Build) -> None:
    """What harbour made is used there and at airport, whole; in the logs there is only its name, small results stay inline."""
    system = build().start()
    system.client.register(CROSSING)
    small, large = (system.client.start("crossing", {"size": size})["id"] for size in (INLINE, LARGE))
    assert set(system.await_ended([small, large]).values()) == {"completed"}
    for run, size in ((small, INLINE), (large, LARGE)):
        found = outputs(system, run)
        assert found["near"] == found["far"] == {"size": size, "whole": True}
    make = system.client.run(large)["tasks"][0]
    assert ("output" in make, make["blob"].startswith("sha256:")) == (False, True)
    assert [held(system, node) for node in ("harbour", "cloud", "airport")] == [1, 1, 1]
    system.await_equal()
    system.stop()
    assert max(system.log_of(node).stat().st_size for node in system.nodes) < 1_000_000
    system.verify()


def test_a_large_result_survives_kills_and_cuts(build: Build) -> None:
    """The far task waits for the link, and the blob arrives although every process on its way was killed."""
    system = build().start()
    system.client.register(CROSSING)
    system.proxies["airport"].cut()
    run = system.client.start("crossing", {"size": LARGE})["id"]
    system.await_true(lambda: outputs(system, run)["near"] == {"size": LARGE, "whole": True}, "harbour has used its own")
    for child in (system.hosts["harbour"], system.edges["harbour"], system.cloud):
        child.kill()
    system.proxies["airport"].heal()
    system.hosts["airport"].kill()
    assert system.await_ended([run]) == {run: "completed"}
    assert outputs(system, run)["far"] == {"size": LARGE, "whole": True}
    system.await_equal()
