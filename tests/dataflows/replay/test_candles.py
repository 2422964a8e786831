"""Sums and parts of candles against the plain definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataflows.replay.candles import DAY, SPANS, Candles, aggregate, floor, merge, partial

prices = st.floats(1.0, 1e5, allow_nan=False)


@st.composite
def runs(draw: st.DrawFn) -> Candles:
    """Minutes with holes, on the grid."""
    minutes = sorted(draw(st.sets(st.integers(0, 60), min_size=1, max_size=40)))
    rows = []
    for _ in minutes:
        four = sorted(draw(st.tuples(prices, prices, prices, prices)))
        rows.append([four[1], four[3], four[0], four[2], *draw(st.tuples(*[st.floats(0, 100)] * 5))])
    return Candles(np.array(minutes, np.int64) * 60_000, np.array(rows, float))


@given(runs(), st.sampled_from(["3m", "5m", "15m", "1h"]))
def test_an_aggregated_candle_is_first_highest_lowest_last_and_sums(run: Candles, interval: str) -> None:
    span = SPANS[interval]
    total = aggregate(run, span)

    assert total.time.tolist() == sorted({t // span * span for t in run.time.tolist()})
    for opened, row in zip(total.time.tolist(), total.values, strict=True):
        part = run.between(opened, opened + span).values
        assert row[0] == part[0, 0]
        assert row[1] == part[:, 1].max()
        assert row[2] == part[:, 2].min()
        assert row[3] == part[-1, 3]
        np.testing.assert_allclose(row[4:], part[:, 4:].sum(axis=0))


@given(runs(), st.floats(0, 1))
def test_a_candle_in_progress_stays_inside_the_one_it_becomes(run: Candles, share: float) -> None:
    whole = run.values[0].tolist()
    now = partial(whole, share, 8)

    assert now[0] == whole[0]
    assert whole[2] <= now[2] <= min(now[0], now[3])
    assert max(now[0], now[3]) <= now[1] <= whole[1]
    assert now[4] <= whole[4]


def test_merging_keeps_own_rows_and_fills_only_what_is_missing() -> None:
    own = Candles(np.array([0, 120_000]), np.full((2, 9), 1.0))
    other = Candles(np.array([0, 60_000]), np.full((2, 9), 2.0))
    both = merge(own, other)

    assert both.time.tolist() == [0, 60_000, 120_000]
    assert both.values[:, 0].tolist() == [1.0, 2.0, 1.0]


def test_weeks_begin_on_monday() -> None:
    sunday_night = 1_748_822_399_000  # 2025-06-01T23:59:59Z

    assert floor(sunday_night, 7 * DAY) == 1_748_217_600_000  # 2025-05-26, a Monday
