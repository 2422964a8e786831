"""Intervals against the resampling they stand for, done row by row, and against what theory expects."""

from __future__ import annotations

from math import isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng
from scipy.stats import binomtest

from engine.records import INTERVALS
from engine.research import Array, Ints
from engine.research.metrics import auc, brier_skill, ece
from engine.research.significance import DAY, Days, between, blocks, time_shift_null, wilson

HOUR = INTERVALS["1h"]


def rows(days: int, a_day: int, seed: int) -> tuple[Ints, Array, Array]:
    """Times (some days without rows), probabilities with ties, outcomes that lean their way."""
    rng = default_rng(seed)
    day = rng.choice(np.arange(days), size=days * 3 // 4, replace=False)
    time = (1_000 + np.repeat(day, a_day)) * DAY + rng.integers(1, 25, len(day) * a_day) * HOUR
    p = np.round(rng.beta(4, 4, len(time)), 2)
    return time, p, (rng.random(len(time)) < p).astype(np.float64)


@given(seed=st.integers(0, 1000), days=st.integers(1, 50), length=st.integers(1, 12))
def test_blocks_are_runs_of_days_around_the_circle(seed: int, days: int, length: int) -> None:
    drawn = blocks(default_rng(seed), days, length)

    assert len(drawn) == days
    assert ((drawn >= 0) & (drawn < days)).all()
    for start in range(0, days, length):
        run = drawn[start : start + length]
        assert run.tolist() == [(run[0] + step) % days for step in range(len(run))]


def test_every_day_is_drawn_equally_often() -> None:
    days = Days.of(np.arange(1, 41) * DAY, default_rng(1), length=7, count=4000)

    assert days.drawn.sum(axis=1).tolist() == [40.0] * 4000
    np.testing.assert_allclose(days.drawn.mean(axis=0), 1, atol=0.07)


def test_a_close_at_midnight_belongs_to_the_day_it_ends() -> None:
    days = Days.of(np.array([DAY - HOUR, DAY, DAY + HOUR, 2 * DAY]), default_rng(1))

    assert days.day.tolist() == [0, 0, 1, 1]


def told(days: Days, draw: Array) -> Ints:
    """The rows of one resample, each as often as its day was drawn."""
    return np.repeat(np.arange(len(days.day)), draw[days.day].astype(np.int64))


def test_every_interval_is_that_of_the_figure_on_the_rows_drawn() -> None:
    time, p, y = rows(30, 20, seed=2)
    days = Days.of(time, default_rng(3), count=60)
    drawn = [told(days, draw) for draw in days.drawn]
    weight = np.linspace(0.5, 2, len(p))

    def by_hand(figure: list[float]) -> object:
        return pytest.approx(between(np.array(figure)), abs=1e-12)

    assert days.mean(y) == by_hand([y[row].mean() for row in drawn])
    assert days.mean(y, weight) == by_hand([np.average(y[row], weights=weight[row]) for row in drawn])
    assert days.auc(p, y) == by_hand([auc(p[row], y[row]) for row in drawn])
    assert days.skill((p - y) ** 2, (0.5 - y) ** 2) == by_hand(
        [brier_skill(p[row], y[row], 0.5) for row in drawn]
    )


def test_a_statistic_of_several_sums_has_its_interval_too() -> None:
    time, p, y = rows(30, 20, seed=4)
    days = Days.of(time, default_rng(5), count=60)
    place = np.minimum((p * 15).astype(np.int64), 14)
    addends = [(p - y) * (place == k) for k in range(15)]

    found = days.interval(
        lambda n, *gaps: np.abs(np.array(gaps)).sum(axis=0) / n, np.ones(len(p)), *addends, level=0.9
    )
    drawn = [told(days, draw) for draw in days.drawn]

    assert found == pytest.approx(between(np.array([ece(p[row], y[row]) for row in drawn]), 0.9))


def test_rows_that_share_their_day_count_as_fewer() -> None:
    rng = default_rng(6)
    time = np.repeat(np.arange(1, 201) * DAY, 10)
    shared = np.repeat((rng.random(200) < 0.5).astype(np.float64), 10)

    low, high = Days.of(time, default_rng(7), length=1).mean(shared)

    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / sqrt(200), rel=0.15)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(120):
        rng = default_rng(seed)
        time = np.repeat(np.arange(1, 101) * DAY, 4)
        values = np.repeat(rng.normal(0.3, 1, 100), 4) + rng.normal(0, 1, 400)
        low, high = Days.of(time, rng, length=2, count=200).mean(values)
        held += low <= 0.3 <= high

    assert 0.85 < held / 120 < 0.99


