from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.research import Array
from engine.research.weights import balance, recency, uniqueness

spans = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15)), min_size=1, max_size=30)


def by_bars(begin: list[int], end: list[int]) -> list[float]:
    """Lopez de Prado's matrix of bars and labels, on bars (t - 1, t]."""
    under_way = {bar: sum(b < bar <= e for b, e in zip(begin, end, strict=True)) for bar in range(1, 60)}
    return [
        float(np.mean([1 / under_way[bar] for bar in range(b + 1, e + 1)]))
        for b, e in zip(begin, end, strict=True)
    ]


@given(spans)
def test_uniqueness_on_a_grid_is_that_of_the_book(drawn: list[tuple[int, int]]) -> None:
    begin = [start for start, _ in drawn]
    end = [start + length for start, length in drawn]

    np.testing.assert_allclose(uniqueness(np.array(begin), np.array(end)), by_bars(begin, end), rtol=1e-12)


@given(spans)
def test_uniqueness_does_not_depend_on_the_unit_of_time_or_the_order(drawn: list[tuple[int, int]]) -> None:
    begin = np.array([start for start, _ in drawn])
    end = begin + [length for _, length in drawn]
    order = np.random.default_rng(1).permutation(len(begin))

    found = uniqueness(begin, end)

    np.testing.assert_allclose(uniqueness(begin * 3_600_000, end * 3_600_000), found, rtol=1e-9)
    np.testing.assert_allclose(uniqueness(begin[order], end[order]), found[order], rtol=1e-9)


def test_labels_of_every_close_share_their_span_with_as_many_as_the_horizon() -> None:
    begin = np.arange(100) * 3_600_000

    found = uniqueness(begin, begin + 12 * 3_600_000)

    np.testing.assert_allclose(found[20:80], 1 / 12)
    assert found[0] > found[5] > 1 / 12


def test_a_label_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="label 1 ends at 5"):
        uniqueness(np.array([0, 5]), np.array([1, 5]))


def test_recency_halves_with_each_half_life_whatever_the_order() -> None:
    assert recency(np.array([300, 0, 200, 100]), half_life=100).tolist() == [1.0, 0.125, 0.5, 0.25]
    assert recency(np.zeros(0, np.int64), half_life=100).tolist() == []


def test_a_half_life_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="half-life"):
        recency(np.array([1]), half_life=0)


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.1, 10)), min_size=1, max_size=60))
def test_balanced_classes_weigh_the_same_and_the_whole_weighs_as_before(
    drawn: list[tuple[int, float]],
) -> None:
    y = np.array([float(label) for label, _ in drawn])
    weight = np.array([heft for _, heft in drawn])

    for given_weight, base in ((None, np.ones(len(y))), (weight, weight)):
        balanced: Array = balance(y, given_weight) * base
        totals = [balanced[y == label].sum() for label in np.unique(y)]

        np.testing.assert_allclose(totals, totals[0])
        np.testing.assert_allclose(balanced.sum(), base.sum())


def test_an_unknown_class_and_one_without_weight_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 labels are nan"):
        balance(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="some weight"):
        balance(np.array([1.0, 0.0]), np.array([1.0, 0.0]))
