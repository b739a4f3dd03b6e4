"""G5: what strong, bounded and eventual runs do while the link is cut, over real processes."""

from typing import Any

import pytest

from tests.e2e.conftest import Build
from tests.e2e.work import GATED, link, open_gate, traces

pytestmark = pytest.mark.timeout(300)


def test_while_cut_off_a_strong_run_waits_and_a_bounded_one_holds_at_k_and_both_complete_after(build: Build) -> None:
    """An eventual run beside them goes on alone."""
    system = build("harbour").start()
    system.client.register(GATED)
    levels: dict[str, Any] = {"eventual": "eventual", "strong": "strong", "bounded": {"level": "bounded", "versions": 1}}
    runs = {name: system.client.start("gated", {"gate": "all"}, consistency=level)["id"] for name, level in levels.items()}
    waiting = {f"{run}/pass" for run in runs.values()}
    system.await_true(lambda: waiting <= {*traces(system, "waiting.log")}, "all three wait at the gate")
    system.proxies["harbour"].cut()
    system.await_true(lambda: link(system, "harbour") == "down", "the cloud knows that the link is down")
    open_gate(system, "all")
    system.await_true(lambda: f"{runs['eventual']}/after" in traces(system, "appended.log"), "the eventual run goes on alone")
    assert traces(system, "appended.log") == [f"{runs['eventual']}/after"]
    assert "waits for the cloud: strong consistency, cut off since" in system.client.explain(runs["strong"])["sites"][0]["note"]
    assert system.client.site_autonomy("harbour")["mode"] == "autonomous"
    system.proxies["harbour"].heal()
    assert set(system.await_ended([*runs.values()]).values()) == {"completed"}
    assert sorted(traces(system, "appended.log")) == sorted(f"{run}/after" for run in runs.values())
    system.await_equal()
    system.stop()
    system.verify()
