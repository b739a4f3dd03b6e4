"""The law of re-seeding: a site that lacked what was cut, and was told anew what holds, is as one that heard everything late."""

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.inputs import NewRun, StartRuns
from cloud.joining.inputs import MakeAgentToken, RevokeAgentToken
from cloud.moving.inputs import MoveRun
from cloud.pausing.inputs import OrderSitePause
from cloud.reseeding import core as reseeding
from cloud.ruling.inputs import AddRule, RemoveRule
from cloud.schedule.inputs import CreateSchedule, OrderSchedule
from edge.documents import SiteDocuments
from sync.documents.inputs import EditDocument
from tests.operators import RULES
from tests.ports import Disk
from tests.two_tiers import Tiers
from tests.workflow.plans import plan_of
from workflow.events import FragmentReleased
from workflow.orders import Pause, Resume
from workflow.saved import state_hash
from workflow.schedule import Schedule
from workflow.standing import read_standing
from workflow.token_events import AgentTokenMade

ONE = plan_of(
    {"a": {"capability": "pick", "site": "harbour"}, "b": {"capability": "pick", "needs": ["a"], "site": "harbour"}}, name="one"
)
TWO = plan_of({"a": {"capability": "pick"}, "b": {"capability": "pack", "needs": ["a"]}}, name="two")
SPLIT = plan_of({"a": {"capability": "pick", "site": "airport"}, "b": {"capability": "pick", "site": "harbour", "needs": ["a"]}})
WEEK_MS = 7 * 24 * 3_600_000
ASKED = (
    *("start", "start", "cancel", "pause", "resume", "take", "rule", "rule", "unrule", "token", "revoke", "put", "put", "delete"),
    *("propose", "pause_site", "resume_site", "schedule", "order_schedule", "restart_cloud", "work", "work_elsewhere"),
)
happenings = st.lists(st.tuples(st.sampled_from(ASKED), st.integers(0, 5)), max_size=30)
LAWS = settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def do(world: Tiers, what: str, number: int) -> None:
    """One thing happens at the cloud, at the other site, or at the harbour, which is away."""
    cloud, harbour = world.cloud, world.wires["harbour"].site
    run, plan = world.runs[number % len(world.runs)], (ONE, TWO, SPLIT)[number % 3]
    match what:
        case "start":
            world.runs += cloud.start(plan)
        case "cancel":
            cloud.cancel(run)
        case "pause" | "resume":
            cloud.order(run, Pause() if what == "pause" else Resume())
        case "take":
            cloud.ask(lambda token: MoveRun(token, run, "", "it is away", True))
        case "rule":
            cloud.ask(lambda token: AddRule(token, read_standing({"name": f"rule-{number}", **RULES[number]})))
        case "unrule":
            cloud.ask(lambda token: RemoveRule(token, f"rule-{number}"))
        case "token":
            made = AgentTokenMade(f"{number}" * 64, "harbour", "anna", [], 0, 0)
            cloud.ask(lambda token: MakeAgentToken(token, made, WEEK_MS))
        case "revoke":
            cloud.ask(lambda token: RevokeAgentToken(token, f"{number}" * 12))
        case "put" | "delete":
            edit = what, b"" if what == "delete" else b"%d" % number, -1, "ben"
            cloud.ask(lambda token: EditDocument(token, f"shared/doc-{number % 3}", "", *edit))
        case "propose":
            harbour.turn(EditDocument(7_000, f"shared/doc-{number % 3}", f"edit-{number}", "put", b'"mine"', -1, "anna"))
        case "pause_site" | "resume_site":
            cloud.ask(lambda token: OrderSitePause(token, "harbour", what == "pause_site", "tide"))
        case "schedule":
            spec = Schedule(id=f"s{number % 3}", definition="one", every_ms=WEEK_MS, site="harbour")
            cloud.ask(lambda token: CreateSchedule(token, spec, ONE.ref))
        case "order_schedule":
            order = ("pause", "resume", "remove")[number % 3]
            cloud.ask(lambda token: OrderSchedule(token, f"s{number // 2 % 3}", order))
        case "restart_cloud":
            world.live("restart_cloud", "airport", number, 0)
            world.wires["airport"].link()
        case "work" | "work_elsewhere":
            work(world, "harbour" if what == "work" else "airport")
    world.drain()


