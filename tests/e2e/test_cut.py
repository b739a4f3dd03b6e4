"""G4, G6: the link to the cloud is cut for longer than the work lasts; the site goes on alone, and after it both agree."""

import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Build
from tests.e2e.system import System
from tests.examples.warehouse import EXAMPLES, definition_of, inputs_of, orders

pytestmark = pytest.mark.timeout(300)

GATED = """
name: gated
version: 1.0.0
inputs: {gate: {type: string}}
tasks:
  pass: {capability: gate.pass, with: {gate: "${{ inputs.gate }}"}, effect: repeatable, site: harbour}
  after: {capability: ledger.append, effect: repeatable, site: harbour, needs: [pass]}
"""


def start_orders(system: System, name: str, count: int, site: str) -> list[str]:
    """Orders whose goods lie at the site, and which leave there too unless they are transfers."""
    chosen = [o for o in orders() if definition_of(o) == name and o["stock_site"] == site][:count]
    system.client.register((EXAMPLES / f"{name}.yaml").read_text())
    return [item["id"] for item in system.client.start_batch(name, [{"inputs": inputs_of(order)} for order in chosen])]


def start_gated(system: System, gate: str) -> str:
    """A run at harbour that is working, until its gate is opened."""
    system.client.register(GATED)
    run = system.client.start("gated", {"gate": gate})["id"]
    system.await_true(lambda: f"{run}/pass" in traces(system, "waiting.log"), f"{run} waits at its gate")
    return run


def traces(system: System, name: str) -> list[str]:
    """The tasks that have left a line at harbour."""
    path = system.work("harbour") / "ledger" / name
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def open_gate(system: System, gate: str) -> None:
    (system.work("harbour") / "ledger" / gate).touch()


def waybills(system: System, site: str) -> list[Path]:
    return list((system.work(site) / "files" / "waybills").glob("*"))


def link(system: System, site: str) -> str:
    return next(s["link"]["state"] for s in system.client.sites() if s["id"] == site)


def await_adopted(system: System, runs: list[str]) -> None:
    """Every site has its part of each run."""

    def adopted() -> bool:
        views = [system.client.run(run) for run in runs]
        return all(view.get("fragments") for view in views) and not any(
            fragment["state"] == "released" for view in views for fragment in view["fragments"]
        )

    system.await_true(adopted, "the sites have adopted all runs")


def test_a_site_that_is_cut_off_finishes_what_it_was_released(build: Build) -> None:
    """Cut in silence, harbour completes its orders; the cloud tells how old its picture is, and learns everything later."""
    system = build().start()
    local, crossing = start_orders(system, "fulfilment", 10, "harbour"), start_orders(system, "transfer", 2, "harbour")
    gated = start_gated(system, "later")
    await_adopted(system, [*local, *crossing, gated])
    system.proxies["harbour"].cut(silent=True)
    open_gate(system, "later")
    system.await_true(lambda: len(waybills(system, "harbour")) == 10, "harbour has completed its orders alone")
    system.await_true(lambda: traces(system, "appended.log") == [f"{gated}/after"], "the gated run goes on behind its gate")
    assert system.state(gated) == "active"  # As far as the cloud can know.
    system.await_true(lambda: link(system, "harbour") == "down", "the cloud has noticed the silence")
    assert link(system, "airport") == "up"
    fragment = system.client.run(gated)["fragments"][0]
    assert (fragment["link"]["state"], fragment["freshness"]["staleness_ms"] > 5_000) == ("down", True)
    system.proxies["harbour"].heal()
    assert set(system.await_ended([*local, *crossing, gated]).values()) == {"completed"}
    assert len(waybills(system, "harbour")) == 10
    system.await_equal()
    system.stop()
    system.verify()


def test_a_cancel_during_a_cut_is_an_intent(build: Build) -> None:
    """It is answered 202 with its Location, the home, the link and since when it is down; the home settles it later."""
    system = build("harbour").start()
    stopped, finished = start_gated(system, "never"), start_gated(system, "soon")
    cut_ms = time.time_ns() // 1_000_000
    system.proxies["harbour"].cut()
    open_gate(system, "soon")
    system.await_true(lambda: f"{finished}/after" in traces(system, "appended.log"), "one run has ended at its site")
    system.await_true(lambda: link(system, "harbour") == "down", "the cloud knows that the link is down")
    commands = [cancel(system, run, cut_ms) for run in (stopped, finished)]
    assert [system.state(run) for run in (stopped, finished)] == ["active", "active"]  # Nobody but the home can say more.
    system.proxies["harbour"].heal()
    assert system.await_ended([stopped, finished]) == {stopped: "cancelled", finished: "completed"}
    system.await_true(lambda: "pending" not in [system.client.command(c)["state"] for c in commands], "the intents are answered")
    assert [system.client.command(command)["state"] for command in commands] == ["accepted", "refused"]
    system.await_equal()


def cancel(system: System, run: str, cut_ms: int) -> str:
    """The id of the intent."""
    answer = httpx.delete(f"{system.client.base_url}/api/v1/workflows/{run}", params={"wait": "0.5", "reason": "wrong address"})
    assert answer.status_code == 202, answer.text
    said = answer.json()
    assert answer.headers["Location"] == f"/api/v1/commands/{said['id']}"
    assert (said["run"], said["state"], said["homes"]) == (run, "pending", ["harbour"])
    assert said["link"]["state"] == "down"
    assert cut_ms <= said["link"]["since"] <= time.time_ns() // 1_000_000
    assert httpx.get(f"{system.client.base_url}{answer.headers['Location']}").json()["state"] == "pending"
    return str(said["id"])


def test_a_site_restarts_while_it_is_cut_off(build: Build) -> None:
    """Killed and started again without a cloud, site and agents go on from their own disks; the rest goes on without them."""
    system = build().start()
    local, crossing = start_orders(system, "fulfilment", 8, "harbour"), start_orders(system, "transfer", 2, "airport")
    await_adopted(system, [*local, *crossing])
    system.proxies["harbour"].cut()
    system.hosts["harbour"].kill()
    system.edges["harbour"].kill()
    system.await_true(lambda: len(waybills(system, "harbour")) == 8, "harbour has completed its orders after a restart, alone")
    system.cloud.kill()
    assert [system.state(run) for run in crossing] == ["active", "active"]  # What harbour shall receive has to cross.
    system.proxies["harbour"].heal()
    assert set(system.await_ended([*local, *crossing]).values()) == {"completed"}
    assert len(waybills(system, "harbour")) == 8
    system.await_equal()
    system.stop()
    system.verify()
