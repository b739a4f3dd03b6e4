"""G4, G6: the link to the cloud is cut for longer than the work lasts; the site goes on alone, and after it both agree."""

import time

import httpx
import pytest

from tests.e2e.conftest import Build
from tests.e2e.system import System
from tests.e2e.work import GATED, await_adopted, link, open_gate, start_gated, start_orders, traces, waybills

pytestmark = pytest.mark.timeout(300)


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


PARENT = GATED.replace("name: gated", "name: parent").replace("needs: [pass]}", "needs: [kid]}")
PARENT += "  kid: {run: {definition: kid}, site: harbour, needs: [pass]}\n"
KID = """
name: kid
version: 1.0.0
tasks: {born: {capability: ledger.append, effect: repeatable}}
outputs: {state: "${{ tasks.born.state }}"}
"""


def test_a_site_that_is_cut_off_starts_children(build: Build) -> None:
    """The child is begun, done and told of without the cloud, over a kill of the edge; the cloud takes it in."""
    system = build("harbour").start()
    system.client.register(KID)
    system.client.register(PARENT)
    run = system.client.start("parent", {"gate": "alone"})["id"]
    system.await_true(lambda: f"{run}/pass" in traces(system, "waiting.log"), "the run waits at its gate")
    system.proxies["harbour"].cut()
    system.await_true(lambda: link(system, "harbour") == "down", "the cloud knows that the link is down")
    system.edges["harbour"].kill()
    open_gate(system, "alone")
    child = f"{run}.1.1"
    system.await_true(lambda: f"{child}/born" in traces(system, "appended.log"), "the child has done its work, alone")
    system.await_true(lambda: f"{run}/after" in traces(system, "appended.log"), "the run has gone on with it")
    assert system.state(run) == "active"
    system.proxies["harbour"].heal()
    assert system.await_ended([run]) == {run: "completed"}
    view = system.client.run(child)
    assert (view["run"]["state"], view["run"]["parent"], view["run"]["sites"]) == ("completed", run, ["harbour"])
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
    commands = [cancel(system, stopped, cut_ms)]
    system.cloud.kill()  # Its successor may not write for harbour before it has heard of it, and names it all the same.
    assert system.patiently(lambda: system.state(finished)) == "active"
    commands.append(cancel(system, finished, cut_ms))
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
    assert answer.headers["Location"] == f"/api/v1/commands/{said['command']}"
    assert (said["run"], said["state"], said["homes"]) == (run, "pending", ["harbour"])
    assert said["link"]["state"] == "down"
    assert cut_ms <= said["link"]["since"] <= time.time_ns() // 1_000_000
    assert httpx.get(f"{system.client.base_url}{answer.headers['Location']}").json()["state"] == "pending"
    return str(said["command"])


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