def test_what_no_resample_can_tell_is_nan_and_what_some_can_is_left_to_them() -> None:
    time = np.arange(1, 9) * DAY
    days = Days.of(time, default_rng(8), length=1, count=200)
    sparse = np.array([1.0, *[0.0] * 7])

    assert all(isnan(bound) for bound in days.auc(np.linspace(0, 1, 8), np.ones(8)))
    assert days.interval(np.divide, sparse, sparse) == (1, 1)
    assert all(isnan(bound) for bound in between(np.array([nan, nan])))


def test_no_rows_cannot_be_resampled() -> None:
    with pytest.raises(ValueError, match="no rows"):
        Days.of(np.zeros(0, np.int64), default_rng(1))


def market(rows: int, symbols: int, seed: int) -> tuple[Ints, Ints, Array]:
    """Pooled rows of symbols that move together, outcomes overlapping over 12 candles."""
    rng = default_rng(seed)
    common = rng.normal(size=rows + 12)
    sums = [np.convolve(common + rng.normal(size=rows + 12), np.ones(12), "valid") for _ in range(symbols)]
    up = np.concatenate([(sum_[:rows] > 0).astype(np.float64) for sum_ in sums])
    return np.tile(np.arange(1, rows + 1) * HOUR, symbols), np.repeat(np.arange(symbols), rows), up


def test_shifted_labels_are_those_of_another_time_of_the_same_symbol() -> None:
    time, symbol, y = market(300, 3, seed=9)
    keep = default_rng(1).permutation(np.flatnonzero((time // HOUR + symbol) % 11 != 0))
    time, symbol, y = time[keep], symbol[keep], y[keep]
    p = default_rng(10).random(len(y)).round(2)
    at = {(int(s), int(t)): float(label) for s, t, label in zip(symbol, time, y, strict=True)}
    first, span = int(time.min()), int((time.max() - time.min()) // HOUR) + 1

    found = time_shift_null(p, y, time, symbol, HOUR, default_rng(11), count=5, least=50)

    for value, shift in zip(found, default_rng(11).integers(50, span - 50, 5, endpoint=True), strict=True):
        keys = [
            (int(s), first + int(((t - first) // HOUR + shift) % span * HOUR))
            for s, t in zip(symbol, time, strict=True)
        ]
        there = np.array([key in at for key in keys])
        other = np.array([at[key] for key in keys if key in at])

        assert value == pytest.approx(auc(p[there], other), abs=1e-12)


def test_the_null_lies_around_a_half_and_does_not_know_a_skill_that_is_there() -> None:
    time, symbol, y = market(4000, 4, seed=12)
    p = np.clip(0.5 + 0.2 * (y - 0.5) + default_rng(13).normal(0, 0.2, len(y)), 0, 1)

    null = time_shift_null(p, y, time, symbol, HOUR, default_rng(14), count=100)

    assert between(null).low < 0.5 < between(null).high
    assert between(null).high < 0.55 < auc(p, y)


def test_the_null_keeps_what_trends_alone_would_explain() -> None:
    # Predictions as slow as the outcomes and the same for every symbol: chance reaches farther than rows say.
    time, symbol, y = market(2000, 4, seed=15)
    slow = np.tile(np.convolve(default_rng(16).normal(size=2023), np.ones(24), "valid"), 4)
    quick = default_rng(17).random(len(y))

    wide = between(time_shift_null(slow, y, time, symbol, HOUR, default_rng(18)))
    narrow = between(time_shift_null(quick, y, time, symbol, HOUR, default_rng(18)))

    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_too_short_a_time_to_shift_is_refused() -> None:
    time, symbol, y = market(200, 2, seed=19)

    with pytest.raises(ValueError, match="shifted by 500 candles or more within 200"):
        time_shift_null(y, y, time, symbol, HOUR, default_rng(1))


@given(n=st.integers(1, 5000), share=st.floats(0, 1), level=st.sampled_from([0.9, 0.95, 0.9997]))
def test_wilson_is_scipys(n: int, share: float, level: float) -> None:
    hits = round(share * n)
    expected = binomtest(hits, n).proportion_ci(level, method="wilson")

    found = wilson(hits, n, level)

    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_fewer_independent_tries_make_the_interval_wider() -> None:
    every, few = wilson(5300, 10_000), wilson(53, 100)

    assert every.low > 0.5 > few.low
    with pytest.raises(ValueError, match="3 hits of 2"):
        wilson(3, 2)