def work(world: Tiers, site: str) -> None:
    """Everybody there is done with what is in his hands."""
    here = world.wires[site].site
    for robot in here.robots.values():
        for key in sorted(robot.hands):
            robot.finish(key)
        here.report(robot)


def lived(happened: list[tuple[str, int]], *, is_cut: bool) -> Tiers:
    """The harbour is away while all this happens, and comes back to what waited for it, or to what it is told anew."""
    world = Tiers([ONE, TWO])
    for plan in (ONE, TWO, SPLIT):
        world.cloud.register(plan)
    wire = world.wires["harbour"]
    for what, number in happened[: len(happened) // 3]:
        do(world, what, number)
    wire.forget() if is_cut else wire.cut()
    for what, number in happened[len(happened) // 3 :]:
        do(world, what, number)
    wire.link()
    world.drain()
    return world


def known_at_harbour(world: Tiers) -> dict[str, Any]:
    """What the site knows, however it came to know it: of documents not the versions in between."""
    site = world.wires["harbour"].site
    core, parts = site.core, site.core.parts.save()
    ended = {run: state_hash(saved.body) for run, saved in site.log.disk.saved.items() if saved.ended and run}
    documents = core.documents
    assert isinstance(documents, SiteDocuments)
    return {
        "runs": {run: core.fragments.packed(run) for run in sorted(core.fragments)},
        "ended": ended,
        "rules": parts.get("rules"),
        "tokens": parts.get("agent_tokens"),
        "documents": {name: (each.version, each.value) for name, each in sorted(documents.book.documents.items())},
        "pending": sorted(documents.book.pending),
        "paused": core.home.paused,
        "schedules": msgspec.to_builtins(core.schedules.book.save()),
    }


@given(happenings)
@LAWS
def test_who_is_told_anew_knows_what_holds(happened: list[tuple[str, int]]) -> None:
    """Equal to a site that heard all of it, by the state hash of every run; and the cloud's replicas are what it has."""
    heard, told = lived(happened, is_cut=False), lived(happened, is_cut=True)
    assert known_at_harbour(told) == known_at_harbour(heard)
    assert told.different() == []
    reseed = told.cloud.planner.reseeding.reseeds["harbour"]
    assert (reseed.incarnation, reseed.told_ms > 0, reseed.taken_ms > 0) == (2, True, True)


def test_runs_are_given_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many the site has not adopted, no commit releases more than a page of them, and it gets each once."""
    monkeypatch.setattr(reseeding, "PAGE", 7)
    world = Tiers([ONE])
    world.wires["harbour"].forget()
    new = [NewRun(b"{}", {}) for _ in range(50)]
    world.cloud.ask(lambda token: StartRuns(token, ONE.ref, new, None))
    world.wires["harbour"].link()
    rounds = 0
    while world.cloud.planner.reseeding.is_awaited("harbour"):
        world.cloud.turn()
        rounds += 1
    stream = world.cloud.planner.site_stream("harbour")
    released = [row.run for row in world.cloud.log.disk.rows if row.stream == stream and row.kind == FragmentReleased.kind]
    assert (len(released), len(set(released))) == (50, 50)
    assert rounds >= 50 // 7
    world.drain()
    assert set(released) <= set(world.wires["harbour"].site.core.fragments)


@pytest.mark.parametrize("turns", range(9))
@pytest.mark.parametrize("who", ["cloud", "harbour", "both"])
def test_a_kill_in_the_middle_is_no_end_of_it(monkeypatch: pytest.MonkeyPatch, who: str, turns: int) -> None:
    """Whoever dies after so many turns finds at the next start what is told and what is taken, and the rest follows."""
    monkeypatch.setattr(reseeding, "PAGE", 3)
    world = Tiers([ONE])
    wire = world.wires["harbour"]
    wire.forget()
    new = [NewRun(b"{}", {}) for _ in range(20)]
    world.cloud.ask(lambda token: StartRuns(token, ONE.ref, new, None))
    do(world, "rule", 1)
    wire.link()
    for _ in range(turns):
        wire.send(2)
        world.cloud.turn()
    if who != "harbour":
        world.live("restart_cloud", "harbour", turns, 0)
    if who != "cloud":
        world.live("restart_site", "harbour", turns, 0)
    for each in world.wires.values():
        each.link()
    world.drain()
    while world.cloud.planner.reseeding.is_awaited("harbour"):
        world.cloud.turn()
        world.drain()
    reseed = world.cloud.planner.reseeding.reseeds["harbour"]
    assert replace_times(reseed) == (2, True, True)
    assert len(wire.site.core.fragments) == 21
    world.check_equal()


def replace_times(reseed: reseeding.Reseed) -> tuple[int, bool, bool]:
    return reseed.incarnation, reseed.told_ms > 0, reseed.taken_ms > 0


def test_a_run_that_was_taken_is_dropped_by_the_site_that_missed_it() -> None:
    """What said so was cut; told anew, the site gives the run up, and only its present home goes on with it."""
    world = Tiers([TWO])
    (run,) = world.runs
    wire, other = world.wires["airport"], "harbour"
    assert world.known(run).sites == ["airport"]
    wire.forget()
    assert isinstance(world.cloud.ask(lambda token: MoveRun(token, run, other, "it is away", True)), str)
    wire.link()
    world.drain()
    assert run not in wire.site.core.fragments
    assert not world.cloud.planner.taking.superseded
    assert world.known(run).sites == [other]


@pytest.mark.parametrize("expected", [-1, 7])
def test_an_edit_whose_answer_was_cut_is_pending_no_more(expected: int) -> None:
    """Done or refused: the site asks again, and hears what became of it."""
    world = Tiers([ONE])
    wire = world.wires["harbour"]
    wire.site.turn(EditDocument(7_000, "shared/tide", "edit-1", "put", b'"high"', expected, "anna"))
    wire.send(1)
    assert "edit-1" in wire.site.core.documents.book.pending
    answer = world.cloud.planner.documents.book.answer("shared/tide", "edit-1")
    wire.forget()
    wire.link()
    world.drain()
    assert not wire.site.core.documents.book.pending
    assert answer is not None
    assert wire.site.core.documents.book.answer("shared/tide", "edit-1") == answer


@given(happenings, happenings, st.booleans())
@LAWS
def test_a_site_that_lost_its_disk_has_again_what_the_cloud_knew(
    before: list[tuple[str, int]], after: list[tuple[str, int]], is_copied: bool
) -> None:
    """An empty disk or an old copy: both tiers know the same again, documents and schedules too, and every run ends."""
    world = Tiers([ONE, TWO])
    for plan in (ONE, TWO, SPLIT):
        world.cloud.register(plan)
    wire = world.wires["harbour"]
    happen(world, before[: len(before) // 2])
    disk = copy.deepcopy(wire.site.log.disk) if is_copied else Disk()
    happen(world, before[len(before) // 2 :])
    work(world, "harbour")
    world.drain()
    known = known_at_harbour(world)
    wire.burn(disk)
    happen(world, [("work_elsewhere", 0)])
    again = known_at_harbour(world)
    parts = ("rules", "tokens", "paused", "documents", "schedules")
    assert {part: again[part] for part in parts} == {part: known[part] for part in parts}
    assert world.different() == []
    happen(world, after)
    for run in world.runs:
        world.cloud.order(run, Resume())
    world.finish()
    assert world.different() == []


def happen(world: Tiers, happened: list[tuple[str, int]]) -> None:
    """All of it, one after the other, over links that are up."""
    for what, number in happened:
        do(world, what, number)
        world.wires["harbour"].link()
        world.drain()
