"""The documents of a run go where it goes, through real cores, Drivers and replication sessions."""

import pytest

from edge.run_documents import EditRunDocument, ReadRunDocument
from sync.documents.events import EditRefused
from sync.documents.ids import run_document
from sync.documents.inputs import EditDocument
from sync.documents.reading import Shown
from tests.test_moving import begun, finish_one, move, other, tiers, where
from tests.test_taking import chain, force, restart, told
from tests.two_tiers import Tiers
from workflow.context import known_of
from workflow.context_events import ContextChanged
from workflow.context_state import RunDocument
from workflow.home_events import DecisionRefused


def put(world: Tiers, site: str, run: str, value: bytes, edit: str) -> object:
    """Whatever the site answers."""
    wanted = EditDocument(0, run_document(run, "notes"), edit, "put", value, -1, "agent:anna")
    return world.wires[site].site.ask(lambda token: EditRunDocument(token, wanted))


def at_cloud(world: Tiers, run: str) -> RunDocument:
    fragment = world.known(run).fragments[0]
    assert fragment is not None
    return known_of(fragment, "notes")


def test_they_move_with_the_run_and_versions_go_on() -> None:
    """The home that it has left refuses; the next decides on, and knows edits again."""
    world = tiers()
    run, old = begun(world)
    assert put(world, old, run, b"1", "e1") == 1
    assert isinstance(put(world, other(old), run, b"9", "x"), EditRefused), "it is no home of the run"
    move(world, run)
    world.drain()
    assert put(world, old, run, b"2", "e2") == 2, "a task is in hand, and goes on as ever"
    finish_one(world, run)
    assert where(world, run) == other(old)
    refused = put(world, old, run, b"3", "e3")
    assert isinstance(refused, EditRefused)
    assert refused.code == "run_elsewhere"
    assert [put(world, other(old), run, b"3", edit) for edit in ("e1", "e2", "e3")] == [1, 2, 3]
    world.drain()
    assert (at_cloud(world, run).version, at_cloud(world, run).value) == (3, b"3")
    world.check_equal()


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_forced_move_takes_what_the_cloud_holds(is_restarted: bool) -> None:
    """What the old home has written after that is of an older epoch: refused, and said so, whatever version it gave."""
    world = chain("repeatable")
    run, old = begun(world)
    assert put(world, old, run, b"1", "e1") == 1
    world.drain()
    world.wires[old].cut()
    assert [put(world, old, run, b"%d" % number, f"old{number}") for number in (2, 3)] == [2, 3]
    assert isinstance(force(world, run), str)
    world.drain()
    assert put(world, other(old), run, b"7", "new") == 2
    world.drain()
    world.wires[old].link()
    world.drain()
    restart(world, "cloud" if is_restarted else "", old, is_saved=True)
    assert (at_cloud(world, run).version, at_cloud(world, run).value) == (2, b"7")
    assert ContextChanged.kind in [event.decision for event in told(world, run, DecisionRefused)]
    assert isinstance(put(world, old, run, b"4", "late"), EditRefused)


def test_they_survive_a_restart_of_the_home_and_end_with_the_run() -> None:
    """From its log, or from its snapshots; once the run has ended its home looks for them in its tombstone."""
    world = tiers()
    run, old = begun(world)
    put(world, old, run, b"1", "e1")
    world.drain()
    world.wires[old].cut()
    world.wires[old].site.restart()
    shown = world.wires[old].site.ask(lambda token: ReadRunDocument(token, run_document(run, "notes")))
    assert isinstance(shown, Shown)
    assert (shown.version, shown.value, shown.source) == (1, b"1", "home")
    world.finish()
    assert world.cloud.outcome(run) == "completed"
    assert world.wires[old].site.ask(lambda token: ReadRunDocument(token, run_document(run, "notes"))) is None
