"""The result cache of a site: equal work of different runs is done once, for as long as its result is kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.cache import ENTRY_BYTES, Entry, ResultCache
from sync.values import Now
from tests.edge.site import Robot, Site
from tests.workflow.plans import plan_of
from workflow.cache_events import CacheCleared, CacheClearRequested, ResultCached
from workflow.caching import digest_of
from workflow.commands import Complete
from workflow.events import Blob, TaskAssigned, TaskCompleted, TaskFailed
from workflow.fragment import Fragment
from workflow.orders import AddTasks, Rerun, Update
from workflow.plan import Plan
from workflow.saved import state_hash

INPUTS: dict[str, Any] = {"trip": {"type": "string"}}
A, B = b'{"trip": "A"}', b'{"trip": "B"}'
CACHED: dict[str, Any] = {"cache": {"key": "${{ inputs.trip }}", "lifetime": "10m"}}


def price(task: dict[str, Any] | None = None, name: str = "trip", **others: dict[str, Any]) -> Plan:
    return plan_of({"price": {**CACHED, **(task or {})}, **others}, inputs=INPUTS, name=name)


@pytest.fixture
def site() -> Site:
    site = Site()
    site.join()
    return site


def anna(site: Site) -> Robot:
    return site.robots["anna"]


def first(site: Site, plan: Plan, output: bytes = b"7") -> None:
    """Run r1 does the work for trip A."""
    site.release(plan, "r1", inputs=A)
    site.done(anna(site), "r1", output=output)


def test_equal_work_is_done_once(site: Site) -> None:
    """Another run takes the result, with its source on record, and nobody is asked."""
    plan = price({}, after={"needs": ["price"], "with": {"n": "${{ tasks.price.output }}"}})
    first(site, plan)
    site.done(anna(site), "r1", task=1)
    site.release(plan, "r2", inputs=A)
    (hit,) = site.events(TaskCompleted, "r2")
    assert (hit.attempt, hit.agent, hit.output, hit.source) == (0, "", b"7", "cache:r1/price")
    assert anna(site).hands[anna(site).key("r2", 1)].parameters == b'{"n":7}'
    site.done(anna(site), "r2", task=1)
    assert site.outcome("r2") == "completed"
    assert (site.core.cache.hits, site.core.cache.misses, len(site.core.cache.entries)) == (1, 1, 1)


def test_another_key_another_work_and_no_cache_share_nothing(site: Site) -> None:
    """A key stands for a capability, whichever definition asks for it."""
    plan = price()
    first(site, plan)
    site.join("bert", capabilities=("other",))
    site.release(plan, "r2", inputs=B)
    site.release(price({"capability": "other"}, "elsewhere"), "r3", inputs=A)
    site.release(plan_of({"price": {}}, inputs=INPUTS, name="bare"), "r4", inputs=A)
    assert all(site.states(run) == ["running"] for run in ("r2", "r3", "r4"))
    site.release(price({"retry": {"max_attempts": 9}}, "other-definition"), "r5", inputs=A)
    assert site.outcome("r5") == "completed"


def test_it_is_kept_for_its_lifetime_only(site: Site) -> None:
    """Until the moment and not at it; what has expired is gone without a wake-up or a timer for it."""
    plan = price()
    first(site, plan)
    assert site.log.disk.due == {}
    (cached,) = site.events(ResultCached)
    assert cached.until_ms == site.clock.wall_ms + 600_000
    for _ in range(100):
        site.clock.pass_ms(5_999)
        site.beat(anna(site))
    site.release(plan, "r2", inputs=A)
    assert site.outcome("r2") == "completed"
    site.clock.pass_ms(100)
    site.beat(anna(site))
    assert site.core.cache.entries == {}
    site.release(plan, "r3", inputs=A)
    assert site.states("r3") == ["running"]


def test_a_hit_begins_no_new_life(site: Site) -> None:
    """Only what an agent gave is kept: a result does not live for ever by being taken."""
    plan = price()
    first(site, plan)
    site.release(plan, "r2", inputs=A)
    assert [event.name for event in site.events(ResultCached)] == ["price"]


@pytest.mark.parametrize("saves", [False, True])
def test_it_survives_a_restart(site: Site, saves: bool) -> None:
    """From the log or from the snapshot; folding some of it twice changes nothing."""
    plan = price()
    first(site, plan)
    before = site.core.cache.save()
    if saves:
        site.driver._floor = -(10**9)
        site.turn()
    site.restart()
    assert site.core.cache.save() == before
    site.join()
    site.release(plan, "r2", inputs=A)
    assert site.outcome("r2") == "completed"


def test_a_replica_folds_the_same(site: Site) -> None:
    """The cloud's fragment, folded from the events alone, has the same bytes, of hits too."""
    plan = price({}, after={"needs": ["price"]})
    first(site, plan)
    site.release(plan, "r2", inputs=A)
    for run in ("r1", "r2"):
        replica = Fragment.adopt(site.fragment(run).run, plan, site.events_of(run)[0])  # type: ignore[arg-type]
        for event in site.events_of(run)[1:]:
            replica.evolve(event)
        replica.quiet()
        assert state_hash(replica.save()) == state_hash(site.fragment(run).save())


