"""When a training is due: often enough, never twice for one span, and after a failure each time later."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.training.diary import Attempt, Diary
from dataflows.training.schedule import (
    FIRST_PAUSE,
    begun,
    failed,
    is_due,
    next_due,
    pause,
    recovered,
    trained,
)

HOUR = 3_600_000
EVERY = 6 * HOUR
NOW = 1_760_000_400_000

spans = st.integers(min_value=0, max_value=400 * HOUR)


def run(diary: Diary, now: int, lasts: int = 0, *, fails: bool = False) -> Diary:
    """The diary after one whole run."""
    diary = begun(diary, now)
    assert diary.attempt is not None
    done = replace(diary.attempt, ended=now + lasts)
    return failed(diary, done) if fails else trained(diary, done)


def test_the_first_run_is_due_at_once() -> None:
    assert is_due(Diary(), 0, EVERY)
    assert next_due(Diary(), EVERY) == 0


@given(missed=spans)
def test_however_many_runs_were_missed_one_makes_up_for_them(missed: int) -> None:
    diary = run(Diary(), NOW)
    later = NOW + EVERY + missed

    assert is_due(diary, later, EVERY)

    diary = run(diary, later)

    assert not is_due(diary, later + EVERY - 1, EVERY)
    assert is_due(diary, later + EVERY, EVERY)


@given(looks=st.lists(st.integers(1, 2 * HOUR), min_size=1, max_size=200))
def test_however_one_looks_two_runs_are_a_whole_span_apart_and_none_is_skipped(looks: list[int]) -> None:
    diary, now, runs = Diary(), NOW, []
    for step in looks:
        now += step
        # Read back from its text each time: a restart between two looks changes nothing.
        diary = Diary.read(diary.text())
        if is_due(diary, now, EVERY):
            diary = run(diary, now)
            runs.append((now, step))

    gaps = [(later - earlier, step) for (earlier, _), (later, step) in pairwise(runs)]
    assert all(EVERY <= gap < EVERY + step for gap, step in gaps)
    assert now - runs[-1][0] < EVERY + looks[-1]


@given(wall=st.integers(60, 3_600), rate=st.sampled_from([1, 60]))
def test_the_span_is_of_stream_time_at_any_speed(wall: int, rate: int) -> None:
    # A look every second of wall time; at sixty times the speed six hours are six minutes.
    diary, runs = Diary(), 0
    for second in range(wall):
        now = NOW + second * rate * 1000
        if is_due(diary, now, EVERY):
            diary, runs = run(diary, now), runs + 1

    assert runs == 1 + (wall - 1) * rate * 1000 // EVERY


@given(failures=st.integers(1, 40), lasts=spans)
def test_after_failures_it_is_tried_later_and_later_and_never_later_than_a_span(
    failures: int, lasts: int
) -> None:
    diary, now, waits = Diary(), NOW, []
    for _ in range(failures):
        diary = run(diary, now, lasts, fails=True)
        waits.append(next_due(diary, EVERY) - now - lasts)
        now = next_due(diary, EVERY)

        assert not is_due(diary, now - 1, EVERY)
        assert is_due(diary, now, EVERY)

    assert waits[0] == FIRST_PAUSE
    assert waits == sorted(waits)
    assert max(waits) <= EVERY
    assert run(diary, now).failures == 0


def test_a_span_shorter_than_the_first_pause_bounds_it_too() -> None:
    assert pause(1, 60_000) == 60_000


def test_a_request_is_heeded_before_its_time_and_after_a_failure_not_at_once() -> None:
    well = run(Diary(), NOW)
    ill = run(Diary(), NOW, fails=True)
    ill = run(ill, NOW, fails=True)

    assert is_due(well, NOW + 1, EVERY, asked=True)
    assert not is_due(ill, NOW + FIRST_PAUSE - 1, EVERY, asked=True)
    assert is_due(ill, NOW + FIRST_PAUSE, EVERY, asked=True)
    assert not is_due(ill, NOW + FIRST_PAUSE, EVERY)


def test_a_request_is_remembered_with_the_run_that_heeds_it() -> None:
    assert begun(Diary(handled="3-0"), NOW, "7-1").handled == "7-1"
    assert begun(Diary(handled="3-0"), NOW).handled == "3-0"


def test_what_was_running_at_a_kill_counts_as_failed_and_waits() -> None:
    found = recovered(begun(run(Diary(), NOW - EVERY), NOW))

    assert found.attempt is not None
    assert (found.attempt.result, found.failures) == ("failed", 1)
    assert next_due(found, EVERY) == NOW + FIRST_PAUSE
    assert recovered(run(Diary(), NOW)) == run(Diary(), NOW)


@pytest.mark.parametrize(("back", "due"), [(EVERY, False), (EVERY + 1, True)])
def test_a_clock_that_is_another_one_begins_anew(back: int, due: bool) -> None:
    assert is_due(Diary(Attempt(NOW, NOW, "trained")), NOW - back, EVERY) is due
