"""Runs change their homes among real processes: kill -9 on the way, sites that are gone and come back; each effect is counted."""

from collections import Counter

import pytest

from tests.e2e.conftest import Build
from tests.e2e.system import SITES, System
from tests.e2e.trail import rows_of

pytestmark = pytest.mark.timeout(300)

ROAMING = """
name: roaming
version: 1.0.0
tasks:
  one: {capability: note.append, effect: once}
  first: {capability: gate.pass, with: {gate: first}, effect: repeatable, needs: [one]}
  two: {capability: note.append, effect: once, needs: [first]}
  second: {capability: gate.pass, with: {gate: second}, effect: EFFECT, needs: [two]}
  three: {capability: note.append, effect: once, needs: [second]}
"""


def start(system: System, effect: str = "repeatable") -> str:
    system.client.register(ROAMING.replace("EFFECT", effect))
    return str(system.client.start("roaming", {})["id"])


def lines(system: System, run: str, name: str) -> Counter[str]:
    """How often each task of the run has left a line, at either site."""
    paths = [system.work(site) / "ledger" / name for site in SITES]
    told = [line.split()[0] for path in paths if path.exists() for line in path.read_text().splitlines()]
    return Counter(key.rpartition("/")[2] for key in told if key.rpartition("/")[0] == run)


def waits_at(system: System, run: str, gate: str) -> str:
    """At which site somebody waits at the gate, once somebody does."""

    def there() -> list[str]:
        logs = {site: system.work(site) / "ledger" / "waiting.log" for site in SITES}
        return [site for site, log in logs.items() if log.exists() and f"{run}/{gate} " in log.read_text()]

    system.await_true(lambda: bool(there()), f"{run} waits at its {gate} gate")
    return there()[-1]


def open_gate(system: System, gate: str) -> None:
    """At both sites."""
    for site in SITES:
        (system.work(site) / "ledger" / gate).touch()


def home(system: System, run: str) -> list[str]:
    return [fragment["site"] for fragment in system.patiently(lambda: system.client.run(run))["fragments"]]


def await_home(system: System, run: str, site: str) -> None:
    system.await_true(lambda: home(system, run) == [site], f"{run} is at {site}")


def task(system: System, run: str, name: str) -> str:
    """The state of a task as the cloud shows it."""
    return next(each["state"] for each in system.patiently(lambda: system.client.run(run))["tasks"] if each["id"] == name)


def other(site: str) -> str:
    return next(each for each in SITES if each != site)


def finish(system: System, runs: list[str]) -> None:
    """They end, once and alike everywhere; each `once` task of theirs has had its effect exactly once."""
    assert set(system.await_ended(runs).values()) == {"completed"}
    for run in runs:
        assert lines(system, run, "notes.log") == {"one": 1, "two": 1, "three": 1}
    system.await_equal()
    system.stop()
    system.verify()


@pytest.mark.parametrize("killed", ["old", "new", "cloud"])
def test_runs_move_while_they_work_and_a_node_is_killed(build: Build, killed: str) -> None:
    """What is in hand is finished where it is, all else at the next site; whoever is killed on the way takes it up again. A run
    whose next site is down just then goes on where it was."""
    system = build().start()
    runs = [start(system) for _ in range(3)]
    olds = {run: waits_at(system, run, "first") for run in runs}
    old = olds[runs[0]]
    moved = [run for run in runs if olds[run] == old]
    for run in moved:
        system.patiently(lambda run=run: system.client.move(run, other(old), "to the other side", wait_s=0))  # type: ignore[misc]
    victim = {"old": system.edges[old], "new": system.edges[other(old)], "cloud": system.cloud}[killed]
    victim.kill()
    open_gate(system, "first")
    victim.kill()
    for run in moved:
        at = waits_at(system, run, "second")
        assert killed == "new" or at == other(old)
        await_home(system, run, at)
    open_gate(system, "second")
    finish(system, runs)


@pytest.mark.parametrize("outcome", ["done", "stopped"])
def test_a_run_is_taken_from_a_site_that_is_killed_and_comes_back(build: Build, outcome: str) -> None:
    """What was in hand is unknown and is not repeated, until the old site is back and tells: that it was done, or never began."""
    system = build().start()
    run = start(system, "once")
    open_gate(system, "first")
    old = waits_at(system, run, "second")
    system.await_true(lambda: task(system, run, "second") == "running", "the cloud knows that somebody is at it")
    system.edges[old].halt()
    system.patiently(lambda: system.client.move(run, "", "the site is gone", force=True))
    await_home(system, run, other(old))
    system.await_true(lambda: task(system, run, "second") == "reconcile", "its outcome is unknown at its new home")
    if outcome == "done":
        open_gate(system, "second")  # Its agent lives on without the site, and is done.
    system.edges[old].start().await_serving()
    if outcome == "stopped":
        system.await_true(lambda: lines(system, run, "waiting.log")["second"] == 2, "it is begun anew, since it was stopped")
        open_gate(system, "second")
    finish(system, [run])
    assert lines(system, run, "waiting.log")["second"] == {"done": 1, "stopped": 2}[outcome]
    kinds = {site: Counter(row.kind for row in rows_of(system.log_of(site), site) if row.run == run) for site in SITES}
    assert not any(kind["FactRefused"] or kind["ConflictRecorded"] for kind in kinds.values()), "nothing was done twice"
    assert kinds[old]["FragmentDropped"] == 1
    assert kinds[other(old)]["FragmentEnded"] == 1