def test_who_waited_for_an_agent_takes_what_came_meanwhile() -> None:
    """Two runs want the same and there is one pair of hands: the second is done with the first, with what follows it."""
    site = Site()
    site.join(capacity=1)
    plan = price({}, after={"check": "true", "needs": ["price"]})
    site.release(plan, "r1", inputs=A)
    site.release(plan, "r2", inputs=A)
    assert [site.states(run) for run in ("r1", "r2")] == [["running", "pending"], ["ready", "pending"]]
    site.done(anna(site), "r1")
    assert (site.outcome("r1"), site.outcome("r2")) == ("completed", "completed")
    assert len(site.events(TaskAssigned)) == 1


def test_two_at_the_same_time_both_do_the_work(site: Site) -> None:
    """Neither waits for the other; what came last is kept."""
    plan = price()
    for run in ("r1", "r2"):
        site.release(plan, run, inputs=A)
    site.done(anna(site), "r1", output=b"1")
    site.done(anna(site), "r2", output=b"2")
    site.release(plan, "r3", inputs=A)
    assert [event.output for event in site.events(TaskCompleted, "r3")] == [b"2"]


def test_a_chain_of_hits_needs_no_further_turn(site: Site) -> None:
    """What a hit makes ready is looked at in the same batch."""
    names = [f"t{number}" for number in range(5)]
    tasks = {name: {**CACHED, "needs": names[max(0, at - 1) : at], "capability": "work"} for at, name in enumerate(names)}
    plan = plan_of(tasks, inputs=INPUTS)
    first(site, plan)
    assert site.outcome("r1") == "completed"
    assert [event.source for event in site.events(TaskCompleted, "r1")] == ["", *["cache:r1/t0"] * 4]


# What a definition promises of its output ------------------------------------------------------------------------------


@pytest.mark.parametrize("promise", [{"output": {"type": "string"}}, {"validate": "output > 100"}])
def test_what_is_not_promised_is_not_taken(site: Site, promise: dict[str, Any]) -> None:
    """The checks of this definition count, not of that which gave the result: without a fit the work is done."""
    first(site, price())
    site.release(price(promise, "strict"), "r2", inputs=A)
    assert site.states("r2") == ["running"]
    assert site.events(TaskFailed) == []


def test_a_validator_judges_what_is_taken(site: Site) -> None:
    """Accepted, it counts with its source; refused, that is a failed attempt, and the work follows."""
    first(site, price())
    plan = price({"validate": {"capability": "work"}, "retry": {"delay": 1}}, "judged")
    site.release(plan, "r2", inputs=A)
    assert site.states("r2")[0] == "validating"
    site.restart()
    site.join()
    site.done(anna(site), "r2", task=1, output=b"true")
    assert [e.source for e in site.events(TaskCompleted, "r2") if e.task == 0] == ["cache:r1/price"]
    site.release(plan, "r3", inputs=A)
    site.done(anna(site), "r3", task=1, output=b"false")
    assert [(failed.attempt, failed.code) for failed in site.events(TaskFailed)] == [(0, "invalid")]
    site.pass_ms(2_000)
    assert anna(site).key("r3").attempt == 1


def test_a_key_without_a_value_fails_the_task(site: Site) -> None:
    """As parameters do, before anybody is asked."""
    cached = {"cache": {"key": "${{ inputs.trip.city }}", "lifetime": "10m"}}
    plan = plan_of({"price": cached}, inputs={"trip": {"type": "object"}})
    site.release(plan, inputs=b'{"trip": {}}')
    (failed,) = site.events(TaskFailed)
    assert failed.code == "expression"
    assert site.outcome() == "failed"


def test_large_results_are_kept_by_reference(site: Site) -> None:
    """As long as the site has the blob."""
    plan, blob = price(), Blob(b"s" * 32, 1 << 30)
    site.release(plan, inputs=A)
    key = anna(site).key()
    del anna(site).hands[key]
    anna(site).journal[key] = Complete(0, 1, "anna", b"", blob)
    site.report(anna(site), key)
    site.release(plan, "r2", inputs=A)
    assert [event.blob for event in site.events(TaskCompleted)] == [blob, blob]
    site.core.cache.holds_blob = lambda blob: False
    site.release(plan, "r3", inputs=A)
    assert site.states("r3") == ["running"]


# Anew ------------------------------------------------------------------------------------------------------------------


def test_what_is_to_be_done_anew_is_done(site: Site) -> None:
    """A rerun wants the work, also of a task that had been done by a kept result; what it gives is kept instead."""
    plan = price({}, after={"needs": ["price"]})
    first(site, plan)
    site.release(plan, "r2", inputs=A)
    assert site.states("r2") == ["completed", "running"]
    assert site.order(Rerun("price"), "r2") == "accepted"
    site.stop_all(anna(site), "r2")
    assert site.states("r2")[0] == "running"
    site.done(anna(site), "r2", output=b"8")
    assert [entry.output for entry in site.core.cache.entries.values()] == [b"8"]


