"""The asyncio shell of the Driver over a real log: a bounded inbox, answers to those who wait, timers, and an orderly end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import sync.actors
from sync.actors import InboxFull, Loop
from sync.commit import Row
from sync.driver import StreamRecovered
from sync.inputs import Recovered
from sync.log import EventLog
from sync.log_errors import LogFull
from sync.outputs import Reply
from sync.values import NodeId, StreamId
from tests.ports import StillClock
from tests.sync.chained import Scribe
from tests.sync.notebook import Keep, Look, Note, Notebook, Noted, Shown, Stumble, Wake

PATIENCE_S = 30.0


@dataclass
class World:
    """A node around the Loop: answers replies, remembers what else left."""

    log: EventLog
    loop: Loop = field(init=False)
    shown: list[Shown] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    refolds: list[BaseException] = field(default_factory=list)

    def send(self, effects: list[object]) -> None:
        for effect in effects:
            if isinstance(effect, Reply):
                self.loop.answer(effect)
            elif isinstance(effect, Shown):
                self.shown.append(effect)

    def committed(self, rows: list[Row]) -> None:
        self.rows += rows

    def refolded(self, error: BaseException) -> None:
        self.refolds.append(error)

    @property
    def pages(self) -> dict[str, list[str]]:
        assert isinstance(self.loop.driver.core, Notebook)
        return self.loop.driver.core.pages


@asynccontextmanager
async def world(
    path: Path, *, page_count_max: int = 0, clock: StillClock | None = None, inbox_max: int = 64
) -> AsyncIterator[World]:
    log = EventLog.open(path / "node.db", NodeId("harbour"), page_count_max=page_count_max)
    here = World(log)
    here.loop = Loop(Notebook, log, here, clock=clock, inbox_max=inbox_max, batch_max=8)
    try:
        yield here
    finally:
        here.loop.stop()
        await asyncio.to_thread(log.close)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - The condition is somebody else's state.
            await asyncio.sleep(0.001)


async def test_who_asks_is_answered_after_the_commit(tmp_path: Path) -> None:
    """The answer to `ask` means that the event is in the log, for a thousand who ask at once as for one."""
    async with world(tmp_path, inbox_max=1_000) as here:
        answers = await asyncio.gather(*(here.loop.ask(lambda token: Note(token, "r1", f"{token}")) for _ in range(1_000)))
        held = await asyncio.wrap_future(here.log.read(lambda reader: reader.pos))
    assert answers == list(range(1, 1_001))
    assert held == 1_000 == len(here.rows)


async def test_what_is_posted_first_is_in_the_next_turn(tmp_path: Path) -> None:
    """Before all that waits, however much that is; both count for the bound of the inbox."""
    async with world(tmp_path) as here:
        await here.loop.ask(lambda token: Look(token, "r1"))
        for number in range(30):
            here.loop.post(Note(1_000 + number, "r1", f"{number}"))
        here.loop.post_first(Note(2_000, "r1", "first"))
        for number in range(33):
            here.loop.post_first(Note(2_001 + number, "r2", "x"))
        with pytest.raises(InboxFull):
            here.loop.post_first(Note(3_000, "r1", "a"))
        await here.loop.caught_up()
        assert here.pages["r1"] == ["first", *(f"{number}" for number in range(30))]
        assert len(here.pages["r2"]) == 33


async def test_a_full_inbox_says_so(tmp_path: Path) -> None:
    """Beyond its bound the inbox refuses with InboxFull; what was taken is done, and there is room again."""
    async with world(tmp_path, inbox_max=4) as here:
        await here.loop.ask(lambda token: Look(token, "r1"))
        for number in range(4):
            here.loop.post(Note(1_000 + number, "r1", "a"))
        with pytest.raises(InboxFull, match=r"full \(4 inputs wait\): try again"):
            here.loop.post(Note(0, "r1", "one too many"))
        with pytest.raises(InboxFull):
            await here.loop.ask(lambda token: Look(token, "r1"))
        await asyncio.wait_for(here.loop.room(), PATIENCE_S)
        await until(lambda: len(here.shown) == 4)
        assert await here.loop.ask(lambda token: Look(token, "r1")) == 4


async def test_a_full_disk_fails_who_waits_and_work_goes_on_with_what_was_durable(tmp_path: Path) -> None:
    """With no room for a commit those who ask hear LogFull, the state is that of the log, and small events fit again."""
    async with world(tmp_path, page_count_max=60) as here:
        assert await here.loop.ask(lambda token: Note(token, "r1", "first")) == 1
        with pytest.raises(LogFull):
            await here.loop.ask(lambda token: Note(token, "r1", "x" * 400_000))
        assert isinstance(here.refolds[0], LogFull)
        assert here.pages == {"r1": ["first"]}
        assert await here.loop.ask(lambda token: Note(token, "r1", "second")) == 2


async def test_a_disk_that_stays_full_is_tried_at_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While commits fail, each failure is heard of later than the last: the log is not folded anew again and again."""
    async with world(tmp_path, page_count_max=60) as here:
        for _ in range(2):
            with pytest.raises(LogFull):
                await here.loop.ask(lambda token: Note(token, "r1", "x" * 400_000))
        monkeypatch.setattr(sync.actors, "FAILED_PAUSE_S_MAX", 3600.0)
        monkeypatch.setattr(sync.actors, "FAILED_PAUSE_S", 1800.0)
        here.loop.post(Note(0, "r1", "x" * 400_000))
        await asyncio.sleep(0.3)
        assert len(here.refolds) == 2


