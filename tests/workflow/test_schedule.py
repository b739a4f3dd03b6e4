"""The moments of a schedule: cron and intervals, summer time, jitter, ranges; and what is said of a document that is wrong."""

from datetime import UTC, datetime
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow.schedule import (
    Schedule,
    TooManyFirings,
    due_ms,
    firings_after,
    firings_between,
    latest_firing,
    next_firing,
    run_of_firing,
    zone,
)
from workflow.schedule_reading import ScheduleError, read_moment, read_schedule

CRONS = ["*/7 * * * *", "30 2 * * *", "0,30 1-3 * * *", "15 */2 * * *", "0 0 L * *", "5 4 * * MON#2", "59 23 31 12 *"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]


def at(text: str) -> int:
    return read_moment(text)


def local(moments: list[int], name: str) -> list[str]:
    return [datetime.fromtimestamp(moment / 1000, zone(name)).strftime("%m-%d %H:%M%z") for moment in moments]


def firings(cron: str, name: str, first: str, last: str) -> list[str]:
    schedule = Schedule("s", "d", cron=cron, timezone=name)
    return local(firings_between(schedule, at(first), at(last)), name)


def test_a_time_of_day_that_does_not_exist_comes_after_the_gap() -> None:
    """On the last Sunday of March Berlin has no 02:30: the firing comes at 03:00, and once."""
    found = firings("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z")
    assert found == ["03-28 02:30+0100", "03-29 03:00+0200", "03-30 02:30+0200"]
    both = firings("0,30 2 * * *", "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z")
    assert both == ["03-29 03:00+0200"]


def test_a_time_of_day_that_comes_twice_is_fired_once() -> None:
    """On the last Sunday of October Berlin has 02:30 twice: the first counts, from wherever one asks."""
    found = firings("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", "2026-10-26T12:00:00Z")
    assert found == ["10-24 02:30+0200", "10-25 02:30+0200", "10-26 02:30+0100"]
    between = firings("30 2 * * *", "Europe/Berlin", "2026-10-25T00:31:00Z", "2026-10-25T20:00:00Z")
    assert between == []


def test_what_comes_every_hour_or_minute_counts_real_time() -> None:
    """Through both changes an hourly firing comes every 60 minutes, through the gap and in each of the two equal hours."""
    schedule = Schedule("s", "d", cron="0 * * * *", timezone="Europe/Berlin")
    for day in ("2026-03-29T00:00:00+01:00", "2026-10-25T00:00:00+02:00"):
        found = list(islice(firings_after(schedule, at(day)), 8))
        assert {after - before for before, after in pairwise(found)} == {3_600_000}


