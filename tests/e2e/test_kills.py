"""G1, G2: kill -9 of cloud, edge and agent hosts at seeded moments; nothing is lost, and every effect is counted.

The seed is printed; TIERCEL_SEED repeats it.
"""

from collections import Counter

import pytest

from tests.e2e.conftest import Build
from tests.e2e.storm import EFFECTS, KINDS, REPEATABLE, Account, Storm, seed_of_this_run
from tests.e2e.work import waybills

pytestmark = pytest.mark.timeout(600)


def weather(build: Build, kills: int) -> None:
    """One storm, and its account."""
    storm = Storm(build(lease_ms=20_000).start(), seed_of_this_run())
    storm.blow(kills)
    storm.system.await_equal()
    storm.system.stop()
    print({node: f"{report.events} events verified" for node, report in storm.system.verify().items()})
    account = Account(storm)
    check_kills(storm, account)
    check_orders(storm, account)
    check_notes(storm, account)


def check_kills(storm: Storm, account: Account) -> None:
    """It was a storm: each kind of node was killed five times at least, and half of the kills met running attempts."""
    kinds = Counter(kill.kind for kill in storm.kills)
    running = sum(bool(held) for held in account.met.values())
    print(
        f"{len(storm.kills)} kills {dict(kinds)}, {running} while attempts were running; {len(account.attempts)} attempts in all"
    )
    assert min(kinds[kind] for kind in KINDS) >= 5, f"{storm}: {kinds}"
    assert 2 * running >= len(storm.kills), f"{storm}: only {running} met running attempts"


def check_orders(storm: Storm, account: Account) -> None:
    """Every order has completed; each of its effects is there exactly once, and is the one that its run tells of."""
    bad = {run: state for run, state in storm.states.items() if storm.runs[run] != "notes" and state != "completed"}
    assert not bad, f"{storm}: {bad}"
    assert storm.states.keys() == storm.runs.keys()
    found = {kind: account.effects(kind) for kinds in EFFECTS.values() for kind in kinds.values()}
    wanted = {
        f"{run}/{task}": (kind, account.output_of(run, task))
        for run, name in storm.runs.items()
        for task, kind in EFFECTS[name].items()
    }
    assert sum(len(entries) for entries in found.values()) == len(wanted), str(storm)
    for key, (kind, output) in wanted.items():
        assert output == found[kind].get(key), f"{storm}: {key}"
    orders = [run for run, name in storm.runs.items() if name == "fulfilment"]
    assert sum(len(waybills(storm.system, site)) for site in storm.system.sites) == len(orders), str(storm)


def check_notes(storm: Storm, account: Account) -> None:
    """What appends without looking is done again only if a kill has met it; what is `once` is never done again."""
    notes = [run for run, name in storm.runs.items() if name == "notes"]
    lines = account.lines("appended.log") + account.lines("notes.log")
    twice = 0
    for run in notes:
        settled = run not in storm.unsettled
        assert storm.states[run] == "completed" or not settled, f"{storm}: {run} {storm.states[run]}"
        for task in REPEATABLE:
            times, met = lines[f"{run}/{task}"], account.executions_met(run, task)
            least = storm.states[run] == "completed"
            assert least <= times <= 1 + met, f"{storm}: {run}/{task} {times} times"
            twice += max(0, times - 1)
        careful = lines[f"{run}/careful"]
        assert careful == 1 if settled else careful <= 1 <= account.executions_met(run, "careful"), f"{storm}: {run} {careful}"
    in_flight = sum(account.executions_met(run, task) for run in notes for task in REPEATABLE)
    print(f"{len(notes)} notes: {twice} lines twice, of {in_flight} in flight; {len(storm.unsettled)} left to a person")
    assert twice <= in_flight, str(storm)


def test_twenty_kills(build: Build) -> None:
    """Twenty kills of cloud, sites and agents: orders complete with each effect once, logs and replicas agree."""
    weather(build, 20)


@pytest.mark.nightly
@pytest.mark.timeout(7_200)
def test_five_hundred_kills(build: Build) -> None:
    """The same with five hundred."""
    weather(build, 500)