async def test_a_timer_wakes_the_loop(tmp_path: Path) -> None:
    """A deadline in the near future comes without anything else happening; one long past comes at once."""
    async with world(tmp_path) as here:
        here.loop.post(Wake("r1", "past", 1))
        here.loop.post(Wake("r1", "soon", here.loop.clock.now().wall_ms + 30))
        await until(lambda: len(here.shown) == 2)
        assert here.pages == {"r1": ["rang: past", "rang: soon"]}


async def test_a_timer_survives_the_process(tmp_path: Path) -> None:
    """Set in one life of the node, it goes off in the next."""
    clock = StillClock()
    async with world(tmp_path, clock=clock) as here:
        here.loop.post(Wake("r1", "tea", clock.wall_ms + 3_600_000))
        await here.loop.ask(lambda token: Look(token, "r1"))
    clock.pass_ms(3_600_000)
    async with world(tmp_path, clock=clock) as here:
        await until(lambda: bool(here.pages))
        assert here.pages == {"r1": ["rang: tea"]}


async def test_an_idle_loop_sleeps(tmp_path: Path) -> None:
    """Without inputs and timers nothing is scheduled: no turn, no SQL."""
    async with world(tmp_path) as here:
        here.loop.post(Keep("k", b"v"))
        await here.loop.ask(lambda token: Look(token, "r1"))
        assert isinstance(here.loop.driver.core, Notebook)
        await asyncio.sleep(0.1)  # The end of the commit is a last turn.
        settled = here.loop.driver.core.settled
        await asyncio.sleep(0.3)
        assert here.loop.driver.core.settled == settled > 0


async def test_a_refold_waits_for_every_event_that_came_back(tmp_path: Path) -> None:
    """Asked for while recovered events are being committed, the refold comes after them and knows them all."""
    payload = Notebook().encode(Noted("back again"))
    rows = [row._replace(pos=0) for row in Scribe().rows(3, StreamId("harbour@1"), "r1", payload, "Noted")]
    async with world(tmp_path) as here:
        here.loop.post(Recovered(StreamId("harbour@1"), rows))
        await asyncio.sleep(0)
        here.loop.refold_when_idle(StreamRecovered("whole again"))
        await until(lambda: bool(here.refolds))
        assert here.pages == {"r1": ["back again"] * 3}
        assert await here.loop.ask(lambda token: Note(token, "r1", "new")) == 4


