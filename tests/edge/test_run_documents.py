"""The documents of runs at their home: levels, homes, and who is told."""

import pytest

from edge.run_documents import EditRunDocument, ReadRunDocument
from sync.documents.events import EditRefused
from sync.documents.ids import run_document
from sync.documents.inputs import EditDocument
from sync.documents.reading import Shown
from sync.levels import Level
from sync.watching.unseen import TellWatchers
from tests.edge.site import Site
from tests.edge.test_contracts import STRONG, linked, plan_of
from workflow.contract import Contract
from workflow.events import DefinitionRegistered, FragmentReleased

NOTES = run_document("r1", "notes")


class Listening(Site):
    """Keeps what watchers are told."""

    def __init__(self) -> None:
        self.told: list[int] = []
        super().__init__()

    def send(self, effects: list[object]) -> None:
        self.told += [effect.change.version for effect in effects if isinstance(effect, TellWatchers)]
        super().send(effects)


def put(site: Site, edit: str, token: int) -> object:
    """What is answered by now; None if nothing is."""
    site.turn(EditRunDocument(token, EditDocument(0, NOTES, edit, "put", b"1", -1, "agent:anna")))
    return site.replies.get(token)


def test_what_a_strong_run_has_written_counts_once_the_cloud_holds_it() -> None:
    """Neither who wrote, nor who reads, nor who watches is told before; cut off, nothing is written."""
    site = Listening()
    site.link()
    site.join("anna")
    site.hold()
    site.release(plan_of(), contract=STRONG)
    site.hold()
    assert put(site, "e1", 1) is None
    site.turn(ReadRunDocument(2, NOTES))
    assert (site.replies, site.told) == ({}, [])
    site.hold()
    shown = site.replies[2]
    assert isinstance(shown, Shown)
    assert (site.replies[1], shown.version, shown.terms.level.kind, site.told) == (1, 1, "strong", [1])
    site.cut()
    refused = put(site, "e2", 3)
    assert isinstance(refused, EditRefused)
    assert refused.code == "unavailable"


def test_a_bounded_run_writes_no_further_ahead_than_its_bound() -> None:
    """Of its events, documents count like any other."""
    site, _ = linked(Contract(Level("bounded", 3)))
    site.hold()
    answers = [put(site, f"e{number}", number) for number in range(1, 6)]
    assert answers[:3] == [1, 2, 3]
    refused = answers[3]
    assert isinstance(refused, EditRefused)
    assert refused.code == "bound_reached"
    site.hold()
    assert put(site, "e5", 9) == 4


@pytest.mark.parametrize("is_restarted", [False, True])
def test_the_documents_of_a_run_of_several_sites_are_at_the_first(is_restarted: bool) -> None:
    """The others say where, after a restart, too."""
    site, plan = Site(), plan_of(2)
    sites = ["airport", "harbour"]
    released = FragmentReleased(plan.ref, b"{}", "harbour", sites, bytes([0, 1]), 2, {}, site.clock.wall_ms)
    site.tell(("", 0, DefinitionRegistered(plan.ref, plan.document)), ("r1", 2, released))
    if is_restarted:
        site.restart()
    refused = put(site, "e1", 1)
    assert isinstance(refused, EditRefused)
    assert (refused.code, "is at airport" in refused.reason) == ("run_elsewhere", True)


def test_who_watches_is_told_each_change_once() -> None:
    """Of a run without a contract as soon as it is durable; nothing of before a restart."""
    site = Listening()
    site.release(plan_of())
    assert [put(site, edit, token) for token, edit in enumerate(("e1", "e2", "e1"), 1)] == [1, 2, 1]
    assert site.told == [1, 2]
    site.restart()
    assert put(site, "e3", 7) == 3
    assert site.told == [1, 2, 3]
