"""The line against a second formula, and its answers alone and in any company."""

from __future__ import annotations

import json
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from numpy.random import default_rng
from sklearn.linear_model import LogisticRegression

from engine.errors import StorageError
from engine.models.linear import FARTHEST, SCALED_BY, Linear
from engine.research import Array
from engine.research.calibration import sigmoid
from engine.research.metrics import auc


def sample(rows: int = 800, columns: int = 6, seed: int = 1) -> tuple[Array, Array, Array]:
    """Correlated columns of very different scale with holes, outcomes that two of them bear on, weights."""
    rng = default_rng(seed)
    x = rng.standard_t(4, (rows, columns)) @ rng.normal(size=(columns, columns))
    y = (rng.random(rows) < sigmoid(x[:, 0] / x[:, 0].std() - 0.5 * x[:, 1] / x[:, 1].std() + 0.4)).astype(
        np.float64
    )
    x *= 10.0 ** rng.uniform(-6, 6, columns)
    x[rng.random(x.shape) < 0.05] = nan
    return x, y, rng.uniform(0.2, 3.0, rows)


def fitted(seed: int = 1) -> Linear:
    return Linear.fit(*sample(seed=seed))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ridge", [0.0005, 0.02, 1.0])
def test_it_is_the_penalised_regression_of_scikit_learn(seed: int, ridge: float) -> None:
    x, y, weight = sample(seed=seed)
    line = Linear.fit(x, y, weight, ridge)
    other = LogisticRegression(C=1 / (ridge * weight.sum()), tol=1e-12, max_iter=10_000)
    other.fit(line.scaled(x), y, sample_weight=weight)

    np.testing.assert_allclose(line.coefficients, other.coef_[0], rtol=1e-4, atol=1e-6)
    assert line.intercept == pytest.approx(other.intercept_[0], rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(sigmoid(line.margin(x)), other.predict_proba(line.scaled(x))[:, 1], atol=1e-6)


def test_columns_are_scaled_by_their_median_and_quartiles() -> None:
    x, y, weight = sample()
    line = Linear.fit(x, y, weight)
    low, middle, high = np.nanquantile(x, [0.25, 0.5, 0.75], axis=0)

    np.testing.assert_allclose(line.centre, middle, rtol=1e-12)
    np.testing.assert_allclose(line.scale, (high - low) / 1.3489795003921634, rtol=1e-12)
    wanted = np.clip(np.nan_to_num((x - middle) / line.scale), -4, 4)
    np.testing.assert_allclose(line.scaled(x), wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(line.margin(x), wanted @ line.coefficients + line.intercept, rtol=1e-9)


def test_what_is_usual_is_asked_of_every_symbol() -> None:
    # Rows lie symbol beside symbol: every tenth row is always the same symbol's.
    symbols = 10
    rows = SCALED_BY * symbols
    x = np.where(np.arange(rows) % symbols == 0, 1000.0, 1.0)[:, None] * default_rng(3).normal(size=(rows, 1))
    line = Linear.fit(x, (x[:, 0] > 0).astype(np.float64), np.ones(rows))

    assert line.scale[0] == pytest.approx(1.15, abs=0.15)


def test_a_column_that_never_varies_or_is_never_known_says_nothing() -> None:
    x, y, weight = sample()
    x[:, 2], x[:, 4] = 0.1, nan
    line = Linear.fit(x, y, weight)
    without = Linear.fit(x[:, [0, 1, 3, 5]], y, weight)
    other = x.copy()
    other[:, 2], other[:, 4] = 1e9, -inf

    assert line.coefficients[[2, 4]].tolist() == [0.0, 0.0]
    assert line.margin(other).tolist() == line.margin(x).tolist()
    np.testing.assert_allclose(line.coefficients[[0, 1, 3, 5]], without.coefficients, rtol=1e-9)


def test_a_column_that_seldom_varies_counts_by_its_deviation() -> None:
    x, y, weight = sample()
    x[:, 2] = default_rng(4).random(len(x)) < 0.1
    line = Linear.fit(x, y, weight)

    assert line.scale[2] == pytest.approx(x[:, 2].std(), rel=1e-9)


def test_nan_lies_at_the_centre_and_a_crash_counts_as_the_farthest() -> None:
    line = fitted()
    strange = np.array([np.full(6, nan), np.full(6, inf), np.full(6, -inf), line.centre + 1e9 * line.scale])

    assert line.margin(strange[:1])[0] == line.intercept
    assert line.scaled(strange).tolist() == [[0.0] * 6, [FARTHEST] * 6, [-FARTHEST] * 6, [FARTHEST] * 6]


@pytest.mark.parametrize("ridge", [1e-6, 0.02])
def test_separable_rows_give_a_finite_line_that_separates(ridge: float) -> None:
    x = default_rng(5).normal(size=(200, 3))
    y = (x[:, 0] + x[:, 1] > 0).astype(np.float64)
    line = Linear.fit(x, y, np.ones(200), ridge)

    assert np.isfinite([*line.coefficients, line.intercept]).all()
    assert auc(line.margin(x), y) > 0.99
    other = LogisticRegression(C=1 / (ridge * 200), tol=1e-12, max_iter=100_000).fit(line.scaled(x), y)
    np.testing.assert_allclose(line.coefficients, other.coef_[0], rtol=2e-3)


def test_one_class_alone_is_no_fault() -> None:
    x, _, weight = sample()
    line = Linear.fit(x, np.ones(len(x)), weight)

    assert np.isfinite(line.margin(x)).all()
    assert (line.margin(x) > 0).all()


def test_a_tempered_line_is_as_much_less_sure() -> None:
    line, x = fitted(), sample()[0]

    np.testing.assert_allclose(line.tempered(0.25).margin(x), line.margin(x) / 4, rtol=1e-12)
    assert line.tempered(0.0).margin(x).tolist() == [0.0] * len(x)


@examples(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 90), st.integers(1, 40), st.booleans())
def test_a_row_has_the_same_margin_alone_and_in_any_batch(
    data: st.DataObject, columns: int, size: int, fortran: bool
) -> None:
    rng = default_rng(data.draw(st.integers(0, 1000)))
    line = Linear(rng.normal(size=columns), rng.uniform(0.1, 3, columns), rng.normal(size=columns), 0.3)
    rows = rng.normal(size=(size, columns)) * 10.0 ** rng.uniform(-3, 3, columns)
    rows[rng.random(rows.shape) < 0.05] = nan
    batch = np.asfortranarray(rows) if fortran else rows
    alone = [line.margin(row[None, :])[0] for row in rows]

    assert line.margin(batch).tobytes() == np.array(alone).tobytes()
    assert line.margin(batch[::-1])[::-1].tobytes() == np.array(alone).tobytes()
    assert line.parts(batch).tobytes() == np.concatenate([line.parts(row[None, :]) for row in rows]).tobytes()


def test_it_comes_back_from_json_to_the_last_bit() -> None:
    x, y, weight = sample()
    x[:, 2] = 7.0
    line = Linear.fit(x, y, weight)
    again = Linear.from_json(json.loads(json.dumps(line.to_json(), allow_nan=False)))

    assert again.margin(x).tobytes() == line.margin(x).tobytes()
    assert again.to_json() == line.to_json()


@pytest.mark.parametrize(
    "damage",
    [
        {"centre": None},
        {"centre": [0.0]},
        {"centre": [nan] * 6},
        {"scale": "wide"},
        {"scale": [1.0] * 5},
        {"scale": [1.0] * 5 + [0.0]},
        {"scale": [1.0] * 5 + [-1.0]},
        {"scale": [1.0] * 5 + [nan]},
        {"coefficients": [1.0] * 5 + ["x"]},
        {"coefficients": [1.0] * 5 + [inf]},
        {"coefficients": [[1.0] * 6]},
        {"intercept": nan},
        {"intercept": None},
        {"intercept": []},
    ],
)
def test_damaged_json_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match="a linear start cannot be"):
        Linear.from_json({**fitted().to_json(), **damage})


@pytest.mark.parametrize("name", ["centre", "scale", "coefficients", "intercept"])
def test_json_that_lacks_something_is_refused(name: str) -> None:
    kept = fitted().to_json()
    del kept[name]

    with pytest.raises(StorageError, match=name):
        Linear.from_json(kept)