async def test_a_held_loop_decides_nothing(tmp_path: Path) -> None:
    """While held, inputs and timers wait and only what is fetched back is stored; released, everything goes on."""
    payload = Notebook().encode(Noted("back again"))
    rows = [row._replace(pos=0) for row in Scribe().rows(3, StreamId("cloud>harbour@1"), "r1", payload, "Noted")]
    async with world(tmp_path) as here:
        here.loop.post(Wake("r1", "past", 1))
        await until(lambda: len(here.shown) == 1)
        here.loop.held = True
        asked = asyncio.ensure_future(here.loop.ask(lambda token: Note(token, "r2", "a")))
        here.loop.post(Wake("r2", "past", 1))
        await asyncio.sleep(0.05)
        assert (asked.done(), len(here.rows)) == (False, 1)
        here.loop.post(Recovered(StreamId("cloud>harbour@1"), rows))
        await until(lambda: len(here.rows) == 4)
        assert not asked.done()
        here.loop.release()
        assert await asyncio.wait_for(asked, PATIENCE_S) == 1
        await until(lambda: len(here.shown) == 3)


async def test_what_is_durable_can_be_waited_for(tmp_path: Path) -> None:
    """`durable` returns when everything decided so far is in the log, at once if nothing is under way."""
    async with world(tmp_path) as here:
        await here.loop.durable()
        here.loop.post(Note(-1, "r1", "a"))
        await until(lambda: bool(here.loop.driver.in_flight) or bool(here.rows))
        await asyncio.wait_for(here.loop.durable(), PATIENCE_S)
        assert len(here.rows) == 1


async def test_a_thousand_timers_at_once_take_several_turns(tmp_path: Path) -> None:
    """Timers that fall due together come in batches, and all of them come."""
    async with world(tmp_path, inbox_max=4_000) as here:
        for number in range(1_000):
            here.loop.post(Wake("r1", f"k{number}", 1))
        await until(lambda: len(here.shown) == 1_000)
        assert len(here.pages["r1"]) == 1_000


async def test_a_broken_belief_ends_the_node(tmp_path: Path) -> None:
    """An assertion that fails in a turn ends what the node serves, and everybody who waits or asks later hears why."""
    async with world(tmp_path) as here:
        await here.loop.ask(lambda token: Note(token, "r1", "a"))
        serving = asyncio.ensure_future(here.loop.guard(asyncio.sleep(3_600)))
        here.loop.post(Stumble())
        with pytest.raises(AssertionError, match="belief"):
            await asyncio.wait_for(here.loop.ask(lambda token: Look(token, "r1")), PATIENCE_S)
        with pytest.raises(AssertionError, match="belief"):
            await asyncio.wait_for(serving, PATIENCE_S)
        with pytest.raises(AssertionError, match="belief"):
            await here.loop.ask(lambda token: Look(token, "r1"))


async def test_a_node_that_cannot_read_its_log_again_ends(tmp_path: Path) -> None:
    """If the refold after a failed commit fails too, the node ends, and who waited hears of the commit."""
    async with world(tmp_path, page_count_max=60) as here:
        here.loop.driver.log.load = lambda: (_ for _ in ()).throw(LogFull("unreadable"))  # type: ignore[method-assign]
        serving = asyncio.ensure_future(here.loop.guard(asyncio.sleep(3_600)))
        with pytest.raises(LogFull):
            await here.loop.ask(lambda token: Note(token, "r1", "x" * 400_000))
        with pytest.raises(LogFull, match="unreadable"):
            await asyncio.wait_for(serving, PATIENCE_S)


async def test_what_serves_ends_as_it_ends(tmp_path: Path) -> None:
    """As long as no turn fails, `guard` returns or raises what is served, and passes its cancellation on."""
    ended: list[str] = []

    async def serve() -> None:
        try:
            await asyncio.sleep(3_600)
        finally:
            ended.append("in order")

    async def fail() -> None:
        raise OSError("no such port")

    async with world(tmp_path) as here:
        await here.loop.guard(asyncio.sleep(0))
        with pytest.raises(OSError, match="no such port"):
            await here.loop.guard(fail())
        serving = asyncio.ensure_future(here.loop.guard(serve()))
        await asyncio.sleep(0.01)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
    assert ended == ["in order"]
