"""What a site tells whoever asks on its own machine of its runs with a contract: what they spent alone, and why they wait.

The cloud knows contracts and not how far a site that it cannot hear has come, so this is told here.
"""

from collections.abc import Iterable

import msgspec

from edge.gate import Gate
from edge.home import Home
from sync.values import Now
from workflow.contract import DEFAULT
from workflow.fragment import Fragment

RUNS_MAX = 100
WHY = {
    "strong": "strong: nothing begins before the cloud has it, and the cloud cannot be reached",
    "versions": "bounded: the cloud lacks as many events of it as it may",
    "time": "bounded: the cloud lacks an event of it for as long as it may",
    "autonomy": "its autonomy lets nothing more begin while the cloud cannot be reached",
    "added": "tasks that were added while cut off wait: it finishes what was released, and no more",
    "doubted": "an agent has had orders of the run from a later home: the cloud has not said yet whose it is",
    "unconfirmed": "the site was cut off for longer than its horizon: the cloud has not said yet whose it is",
}


class RunAlone(msgspec.Struct):
    """A run with a contract, or with tasks that wait because they were added while the site is cut off. `begun`: attempts since
    the cut, of the `budget` (0: any). `held`: why nothing begins, since `held_ms` ago; empty if it goes on."""

    run: str
    level: str
    when_cut: str
    begun: int
    budget: int
    held: str
    held_ms: int


class Alone(msgspec.Struct):
    """`cut_since`: UTC ms, 0 while the site is linked. The first `RUNS_MAX` runs, those that wait first; `more` are left out."""

    cut_since: int
    runs: list[RunAlone]
    more: int


def alone(home: Home, contracted: Iterable[str], now: Now) -> Alone:
    """How the site does by itself; `contracted` are its runs with a contract."""
    gate = home.gate
    named = [run for run in dict.fromkeys((*gate.parked, *contracted)) if run in home.fragments]
    runs = [_told(gate, fragment, now) for run in named[:RUNS_MAX] if (fragment := home.fragments.look(run)) is not None]
    return Alone(gate.cut.since_ms if gate.cut is not None else 0, runs, max(0, len(named) - RUNS_MAX))


def _told(gate: Gate, fragment: Fragment, now: Now) -> RunAlone:
    contract, (since_ms, why) = fragment.contract or DEFAULT, gate.parked.get(fragment.run, (now.mono_ms, ""))
    autonomy = contract.autonomy
    spent = gate.begun.get(fragment.run, 0), autonomy.budget_tasks
    return RunAlone(fragment.run, contract.level.kind, autonomy.when_cut, *spent, WHY.get(why, why), now.mono_ms - since_ms)
