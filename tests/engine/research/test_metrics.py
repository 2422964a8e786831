"""Each figure against scikit-learn, or against its formula written out row by row."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from engine.research import Array
from engine.research import metrics as ours

rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.6, 0.95, 1.0]) | st.floats(0, 1), st.integers(0, 1),
              st.floats(0.01, 5)),
    min_size=2, max_size=60,
)  # fmt: skip
thirds = st.lists(
    st.tuples(st.tuples(*[st.floats(0.001, 1)] * 3), st.integers(0, 2), st.floats(0.01, 5)),
    min_size=1, max_size=40,
)  # fmt: skip


def apart(drawn: list[tuple[float, int, float]]) -> tuple[Array, Array, Array]:
    p, y, weight = (np.array(column, dtype=np.float64) for column in zip(*drawn, strict=True))
    return p, y, weight


@given(rows)
def test_auc_is_that_of_every_pair_ties_counting_half(drawn: list[tuple[float, int, float]]) -> None:
    p, y, weight = apart(drawn)
    assume(0 < y.sum() < len(y))
    true, false = y == 1, y == 0
    pairs = np.sign(p[true][:, None] - p[false][None]) / 2 + 0.5
    heft = weight[true][:, None] * weight[false][None]

    assert ours.auc(p, y) == pytest.approx(pairs.mean(), abs=1e-12)
    assert ours.auc(p, y, weight) == pytest.approx((pairs * heft).sum() / heft.sum(), abs=1e-12)
    assert ours.auc(p, y, weight) == pytest.approx(oracle.roc_auc_score(y, p, sample_weight=weight), abs=1e-9)


@given(rows)
def test_two_class_losses_are_those_of_scikit_learn(drawn: list[tuple[float, int, float]]) -> None:
    p, y, weight = apart(drawn)
    clipped = np.clip(p, ours.SUREST, 1 - ours.SUREST)

    for given_weight in (None, weight):
        options = {"sample_weight": given_weight}
        expected = oracle.log_loss(y, clipped, labels=[0, 1], **options)

        assert ours.brier(p, y, given_weight) == pytest.approx(oracle.brier_score_loss(y, p, **options))
        assert ours.log_loss(p, y, given_weight) == pytest.approx(expected, abs=1e-9)
        assert ours.accuracy(p, y, given_weight) == pytest.approx(
            oracle.accuracy_score(y, p > 0.5, **options)
        )


@given(rows)
def test_calibration_error_is_its_definition_bin_by_bin(drawn: list[tuple[float, int, float]]) -> None:
    p, y, weight = apart(drawn)
    total = 0.0
    table = []
    for place in range(15):
        inside = (np.floor(p * 15) == place) | ((place == 14) & (p == 1))
        if inside.any():
            said, came = (np.average(v[inside], weights=weight[inside]) for v in (p, y))
            total += weight[inside].sum() / weight.sum() * abs(said - came)
            table.append((weight[inside].sum(), said, came))

    found = ours.reliability(p, y, weight)

    assert ours.ece(p, y, weight) == pytest.approx(total, abs=1e-12)
    np.testing.assert_allclose(np.array(found), np.array(table), atol=1e-12)
    assert sum(row.n for row in ours.reliability(p, y)) == len(p)


@given(thirds)
def test_three_class_figures_are_their_definitions(
    drawn: list[tuple[tuple[float, ...], int, float]],
) -> None:
    p3 = np.array([row for row, _, _ in drawn])
    p3 = p3 / p3.sum(axis=1, keepdims=True)
    y = np.array([label for _, label, _ in drawn])
    weight = np.array([heft for _, _, heft in drawn])
    each = [sum((p - (k == label)) ** 2 for k, p in enumerate(row)) for row, label in zip(p3, y, strict=True)]
    clipped = np.clip(p3[np.arange(len(y)), y], 1e-6, 1 - 1e-6)

    assert ours.brier3(p3, y) == pytest.approx(np.mean(each))
    assert ours.brier3(p3, y, weight) == pytest.approx(np.average(each, weights=weight))
    assert ours.log_loss3(p3, y, weight) == pytest.approx(np.average(-np.log(clipped), weights=weight))
    assert ours.accuracy3(p3, y) == pytest.approx(oracle.accuracy_score(y, p3.argmax(axis=1)))


@given(rows)
def test_a_weight_of_two_is_a_row_told_twice(drawn: list[tuple[float, int, float]]) -> None:
    p, y, _ = apart(drawn)
    times = 1 + np.arange(len(p)) % 3
    told = np.repeat(np.arange(len(p)), times)

    for figure in (ours.auc, ours.brier, ours.log_loss, ours.accuracy, ours.ece):
        twice = figure(p[told], y[told])

        assert figure(p, y, times.astype(np.float64)) == pytest.approx(twice, abs=1e-12, nan_ok=True)


def test_skill_is_0_for_the_base_rate_itself_and_1_for_the_truth() -> None:
    y = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    base = np.full(5, y.mean())
    p3, classes = np.eye(3)[[0, 1, 2, 1, 1]], np.array([0, 1, 2, 1, 1])

    assert ours.brier_skill(base, y, y.mean()) == 0
    assert ours.brier_skill(y, y, base) == 1
    assert ours.brier_skill(1 - y, y, 0.5) == -3
    assert ours.brier3_skill(p3, classes, np.array([0.2, 0.6, 0.2])) == 1
    assert ours.brier3_skill(np.tile([0.2, 0.6, 0.2], (5, 1)), classes, np.array([0.2, 0.6, 0.2])) == 0


def test_each_segment_may_have_a_base_rate_of_its_own() -> None:
    y, base = np.array([1.0, 1.0, 0.0, 0.0]), np.array([0.75, 0.75, 0.25, 0.25])

    assert ours.brier_skill(np.full(4, 0.5), y, base) == pytest.approx(1 - 0.25 / 0.0625)


def test_what_cannot_be_said_is_nan() -> None:
    one_class = np.ones(3)

    assert isnan(ours.auc(np.array([0.1, 0.2, 0.3]), one_class))
    assert isnan(ours.brier_skill(np.array([0.1, 0.2, 0.3]), one_class, 1.0))


@pytest.mark.parametrize(
    ("p", "y", "weight", "words"),
    [
        ([0.5, nan], [1.0, 0.0], None, "nan in 1 probabilities and 0 outcomes"),
        ([0.5, 0.5], [1.0, nan], None, "nan in 0 probabilities and 1 outcomes"),
        ([0.5], [1.0, 0.0], None, "1 probabilities, 2 outcomes"),
        ([], [], None, "0 rows without weight"),
        ([0.5], [1.0], [0.0], "1 rows without weight"),
    ],
)
@pytest.mark.parametrize("figure", [ours.auc, ours.brier, ours.log_loss, ours.ece, ours.reliability])
def test_rows_that_tell_nothing_are_refused(
    figure: Callable[..., object], p: list[float], y: list[float], weight: list[float] | None, words: str
) -> None:
    given_weight = None if weight is None else np.array(weight)
    with pytest.raises(ValueError, match=words):
        figure(np.array(p), np.array(y), given_weight)
