"""The life of a schedule: no firing twice, none lost, whatever the restarts; policies of overlap and of catching up."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow.events import Event, decode, encode
from workflow.schedule import MISSED_AFTER_MS, Schedule, firings_between
from workflow.schedule_events import (
    ScheduleBuffered,
    ScheduleChanged,
    ScheduleCreated,
    ScheduleFired,
    ScheduleRemoved,
    ScheduleSkipped,
)
from workflow.schedules import Backfill, Command, Pause, Pin, Remove, Resume, RunNow, Schedules, ScheduleState, Tick

BEGIN = 1_800_000_000_000
MINUTE = 60_000


@dataclass
class House:
    """A home with one schedule: what it decided is its log; time passes when a test says so."""

    spec: Schedule
    now_ms: int = BEGIN
    log: list[tuple[str, bytes]] = field(default_factory=list)
    alive: set[str] = field(default_factory=set)
    obstacle: str = ""
    book: Schedules = field(default_factory=Schedules)

    def __post_init__(self) -> None:
        self.record(ScheduleCreated(self.spec.id, msgspec.json.encode(self.spec), "d@1", self.now_ms))

    @property
    def state(self) -> ScheduleState:
        return self.book.known[self.spec.id]

    def record(self, event: Event) -> None:
        self.log.append((event.kind, encode(event)))
        self.book.evolve(event)
        if isinstance(event, ScheduleFired):
            assert not self.alive & set(event.runs)
            self.alive |= set(event.runs)

    def give(self, command: Command) -> list[Event]:
        events = self.state.decide(command, self.now_ms, self.alive.__contains__, self.obstacle)
        for event in events:
            self.record(event)
        return events

    def restart(self) -> None:
        """kill -9: from the log alone, or from what was saved."""
        folded = Schedules()
        for kind, payload in self.log:
            folded.evolve(decode(kind, payload))
        saved = Schedules()
        saved.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(self.book.save()), type=list[ScheduleState]))
        assert folded == saved == self.book
        self.book = folded

    def settle(self) -> None:
        """As a home does: make what is due until nothing is."""
        while (wake := self.state.wake_ms()) is not None and wake <= self.now_ms:
            assert self.give(Tick()), "a timer that is due brings something about"
        if self.book.waiting:
            self.give(Tick())

    def pass_to(self, moment: int) -> None:
        """The timer wakes the home at each due moment up to this one."""
        while (wake := self.state.wake_ms()) is not None and wake <= moment:
            self.now_ms = max(self.now_ms, wake)
            self.settle()
        self.now_ms = max(self.now_ms, moment)
        self.settle()

    def events(self) -> list[Event]:
        return [decode(kind, payload) for kind, payload in self.log]

    def fired(self) -> list[int]:
        return [moment for event in self.events() if isinstance(event, ScheduleFired) for moment in event.firings]

    def runs(self) -> list[str]:
        return [run for event in self.events() if isinstance(event, ScheduleFired) for run in event.runs]

    def skipped(self) -> list[tuple[int, str]]:
        """Each firing that was skipped, with the reason."""
        skips = [event for event in self.events() if isinstance(event, ScheduleSkipped) and not event.command]
        return [(moment, s.reason) for s in skips for moment in firings_between(self.state.spec, s.first_ms, s.last_ms, 100_000)]


def minutely(**fields: Any) -> House:
    return House(Schedule("s", "d", every_ms=MINUTE, **fields))


specs = st.builds(
    lambda cron, overlap, catch_up, jitter: Schedule(
        "s",
        "d",
        cron="*/5 * * * *" if cron else "",
        every_ms=0 if cron else 5 * MINUTE,
        overlap=overlap,
        catch_up=catch_up,
        catch_up_window_ms=30 * MINUTE,
        jitter_ms=jitter,
    ),
    st.booleans(),
    st.sampled_from(["allow", "skip", "buffer_one", "cancel_other"]),
    st.sampled_from(["skip", "all", "latest"]),
    st.sampled_from([0, 20_000]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(1, 60)),
        st.tuples(st.just("down"), st.integers(1, 90)),
        st.tuples(st.just("end"), st.integers(0, 3)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("run_now"), st.just(0)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=150)
@given(specs, steps)
def test_every_firing_is_accounted_for_exactly_once(spec: Schedule, story: list[tuple[str, int]]) -> None:
    """Made, skipped with a reason, or waiting: one of them, whatever happens and wherever the home is killed. No run twice."""
    house = House(spec)
    for action, number in story:
        if action == "pass":
            house.pass_to(house.now_ms + number * MINUTE)
        elif action == "down":
            house.now_ms += number * MINUTE  # Nobody is there to hear the timers.
            house.restart()
            house.settle()
        elif action == "end":
            house.alive -= set(sorted(house.alive)[: number + 1])
            house.settle()
        elif action == "run_now":
            house.give(RunNow())
        else:
            house.restart()
        house.settle()
    state = house.state
    manual = [m for e in house.events() if isinstance(e, ScheduleFired) and e.cause == "run_now" for m in e.firings]
    by_time = list(house.fired())
    for moment in manual:
        by_time.remove(moment)
    skipped = [moment for moment, _ in house.skipped()]
    waiting = [state.buffered_ms] if state.buffered_ms else []
    expected = firings_between(state.spec, BEGIN + 1, state.cursor_ms, 100_000)
    assert sorted([*by_time, *skipped, *waiting]) == expected
    assert len(set(house.runs())) == len(house.runs())
    late_ms = MINUTE * 5 + spec.jitter_ms
    assert house.now_ms - state.cursor_ms <= late_ms, "nothing that is due is left"
    if spec.overlap != "allow":
        assert not any(isinstance(e, ScheduleFired) and e.cause == "time" and len(e.runs) > 1 for e in house.events())


@settings(deadline=None)
@given(st.lists(st.integers(1, 59), min_size=1, max_size=12), st.booleans())
def test_nothing_is_lost_when_all_is_made_up(downs: list[int], by_cron: bool) -> None:
    """Down again and again for less than the window: every firing is made, each once."""
    spec = Schedule("s", "d", cron="* * * * *" if by_cron else "", every_ms=0 if by_cron else MINUTE, overlap="allow")
    house = House(msgspec.structs.replace(spec, catch_up="all", catch_up_window_ms=60 * MINUTE))
    for minutes in downs:
        house.now_ms += minutes * MINUTE
        house.restart()
        house.settle()
    assert house.fired() == firings_between(house.state.spec, BEGIN + 1, house.now_ms, 100_000)
    assert house.skipped() == []


def test_what_was_missed_is_skipped_unless_asked_for() -> None:
    """An hour down: by default the one firing that is not late is made and the others are skipped; `latest` makes one up; `all`
    those within the window."""
    default, latest, window = minutely(), minutely(catch_up="latest"), minutely(catch_up="all", catch_up_window_ms=10 * MINUTE)
    for house in (default, latest, window):
        house.spec = msgspec.structs.replace(house.spec)
        house.now_ms += 60 * MINUTE + MINUTE // 2
        house.settle()
    assert default.fired() == latest.fired() == [BEGIN + 60 * MINUTE]
    assert [reason for _, reason in default.skipped()] == ["missed"] * 59
    assert window.fired() == [BEGIN + 51 * MINUTE]
    assert [reason for _, reason in window.skipped()] == ["missed"] * 50 + ["an earlier run still goes on"] * 9


def test_a_firing_that_is_too_late_is_not_made() -> None:
    """One second before the limit it is made, one after it is skipped."""
    for late_ms, made in ((MISSED_AFTER_MS - 1_000, True), (MISSED_AFTER_MS + 1_000, False)):
        house = House(Schedule("s", "d", every_ms=60 * MINUTE))
        house.now_ms += 60 * MINUTE + late_ms
        house.settle()
        assert bool(house.fired()) is made


def test_skip_makes_nothing_while_a_run_goes_on() -> None:
    """Then it goes on with the next firing."""
    house = minutely()
    house.pass_to(BEGIN + 3 * MINUTE)
    house.alive.clear()
    house.pass_to(BEGIN + 4 * MINUTE)
    assert house.fired() == [BEGIN + MINUTE, BEGIN + 4 * MINUTE]
    assert [moment for moment, _ in house.skipped()] == [BEGIN + 2 * MINUTE, BEGIN + 3 * MINUTE]


def test_buffer_one_makes_the_first_that_came_meanwhile() -> None:
    """It is made when the run ends, under its own moment; the later ones were skipped."""
    house = minutely(overlap="buffer_one")
    house.pass_to(BEGIN + 3 * MINUTE)
    house.restart()
    house.alive.clear()
    house.settle()
    assert house.fired() == [BEGIN + MINUTE, BEGIN + 2 * MINUTE]
    assert house.events()[-1] == ScheduleFired("s", [BEGIN + 2 * MINUTE], house.runs()[-1:], house.runs()[-1:], "buffer")


def test_cancel_other_makes_the_newest_once_the_other_has_ended() -> None:
    """The run is asked to stop; the newest firing begins when it has, so never two at once."""
    house = minutely(overlap="cancel_other")
    house.pass_to(BEGIN + 3 * MINUTE)
    (first,) = house.runs()
    buffered = [event for event in house.events() if isinstance(event, ScheduleBuffered)]
    assert buffered == [ScheduleBuffered("s", BEGIN + n * MINUTE, [first]) for n in (2, 3)]
    house.alive.clear()
    house.settle()
    assert house.fired() == [BEGIN + MINUTE, BEGIN + 3 * MINUTE]
    assert house.skipped() == [(BEGIN + 2 * MINUTE, "a later firing took its place")]


def test_a_pause_is_not_made_up() -> None:
    """Nothing comes meanwhile, nor afterwards for it, whatever the policy of catching up; a firing that waited is dropped."""
    house = minutely(overlap="buffer_one", catch_up="all")
    house.pass_to(BEGIN + 2 * MINUTE)
    house.give(Pause("stocktaking"))
    assert (house.state.paused, house.state.reason, house.state.wake_ms()) == (True, "stocktaking", None)
    house.alive.clear()
    house.pass_to(BEGIN + 10 * MINUTE)
    house.give(Resume("done"))
    house.pass_to(BEGIN + 11 * MINUTE)
    assert house.fired() == [BEGIN + MINUTE, BEGIN + 11 * MINUTE]
    assert house.skipped() == [(BEGIN + 2 * MINUTE, "paused")]


def test_a_person_starts_a_run_at_any_time() -> None:
    """Paused or busy: it starts at once, twice within one millisecond too, and the firings of time are not touched."""
    house = minutely()
    house.pass_to(BEGIN + MINUTE)
    house.give(Pause(""))
    cursor_ms = house.state.cursor_ms
    house.give(RunNow("c1"))
    house.give(RunNow("c2"))
    assert len(set(house.runs())) == 3
    assert house.state.cursor_ms == cursor_ms
    assert house.state.active == house.runs()


def test_a_backfill_makes_what_was_skipped_under_its_own_name() -> None:
    """The run has the id that the firing would have had; asked for while it goes on, nothing is made twice."""
    house = minutely()
    house.pass_to(BEGIN + 3 * MINUTE)
    missing = [moment for moment, _ in house.skipped()]
    (fired,) = house.give(Backfill(missing, "c1"))
    assert fired == ScheduleFired("s", missing, [house.state.run(m) for m in missing], house.runs(), "backfill", "c1")
    (again,) = house.give(Backfill(missing, "c2"))
    assert again == ScheduleSkipped("s", 0, 0, "nothing was left to be made up", "c2")
    assert house.state.cursor_ms == BEGIN + 3 * MINUTE


def test_an_obstacle_is_the_reason_of_a_skip() -> None:
    """A definition that cannot begin costs the firing and nothing else; when it is mended the next one is made."""
    house = minutely()
    house.obstacle = "definition d is not registered"
    house.pass_to(BEGIN + MINUTE)
    house.give(RunNow("c1"))
    house.obstacle = ""
    house.give(Pin("d@2"))
    house.pass_to(BEGIN + 2 * MINUTE)
    assert house.skipped() == [(BEGIN + MINUTE, "definition d is not registered")]
    assert house.fired() == [BEGIN + 2 * MINUTE]
    assert house.state.definition == "d@2"


def test_a_schedule_that_is_gone_is_forgotten() -> None:
    """Events of it that come later fold to nothing."""
    house = minutely(overlap="buffer_one")
    house.pass_to(BEGIN + 2 * MINUTE)
    assert list(house.book.waiting) == ["s"]
    house.give(Remove())
    house.book.evolve(ScheduleChanged("s", True, "d@1", 1))
    assert house.book == Schedules()


def test_a_schedule_may_begin_paused_and_later() -> None:
    """Before `valid_from` there is no firing; the first may be that very moment."""
    house = minutely(valid_from_ms=BEGIN + 90 * MINUTE, paused=True)
    house.pass_to(BEGIN + 80 * MINUTE)
    house.give(Resume(""))
    house.pass_to(BEGIN + 91 * MINUTE)
    assert house.fired()[:1] == [BEGIN + 90 * MINUTE]


@pytest.mark.parametrize(
    "kind", [ScheduleCreated, ScheduleChanged, ScheduleFired, ScheduleBuffered, ScheduleSkipped, ScheduleRemoved]
)
def test_the_codec_knows_the_events(kind: type[Event]) -> None:
    """Each is stored under its name."""
    assert kind.kind == kind.__name__
