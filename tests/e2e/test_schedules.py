"""A schedule of a site that is cut off: it fires there, its runs are done there, and afterwards the cloud has all of it."""

import pytest

from tests.e2e.conftest import Build
from tests.e2e.system import System
from tests.e2e.work import link, traces

pytestmark = pytest.mark.timeout(300)

ROUND = """
name: round
version: 1.0.0
tasks:
  walk: {capability: ledger.append, effect: repeatable}
"""
ROUNDS = {"id": "rounds", "definition": "round", "every": "1s", "overlap": "allow", "catch_up": "all", "site": "harbour"}


def rounds(system: System) -> list[str]:
    """The runs that have left their line at harbour."""
    return [line.partition("/")[0] for line in traces(system, "appended.log")]


def test_a_schedule_fires_while_its_site_is_cut_off_and_killed(build: Build) -> None:
    """Cut, killed and started again without a cloud: every firing is made, none twice; after the cut the cloud shows each of the
    runs, has placed none of them, and both sides agree."""
    system = build("harbour").start()
    system.client.register(ROUND)
    created = system.client.create_schedule(ROUNDS)
    system.await_true(lambda: len(rounds(system)) >= 2, "the schedule fires while all is well")
    assert system.client.schedule("rounds")["state"] == "active"
    system.proxies["harbour"].cut()
    known = len(system.client.runs(limit=1_000)["items"])
    system.edges["harbour"].kill()
    system.await_true(lambda: len(rounds(system)) >= known + 5, "the site goes on firing alone")
    system.await_true(lambda: link(system, "harbour") == "down", "the cloud has noticed")
    paused = system.client.order_schedule("rounds", "pause", "enough")
    assert [order.partition(" ")[2] for order in paused["orders"]] == ["pause"]  # The site does not know yet, so it goes on.
    system.cloud.kill()
    system.proxies["harbour"].heal()
    system.await_true(
        lambda: system.patiently(lambda: system.client.schedule("rounds"))["state"] == "paused", "the site has paused"
    )
    assert "orders" not in system.client.schedule("rounds")
    shown = [run["id"] for run in system.client.runs(limit=1_000)["items"]]
    assert set(system.await_ended(shown).values()) == {"completed"}
    begun = rounds(system)
    assert sorted(begun) == sorted(set(begun))
    assert sorted(shown) == sorted(begun)
    assert system.client.schedule("rounds")["fired"] == len(begun)
    kinds = [event["kind"] for event in system.client.history(begun[-1])["items"]]
    assert kinds[:2] == ["RunCreated", "FragmentAdopted"]
    assert "FragmentReleased" not in kinds
    moments = sorted(int(run[1:9], 16) for run in begun)
    assert moments == list(range(moments[0], moments[0] + len(moments))), "a second without its firing, though all are made up"
    assert moments[0] * 1_000 >= created["created"]
    system.await_equal()
    system.stop()
    system.verify()


def test_a_schedule_of_the_cloud_survives_its_kills(build: Build) -> None:
    """Killed three times among its firings, the cloud makes up what it missed: every second has its run, and none has two."""
    system = build("harbour").start()
    system.client.register(ROUND)
    system.client.create_schedule({**ROUNDS, "site": None})
    for _ in range(3):
        count = len(rounds(system))
        system.await_true(lambda count=count: len(rounds(system)) >= count + 2, "the schedule fires")  # type: ignore[misc]
        system.cloud.kill()
    system.patiently(lambda: system.client.order_schedule("rounds", "pause"))
    fired = system.client.schedule("rounds")["fired"]
    shown = [run["id"] for run in system.client.runs(limit=1_000)["items"]]
    assert set(system.await_ended(shown).values()) == {"completed"}
    assert len(shown) == fired
    assert sorted(rounds(system)) == sorted(shown)
    moments = sorted(int(run[1:9], 16) for run in shown)
    assert moments == list(range(moments[0], moments[0] + len(moments)))
    system.await_equal()
    system.stop()
    system.verify()
