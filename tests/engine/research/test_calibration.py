"""Platt's scaling against a grid around it and against scikit-learn; three classes of two boosters."""

from __future__ import annotations

import json
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng
from sklearn.linear_model import LogisticRegression

from engine.errors import StorageError
from engine.research import Array
from engine.research.calibration import Platt, Thirds, compare, log_odds, sigmoid, targets
from engine.research.metrics import ece, log_loss
from engine.research.splits import purged_k_fold

logits = st.floats(-8, 8) | st.sampled_from([0.0, 1e6, -1e6, 1e-9])
rows = st.lists(st.tuples(logits, st.integers(0, 1), st.floats(0.1, 4)), min_size=0, max_size=40)


def apart(drawn: list[tuple[float, int, float]]) -> tuple[Array, Array, Array]:
    table = np.array(drawn, dtype=np.float64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def surprise(platt: Platt, z: Array, y: Array, weight: Array) -> float:
    """What Platt's fit makes small: cross-entropy against his targets, in a form that cannot overflow."""
    line = platt.slope * np.clip(z, -30, 30) + platt.intercept
    return float(weight @ (np.logaddexp(0, line) - targets(y, weight) * line))


def drawn_from(slope: float, intercept: float, n: int, seed: int) -> tuple[Array, Array]:
    rng = default_rng(seed)
    z = rng.normal(0, 1.5, n)
    return z, (rng.random(n) < sigmoid(slope * z + intercept)).astype(np.float64)


@given(rows, st.booleans())
def test_no_scaling_within_the_bounds_is_likelier(
    drawn: list[tuple[float, int, float]], intercept: bool
) -> None:
    z, y, weight = apart(drawn)
    fitted = Platt.fit(z, y, weight, intercept=intercept)
    best = surprise(fitted, z, y, weight)

    assert 0 <= fitted.slope <= 1.5
    assert intercept or fitted.intercept == 0
    for slope in (*np.linspace(0, 1.5, 16), fitted.slope):
        around = fitted.intercept + np.array([-1, -0.1, -0.001, 0, 0.001, 0.1, 1]) if intercept else (0.0,)
        for shift in around:
            assert best <= surprise(Platt(float(slope), float(shift)), z, y, weight) + 1e-6


@given(rows, st.booleans())
def test_what_comes_out_is_a_probability_and_keeps_the_order(
    drawn: list[tuple[float, int, float]], intercept: bool
) -> None:
    z, y, weight = apart(drawn)
    p = Platt.fit(z, y, weight, intercept=intercept).apply(np.linspace(0, 1, 101))

    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) >= 0).all()


@pytest.mark.parametrize(("slope", "intercept"), [(0.6, 0.0), (1.2, -1.0), (0.3, 2.0)])
def test_the_scaling_that_made_the_outcomes_is_found_again(slope: float, intercept: float) -> None:
    z, y = drawn_from(slope, intercept, 40_000, seed=1)

    fitted = Platt.fit(z, y, intercept=intercept != 0)

    assert (fitted.slope, fitted.intercept) == pytest.approx((slope, intercept), abs=0.05)


@pytest.mark.parametrize("intercept", [False, True])
def test_many_rows_give_what_logistic_regression_gives(intercept: bool) -> None:
    z, y = drawn_from(0.7, -0.4, 5000, seed=2)
    weight = default_rng(3).uniform(0.5, 2, len(y))
    aim = targets(y, weight)
    # A target between the classes is a row of each, by so much of its weight.
    model = LogisticRegression(C=np.inf, fit_intercept=intercept, tol=1e-10).fit(
        np.tile(z, 2)[:, None], np.repeat([1, 0], len(z)),
        sample_weight=np.concatenate([weight * aim, weight * (1 - aim)]),
    )  # fmt: skip

    fitted = Platt.fit(z, y, weight, intercept=intercept)

    assert fitted.slope == pytest.approx(model.coef_[0, 0], abs=1e-5)
    assert fitted.intercept == pytest.approx(model.intercept_[0] if intercept else 0, abs=1e-5)