@settings(deadline=None)
@given(
    st.sampled_from(CRONS),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 - hypothesis takes naive bounds.
    st.integers(0, 59_999),
)
def test_wherever_one_begins_the_firings_are_the_same(cron: str, name: str, begin: datetime, beyond_ms: int) -> None:
    """Asking again after each firing, or from between two, gives the very sequence of one walk; it only ever goes forward."""
    schedule = Schedule("s", "d", cron=cron, timezone=name)
    start = round(begin.replace(tzinfo=UTC).timestamp()) * 1000 + beyond_ms
    walk = list(islice(firings_after(schedule, start), 8))
    assert all(before < after for before, after in zip([start, *walk], walk, strict=False))
    for before, after in pairwise(walk):
        assert next_firing(schedule, before) == after
        assert next_firing(schedule, (before + after) // 2) == after
        assert next_firing(schedule, after - 1) == after
        assert latest_firing(schedule, start, after - 1) == before
    assert firings_between(schedule, walk[0], walk[-1]) == walk


def test_the_latest_of_a_long_time_is_found_from_its_end() -> None:
    """Half a year by the minute, a leap day far back, nothing at all: the same as by walking all of it."""
    end = at("2026-07-01T00:00:30Z")
    minutely, leap = Schedule("s", "d", cron="* * * * *"), Schedule("s", "d", cron="0 0 29 2 *")
    assert latest_firing(minutely, at("2026-01-01T00:00:00Z"), end) == at("2026-07-01T00:00:00Z")
    assert latest_firing(leap, at("2010-01-01T00:00:00Z"), end) == at("2024-02-29T00:00:00Z")
    assert latest_firing(leap, at("2024-02-29T00:00:00Z"), end) is None
    assert latest_firing(Schedule("s", "d", every_ms=60_000, valid_from_ms=end + 1), 0, end) is None


@given(st.integers(1_000, 10**9), st.integers(0, 2 * 10**12), st.integers(0, 2 * 10**12))
def test_intervals_are_counted_from_their_anchor(every_ms: int, anchor_ms: int, after_ms: int) -> None:
    """Each is a whole number of intervals from the anchor, and the next one is within one interval."""
    schedule = Schedule("s", "d", every_ms=every_ms, valid_from_ms=anchor_ms)
    moment = next(firings_after(schedule, after_ms))
    assert (moment - anchor_ms) % every_ms == 0
    assert after_ms < moment <= after_ms + every_ms
    assert latest_firing(schedule, anchor_ms - 1, moment) == (moment if moment >= anchor_ms else None)


def test_a_schedule_is_silent_outside_its_validity() -> None:
    """Both ends belong to it; after the last firing there is none."""
    spec = read_schedule(
        {
            "id": "s",
            "definition": "d",
            "cron": "0 12 * * *",
            "valid_from": "2026-05-01T12:00:00Z",
            "valid_until": "2026-05-02T14:00:00+02:00",
        }
    )
    first = next_firing(spec, 0)
    assert first == at("2026-05-01T12:00:00Z")
    assert next_firing(spec, first) == at("2026-05-02T12:00:00Z")
    assert next_firing(spec, at("2026-05-02T12:00:00Z")) is None


def test_jitter_is_the_same_every_time_and_spreads() -> None:
    """Within its bound, equal for equal firings, different among schedules of one moment."""
    spread = {due_ms(Schedule(f"s{n}", "d", every_ms=1, jitter_ms=10_000), 1_000_000) for n in range(100)}
    assert all(1_000_000 <= due <= 1_010_000 for due in spread)
    assert len(spread) > 90
    assert due_ms(Schedule("s1", "d", jitter_ms=10_000), 5) == due_ms(Schedule("s1", "d", jitter_ms=10_000), 5)


def test_a_range_holds_a_bounded_number_of_firings() -> None:
    """A thousand and one are refused, a thousand are not."""
    schedule = Schedule("s", "d", every_ms=1_000)
    assert len(firings_between(schedule, 1_000, 1_000_000)) == 1_000
    with pytest.raises(TooManyFirings, match="more than 1,000 firings from 1970-01-01T00:00:01Z"):
        firings_between(schedule, 1_000, 1_001_000)


def test_the_run_of_a_firing_is_named_by_it() -> None:
    """The same firing has one id; another moment, another schedule, one created anew, or a run by hand have others."""
    ids = [
        run_of_firing("s", 1, 60_000),
        run_of_firing("s", 1, 61_000),
        run_of_firing("t", 1, 60_000),
        run_of_firing("s", 2, 60_000),
        run_of_firing("s", 1, 60_000, 1),
        run_of_firing("s", 1, 60_000, 2),
    ]
    assert len(set(ids)) == 6
    assert run_of_firing("s", 1, 60_000) == ids[0]


GOOD = {"id": "nightly", "definition": "count@1.0.0", "cron": "0 2 * * *"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cron": "0 2 * *"}, "cron: '0 2 * *' has 4 fields; allowed: five fields: minute hour"),
        ({"cron": "0 25 * * *"}, "cron: '0 25 * * *' is not understood: Bad hour; allowed: five fields"),
        ({"cron": "0 0 31 2 *"}, "cron: '0 0 31 2 *' is not understood: Bad day-of-month"),
        ({"cron": "*/0 * * * *"}, "is not understood: Bad minute"),
        ({"cron": None}, "names neither cron nor every; allowed: exactly one of them"),
        ({"every": "15m"}, "names both cron and every; allowed: exactly one of them"),
        ({"cron": None, "every": "10ms"}, "every: '10ms' is no such span; allowed: a span from 1s to 366d, as 15m"),
        ({"cron": None, "every": True}, "every: true is no such span"),
        ({"timezone": "Europe/Berlni"}, "timezone: unknown time zone 'Europe/Berlni'; allowed: an IANA name"),
        ({"timezone": "../etc/passwd"}, "timezone: unknown time zone '../etc/passwd'"),
        (
            {"overlap": "skp"},
            "overlap: unknown overlap 'skp'; did you mean 'skip'?; allowed: allow, skip, buffer_one, cancel_other",
        ),
        ({"catch_up": "everything"}, "catch_up: unknown catch_up 'everything'; allowed: skip, all, latest"),
        ({"catch_up_window": "1h"}, "catch_up_window: says nothing, for what was missed is skipped"),
        ({"catch_up": "all", "catch_up_window": "40d"}, "'40d' is no such span; allowed: a span from 1m to 31d"),
        (
            {"valid_from": "2026-05-01T12:00:00"},
            "'2026-05-01T12:00:00' does not say in which zone; allowed: ISO 8601 with an offset",
        ),
        ({"valid_from": "tomorrow"}, "'tomorrow' is no moment; allowed: ISO 8601"),
        ({"valid_from": "2026-05-02T00:00:00Z", "valid_until": "2026-05-01T00:00:00Z"}, "valid_until: is not after valid_from"),
        ({"id": "Nightly!"}, "id: 'Nightly!' is not allowed; allowed: a lower-case letter"),
        ({"id": None}, "id: is missing"),
        ({"crom": "0 2 * * *"}, "crom: unknown field 'crom'; did you mean 'cron'?"),
        ({"inputs": [1]}, "inputs: a list is no mapping of inputs"),
        ({"labels": {"a": 1}}, "labels: a mapping is no mapping of labels"),
        ({"paused": "yes"}, "paused: 'yes' is no truth value; allowed: true or false"),
    ],
)
def test_a_wrong_document_is_refused_with_what_is_allowed(change: dict[str, object], said: str) -> None:
    """The message names the field, what was found and what is allowed."""
    with pytest.raises(ScheduleError) as refused:
        read_schedule({**GOOD, **change})
    assert said in str(refused.value)


def test_all_problems_are_told_at_once() -> None:
    """Three mistakes, three lines."""
    with pytest.raises(ScheduleError) as refused:
        read_schedule({**GOOD, "cron": "x", "timezone": "Nowhere", "overlap": "no"})
    assert [problem.path for problem in refused.value.problems] == ["cron", "timezone", "overlap"]
    with pytest.raises(ScheduleError, match="a schedule is a mapping, not a list"):
        read_schedule([])


def test_every_field_is_taken() -> None:
    """What is written is what the schedule says."""
    spec = read_schedule(
        {
            **GOOD,
            "cron": " 0  2 * *   mon-fri ",
            "inputs": {"n": 1},
            "labels": {"team": "a"},
            "timezone": "Europe/Berlin",
            "overlap": "buffer_one",
            "catch_up": "all",
            "catch_up_window": "6h",
            "jitter": 30,
            "paused": True,
            "site": "harbour",
        }
    )
    assert spec == Schedule(
        "nightly",
        "count@1.0.0",
        {"n": 1},
        {"team": "a"},
        "0 2 * * mon-fri",
        0,
        "Europe/Berlin",
        "buffer_one",
        "all",
        21_600_000,
        0,
        0,
        30_000,
        True,
        "harbour",
    )