def test_parameters_of_a_person_are_not_shared() -> None:
    """The key knows nothing of them: nothing is taken, and nothing is kept."""
    site = Site()
    plan = price()
    site.release(plan, "r1", inputs=A)
    assert site.order(Update("price", {"n": 1}), "r1") == "accepted"
    site.join()
    site.done(anna(site), "r1")
    assert site.events(ResultCached) == []


def test_a_task_that_is_added_is_checked_and_kept_too(site: Site) -> None:
    """Whatever the run was made of: the promises of an added task hold, and its result is kept."""
    site.release(plan_of({"a": {}}, inputs=INPUTS), inputs=A)
    cached = {"capability": "work", "validate": "output > 5", "retry": {"delay": 1}, **CACHED}
    assert site.order(AddTasks({"b": cached})) == "accepted"
    site.done(anna(site), task=1, output=b"1")
    assert [failed.code for failed in site.events(TaskFailed)] == ["invalid"]
    site.pass_ms(2_000)
    site.done(anna(site), task=1, output=b"6")
    site.release(price(), "r2", inputs=A)
    assert [event.source for event in site.events(TaskCompleted, "r2")] == ["cache:r1/b"]


# Emptying and bounds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("work", "key", "left"),
    [("", "", 0), ("work", "", 0), ("other", "", 2), ("work", "A", 1), ("work", "C", 2)],
)
def test_it_is_emptied(site: Site, work: str, key: str, left: int) -> None:
    """All, all of a capability, or what is kept under one key; a restart does not bring it back."""
    plan = price()
    first(site, plan)
    site.release(plan, "r2", inputs=B)
    site.done(anna(site), "r2")
    digest = digest_of(work, b'"%s"' % key.encode()) if key else ""
    site.tell(("", 0, CacheClearRequested("c9", work, digest)))
    assert site.answer("c9") == f"results that are not kept any more: {2 - left}"
    assert [event.command for event in site.events(CacheCleared)] == ["c9"]
    assert len(site.core.cache.entries) == left
    site.restart()
    assert len(site.core.cache.entries) == left
    assert site.core.cache.held_bytes == left * (ENTRY_BYTES + 1)


def cache(**bounds: int) -> ResultCache:
    return ResultCache(Site().core.home, **bounds)  # type: ignore[arg-type]


def event(key: int, until_ms: int, size: int = 1) -> ResultCached:
    return ResultCached(0, f"k{key}", until_ms, "work", "price", b"1" * size)


def test_full_it_forgets_what_expires_first() -> None:
    """By entries and by bytes; what is larger than all of it is not kept."""
    few = cache(entries_max=3)
    for number in range(5):
        few._keep(True, "r1", event(number, 1_000 + number), 0)
    assert sorted(few.entries) == ["k2", "k3", "k4"]
    small = cache(bytes_max=3 * ENTRY_BYTES)
    for number in range(5):
        small._keep(True, "r1", event(number, 1_000 - number, ENTRY_BYTES // 2), 0)
    assert sorted(small.entries) == ["k0", "k1"]
    small._keep(True, "r1", event(9, 9_000, 3 * ENTRY_BYTES), 0)
    assert sorted(small.entries) == ["k0", "k1"]


steps = st.tuples(st.sampled_from(["keep", "find", "clear", "pass", "twice", "reopen"]), st.integers(0, 5), st.integers(0, 400))


@given(st.lists(steps, max_size=80))
def test_only_what_lives_is_ever_found(story: list[tuple[str, int, int]]) -> None:
    """Whatever is kept, cleared, folded twice and saved: what is found is the latest of its key and within its lifetime; and
    bounds hold."""
    kept, twin, wall_ms = cache(entries_max=4, bytes_max=6 * ENTRY_BYTES), dict[str, ResultCached](), 0
    for number, (verb, key, amount) in enumerate(story):
        match verb:
            case "keep" | "twice":
                said = ResultCached(0, f"k{key}", wall_ms + amount, "work", f"t{number}", b"1" * amount)
                for _ in range(2 if verb == "twice" else 1):
                    kept._keep(True, "r1", said, 0)
                twin[said.key] = said
            case "clear":
                kept._clear(True, "", CacheCleared("c", "work", f"k{key}"), 0)
                twin.pop(f"k{key}", None)
            case "pass":
                wall_ms += amount
                kept.settle(Now(wall_ms, wall_ms, 1), [])
                assert all(entry.until_ms > wall_ms for entry in kept.entries.values())
            case "reopen":
                again = cache(entries_max=4, bytes_max=6 * ENTRY_BYTES)
                if body := kept.save():
                    again.restore(body)
                assert again.save() == kept.save()
                kept = again
            case _:
                found = kept.find(f"k{key}", Now(wall_ms, wall_ms, 1))
                if found is not None:
                    said = twin[f"k{key}"]
                    assert found == Entry(said.key, said.until_ms, "work", f"r1/{said.name}", said.output, None)
                    assert found.until_ms > wall_ms
        assert len(kept.entries) <= 4
        assert kept.held_bytes == sum(entry.weight() for entry in kept.entries.values()) <= 6 * ENTRY_BYTES
        assert len(kept._heap) <= 2 * len(kept.entries) + 65
