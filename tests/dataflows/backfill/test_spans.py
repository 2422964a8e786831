"""Arithmetic of stretches of time, beside the same with sets of instants."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataflows.backfill.spans import DAY, Range, common, minus, months, pages, periods, runs, stamp, union

ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


def instants(spans: list[Range] | list[tuple[int, int]]) -> set[int]:
    return {at for begin, end in spans for at in range(begin, end)}


@given(ranges, ranges)
def test_ranges_are_sets_of_instants(ours: list[tuple[int, int]], theirs: list[tuple[int, int]]) -> None:
    assert instants(union(ours + theirs)) == instants(ours) | instants(theirs)
    assert instants(minus(ours, theirs)) == instants(ours) - instants(theirs)
    assert instants(common(ours, theirs)) == instants(ours) & instants(theirs)


@given(ranges, ranges)
def test_ranges_are_sorted_and_do_not_touch(
    ours: list[tuple[int, int]], theirs: list[tuple[int, int]]
) -> None:
    for found in (union(ours), minus(ours, theirs), common(ours, theirs)):
        flat = [at for span in found for at in span]
        assert flat == sorted(set(flat))


@given(st.sets(st.integers(0, 60)))
def test_runs_hold_the_times_and_nothing_missing(steps: set[int]) -> None:
    times = np.array(sorted(steps), dtype=np.int64) * 5

    assert {at for at in instants(runs(times, 5)) if at % 5 == 0} == set(times.tolist())


@given(ranges, st.integers(1, 25))
def test_pages_cover_every_hole_and_none_is_too_long(holes: list[tuple[int, int]], longest: int) -> None:
    found = pages(union(holes), longest)

    assert instants(union(holes)) <= instants(found)
    assert all(0 < end - begin <= longest for begin, end in found)
    assert len(found) <= sum(-(-(end - begin) // longest) for begin, end in union(holes))


@given(st.lists(st.tuples(st.integers(0, 2 * 10**12), st.integers(1, 100 * DAY)), max_size=4))
def test_months_cut_ranges_without_loss(given_: list[tuple[int, int]]) -> None:
    spans = union([(begin, begin + length) for begin, length in given_])
    cut = list(months(spans))

    assert union([part for _, parts in cut for part in parts]) == spans
    assert [month for month, _ in cut] == periods(spans, monthly=True)
    assert all(month.begin <= a < b <= month.end for month, parts in cut for a, b in parts)


def test_a_year_has_its_months_and_days() -> None:
    leap = [Range(1_704_067_200_000, 1_735_689_600_000)]

    assert [stamp(month) for month in periods(leap, monthly=True)] == [f"2024-{n:02d}" for n in range(1, 13)]
    assert len(periods(leap, monthly=False)) == 366