def test_a_model_that_is_wrong_falls_silent_and_is_not_turned_around() -> None:
    z, y = drawn_from(-0.8, 0.0, 2000, seed=4)

    fitted = Platt.fit(z, y)

    assert fitted == Platt(0.0, 0.0)
    assert fitted.apply(np.array([0.01, 0.99])).tolist() == [0.5, 0.5]
    assert Platt.fit(z, y, intercept=True).apply(np.array([0.1, 0.9])) == pytest.approx(y.mean(), abs=1e-3)


def test_a_slope_stays_within_the_bounds_asked_for() -> None:
    z, y = drawn_from(3.0, 0.5, 2000, seed=5)

    assert Platt.fit(z, y).slope == 1.5
    assert Platt.fit(z, y, slope_bounds=(0.0, 0.9), intercept=True).slope == 0.9
    assert Platt.fit(z, y, slope_bounds=(0.0, 9.0)).slope > 2


def test_drift_does_not_move_a_direction_without_an_intercept() -> None:
    z, y = drawn_from(0.6, 0.8, 4000, seed=6)

    assert Platt.fit(z, y).apply(np.array([0.5]))[0] == 0.5
    assert Platt.fit(z, y, intercept=True).apply(np.array([0.5]))[0] > 0.6


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize(
    ("z", "y"),
    [
        ([], []),
        ([0.0] * 10, [1.0] * 5 + [0.0] * 5),
        ([0.3] * 10, [1.0] * 10),
        ([1.0, 2.0] * 5, [1.0] * 10),
        ([1.0, -2.0] * 5, [0.0] * 10),
        ([1e300, -1e300] * 5, [1.0, 0.0] * 5),
        ([np.inf, -np.inf] * 5, [1.0, 0.0] * 5),
        ([1e-300, -1e-300] * 5, [1.0, 0.0] * 5),
    ],
)
def test_rows_that_decide_little_still_give_a_scaling(
    z: list[float], y: list[float], intercept: bool
) -> None:
    fitted = Platt.fit(np.array(z), np.array(y), intercept=intercept)
    p = fitted.apply(np.array([0.0, 0.5, 1.0]))

    assert np.isfinite([fitted.slope, fitted.intercept]).all()
    assert np.isfinite(p).all()


def test_ten_rows_of_one_class_do_not_make_certain() -> None:
    assert Platt.fit(np.full(10, 0.3), np.ones(10), intercept=True).apply(np.array([0.6]))[0] == (
        pytest.approx(11 / 12)
    )


