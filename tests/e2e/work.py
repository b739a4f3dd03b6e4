"""Work for a system, and how one sees from outside what has become of it."""

from pathlib import Path

from tests.e2e.system import System
from tests.examples.warehouse import EXAMPLES, definition_of, inputs_of, orders

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
    """The orders that have been completed at a site. Temporary files, which a killed host may leave behind, begin with a dot."""
    return list((system.work(site) / "files" / "waybills").glob("[!.]*"))


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
