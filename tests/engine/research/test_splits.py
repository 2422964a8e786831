"""Splits of many shapes: audited, and held against labels looked up candle by candle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine.research import Ints
from engine.research.labels import moves
from engine.research.splits import Fold, audit, early_stop_slice, evenly, purged_k_fold, walk_forward

STEP = 10


@st.composite
def pooled(draw: st.DrawFn) -> Ints:
    """Closes of several symbols with holes of their own and common ones, listed late, shuffled."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    grid = draw(st.integers(80, 250))
    common = rng.random(grid) >= draw(st.sampled_from([0.0, 0.05, 0.3]))
    if draw(st.booleans()):
        hole = int(rng.integers(10, grid - 30))
        common[hole : hole + 20] = False
    rows: list[Ints] = []
    for _ in range(draw(st.integers(1, 4))):
        own = common & (rng.random(grid) >= draw(st.sampled_from([0.0, 0.2])))
        own[: int(rng.integers(0, grid // 2)) if rows else 0] = False
        rows.append(np.flatnonzero(own) * STEP + 1000)
    return rng.permutation(np.concatenate(rows)).astype(np.int64)


shapes = {"horizon": st.integers(1, 12), "embargo": st.integers(0, 6)}


def all_splits(time: Ints, horizon: int, embargo: int) -> Iterator[Fold]:
    """Every kind; what cannot be made of so few rows is left out."""
    makers: tuple[Callable[[], list[Fold]], ...] = (
        lambda: list(purged_k_fold(time, STEP, horizon, embargo, k=4)),
        lambda: list(walk_forward(time, STEP, horizon, embargo, edges=evenly(time, 3))),
        lambda: list(walk_forward(time, STEP, horizon, embargo, edges=evenly(time, 3), window=40 * STEP)),
        lambda: [early_stop_slice(time, STEP, horizon, embargo, share=0.2)],
    )
    for make in makers:
        try:
            yield from make()
        except ValueError as fault:
            assert "nothing is left to learn from" in str(fault)  # noqa: PT017


@given(time=pooled(), **shapes)
def test_the_audit_finds_nothing_in_any_split(time: Ints, horizon: int, embargo: int) -> None:
    folds = list(all_splits(time, horizon, embargo))
    assume(folds)

    for fold in folds:
        assert audit(time, fold.train, fold.test, STEP, horizon, embargo) == []
        assert len(fold.train) > 0
        assert len(fold.test) > 0


@given(time=pooled(), pick=st.integers(0, 10_000), **shapes)
def test_the_audit_finds_every_planted_row_and_only_those(
    time: Ints, horizon: int, embargo: int, pick: int
) -> None:
    folds = list(all_splits(time, horizon, embargo))
    assume(folds)
    fold = folds[pick % len(folds)]
    tests = time[fold.test]
    rng = np.random.default_rng(pick)
    others = rng.permutation(np.setdiff1d(np.arange(len(time)), fold.train))[:5]

    def near(row: int) -> bool:
        """Whether some test row is nearer than the definition allows, told from two numbers."""
        apart = time[row] - tests
        behind = (apart > 0) & (apart <= (horizon + embargo) * STEP)
        before = (apart <= 0) & (-apart < (horizon + embargo) * STEP)
        return bool((behind | before | (np.abs(apart) <= horizon * STEP)).any())

    found = audit(time, np.concatenate([others, fold.train]), fold.test, STEP, horizon, embargo)

    assert sorted(found) == sorted(int(row) for row in others if near(int(row)))


def test_a_planted_overlap_is_caught_in_the_training_rows_of_a_plain_split() -> None:
    time = np.arange(100)
    train, test = np.arange(80), np.arange(80, 100)

    assert audit(time, train, test, 1, horizon=12, embargo=1) == list(range(68, 80))
    assert audit(time, train, test, 1, horizon=12, embargo=0) == list(range(68, 80))
    assert audit(time, train[:68], test, 1, horizon=12, embargo=1) == []


@given(time=pooled(), **shapes)
def test_no_row_that_could_be_kept_is_purged(time: Ints, horizon: int, embargo: int) -> None:
    try:
        folds = list(purged_k_fold(time, STEP, horizon, embargo, k=4))
    except ValueError:
        assume(False)

    for fold in folds:
        others = np.setdiff1d(np.arange(len(time)), np.concatenate([fold.train, fold.test]))

        assert sorted(audit(time, others, fold.test, STEP, horizon, embargo)) == others.tolist()


@given(time=pooled(), **shapes)
def test_k_folds_test_every_row_once_and_a_close_only_together(
    time: Ints, horizon: int, embargo: int
) -> None:
    try:
        folds = list(purged_k_fold(time, STEP, horizon, embargo, k=4))
    except ValueError:
        assume(False)
    tested = np.concatenate([fold.test for fold in folds])
    spans = [(time[fold.test].min(), time[fold.test].max()) for fold in folds]

    assert sorted(tested.tolist()) == list(range(len(time)))
    assert all(end < begin for (_, end), (begin, _) in pairwise(spans))
    for fold in folds:
        assert not set(time[fold.train]) & set(time[fold.test])


@given(time=pooled(), **shapes)
def test_what_is_learned_walking_forward_was_known_when_its_version_begins_to_serve(
    time: Ints, horizon: int, embargo: int
) -> None:
    edges = evenly(time, 3)
    try:
        folds = list(walk_forward(time, STEP, horizon, embargo, edges=edges))
    except ValueError:
        assume(False)

    assert len(folds) == 3
    for fold, begin in zip(folds, edges, strict=False):
        data_until = time[fold.train].max()

        assert begin == time[fold.test].min()
        assert data_until + (horizon + embargo) * STEP <= begin


@given(time=pooled(), window=st.integers(30, 100), **shapes)
def test_a_rolling_window_forgets_and_an_expanding_one_does_not(
    time: Ints, window: int, horizon: int, embargo: int
) -> None:
    edges = evenly(time, 3)
    try:
        rolling = list(walk_forward(time, STEP, horizon, embargo, edges=edges, window=window * STEP))
        expanding = list(walk_forward(time, STEP, horizon, embargo, edges=edges))
    except ValueError:
        assume(False)

    for short, long, begin in zip(rolling, expanding, edges, strict=False):
        kept = time[long.train] >= begin - window * STEP

        assert short.train.tolist() == long.train[kept].tolist()
        assert short.test.tolist() == long.test.tolist()
        assert time[long.train].min() == time.min()


def test_a_label_is_of_its_own_symbol_and_never_reaches_into_the_test_span_of_another() -> None:
    # Two symbols with holes in turn: a label that took any other symbol's close would be wrong or missing.
    grids = [np.array([t for t in range(200) if t % 17 > 3 * symbol]) for symbol in (0, 1)]
    closes = [1000.0**symbol * np.arange(1.0, len(grid) + 1) for symbol, grid in enumerate(grids)]
    labels = [moves(grid, close, 1, 12) for grid, close in zip(grids, closes, strict=True)]
    time, label = np.concatenate(grids), np.concatenate(labels)
    symbol = np.repeat([0, 1], [len(grid) for grid in grids])
    known = np.flatnonzero(~np.isnan(label))
    there = {(int(s), int(t)) for s, t in zip(symbol, time, strict=True)}

    assert {(int(symbol[row]), int(time[row]) + 12) for row in known} <= there
    for fold in purged_k_fold(time[known], 1, 12, 1, k=5):
        tests = time[known][fold.test]
        ends = time[known][fold.train] + 12

        assert not ((ends >= tests.min()) & (time[known][fold.train] <= tests.max() + 12)).any()


def test_the_last_share_is_stopped_by_and_what_touches_it_is_not_learned_from() -> None:
    time = np.tile(np.arange(100), 3)

    fold = early_stop_slice(time, 1, 12, 1, share=0.2)

    assert sorted(set(time[fold.test].tolist())) == list(range(80, 100))
    assert time[fold.train].max() == 67
    assert len(fold.test) == 60


def test_blocks_without_rows_are_passed_over() -> None:
    time = np.concatenate([np.arange(50), np.arange(70, 100)])

    folds = list(walk_forward(time, 1, 2, 1, edges=(40, 50, 60, 70, 80)))

    assert [(time[fold.test].min(), time[fold.test].max()) for fold in folds] == [(40, 49), (70, 79)]


def test_blocks_of_equal_length_need_no_more_than_a_range() -> None:
    folds = list(walk_forward(np.arange(100), 1, 2, 1, edges=range(40, 101, 30)))

    assert [fold.test[[0, -1]].tolist() for fold in folds] == [[40, 69], [70, 99]]


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (lambda time: list(walk_forward(time, 1, 12, 1, edges=(5, 10))), "nothing is left to learn from"),
        (lambda time: list(walk_forward(time, 1, 12, 1, edges=(20, 10))), "must ascend"),
        (lambda time: list(purged_k_fold(time, 1, 12, 1, k=1)), "at least 2 folds"),
        (lambda time: list(purged_k_fold(time, 1, 30, 1, k=2)), "nothing is left to learn from"),
        (lambda time: list(purged_k_fold(time, 1, 0, 1, k=2)), "must be above 0"),
        (lambda time: list(purged_k_fold(time, 1, 2, 1, k=31)), "cannot be cut into 31"),
        (lambda time: early_stop_slice(time, 1, 12, 1, share=0.0), "share"),
        (lambda time: early_stop_slice(time, 1, 12, -1), "embargo -1"),
    ],
)
def test_a_split_that_cannot_be_made_says_why(split: Callable[[Ints], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        split(np.arange(30))