@pytest.mark.parametrize(
    ("z", "y", "words"), [([np.nan], [1.0], "nan"), ([0.5], [np.nan], "nan"), ([0.5], [], "1 log-odds, 0")]
)
def test_rows_that_cannot_be_fitted_are_refused(z: list[float], y: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Platt.fit(np.array(z), np.array(y))


@given(st.floats(1e-9, 1 - 1e-9))
def test_log_odds_and_back_is_the_same_probability(p: float) -> None:
    assert log_odds(np.array([p]))[0] == pytest.approx(log(p / (1 - p)), rel=1e-6, abs=1e-9)
    assert Platt().apply(np.array([p]))[0] == pytest.approx(p, rel=1e-12)


def test_certainty_and_overflow_stay_within_the_bounds() -> None:
    assert log_odds(np.array([0.0, 1.0])).tolist() == [-30, 30]
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0, 0.5, 1]
    with pytest.raises(ValueError, match="2 of 3 are no probabilities"):
        log_odds(np.array([0.5, 1.1, np.nan]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_a_probability_has_the_same_bits_alone_and_in_a_batch(drawn: list[float]) -> None:
    platt, p = Platt(0.63, 0.1), np.array(drawn)
    alone = [platt.apply(p[row : row + 1])[0] for row in range(len(p))]

    assert platt.apply(p).tobytes() == np.array(alone).tobytes()


def test_a_calibration_survives_its_json() -> None:
    thirds = Thirds(Platt(0.123456789012345, -0.7), Platt(0.55))

    assert Thirds.from_json(json.loads(json.dumps(thirds.to_json()))) == thirds


@pytest.mark.parametrize(
    "kept",
    [{}, {"slope": 1.0}, {"slope": "x", "intercept": 0}, {"slope": None, "intercept": 0},
     {"slope": -0.1, "intercept": 0}, {"slope": float("inf"), "intercept": 0},
     {"slope": 1, "intercept": float("nan")}],
)  # fmt: skip
def test_a_damaged_calibration_is_refused(kept: dict[str, object]) -> None:
    with pytest.raises(StorageError, match="calibration"):
        Platt.from_json(kept)
    with pytest.raises(StorageError, match="calibration"):
        Thirds.from_json({"size": {"slope": 1, "intercept": 0}, "side": kept})


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_three_classes_are_probabilities_that_sum_to_1(drawn: list[tuple[float, float]]) -> None:
    size, side = np.array(drawn).T
    p3 = Thirds(Platt(0.7, -0.5), Platt(0.4)).apply(size, side)

    assert p3.shape == (len(drawn), 3)
    assert (p3 >= 0).all()
    np.testing.assert_allclose(p3.sum(axis=1), 1, rtol=0, atol=1e-15)
    np.testing.assert_allclose(1 - p3[:, 1], Platt(0.7, -0.5).apply(size))


def test_three_classes_are_calibrated_from_overconfident_boosters() -> None:
    rng = default_rng(7)
    z_size, z_side = rng.normal(-0.5, 1, 60_000), rng.normal(0, 1, 60_000)
    moved = rng.random(60_000) < sigmoid(z_size)
    up = rng.random(60_000) < sigmoid(0.3 * z_side)
    classes = np.where(moved, np.where(up, 2, 0), 1)
    loud_size, loud_side = 2 * z_size + 1, z_side

    thirds = Thirds.fit(loud_size[:30_000], loud_side[:30_000], classes[:30_000])
    p3 = thirds.apply(sigmoid(loud_size[30_000:]), sigmoid(loud_side[30_000:]))

    assert (thirds.size.slope, thirds.size.intercept) == pytest.approx((0.5, -0.5), abs=0.06)
    assert thirds.side.slope == pytest.approx(0.3, abs=0.05)
    assert thirds.side.intercept == 0
    for label in range(3):
        assert ece(p3[:, label], (classes[30_000:] == label).astype(np.float64)) < 0.015


def test_three_classes_where_nothing_moved_lean_to_no_side() -> None:
    thirds = Thirds.fit(np.zeros(10), np.linspace(-1, 1, 10), np.ones(10))
    p3 = thirds.apply(np.array([0.5]), np.array([0.9]))

    assert p3[0, 0] == p3[0, 2] < 0.05
    assert p3[0, 1] > 0.9


def test_a_comparison_judges_every_row_by_a_fit_without_it() -> None:
    z, y = drawn_from(0.5, 0.0, 6000, seed=8)
    folds = list(purged_k_fold(np.arange(6000), 1, 12, 1, k=5))
    p = np.empty(6000)
    for fold in folds:
        p[fold.test] = Platt.fit(z[fold.train], y[fold.train]).of_logit(z[fold.test])

    found = compare(z, y, folds)

    assert set(found) == {"none", "platt", "isotonic"}
    assert found["none"] == pytest.approx({"log_loss": log_loss(sigmoid(z), y), "ece": ece(sigmoid(z), y)})
    assert found["platt"] == pytest.approx({"log_loss": log_loss(p, y), "ece": ece(p, y)})
    assert found["platt"]["log_loss"] < found["isotonic"]["log_loss"] < found["none"]["log_loss"]
    assert found["platt"]["ece"] < found["none"]["ece"]


def test_a_comparison_sees_where_steps_fit_better_than_a_slope() -> None:
    rng = default_rng(9)
    z = rng.uniform(-3, 3, 6000)
    y = (rng.random(6000) < np.where(z > 1, 0.9, 0.2)).astype(np.float64)

    found = compare(z, y, list(purged_k_fold(np.arange(6000), 1, 12, 1, k=5)))

    assert found["isotonic"]["log_loss"] < found["platt"]["log_loss"]
