from __future__ import annotations

import json
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng
from sklearn.covariance import LedoitWolf

from engine.errors import StorageError
from engine.research import Array
from engine.research.novelty import TAIL, Novelty, shrink, spread_over


def market(rows: int = 3000, columns: int = 12, seed: int = 1) -> Array:
    """Correlated columns of very different scale, heavy tails, holes, one constant and one nearly so."""
    rng = default_rng(seed)
    made = rng.standard_t(4, (rows, columns)) @ rng.normal(size=(columns, columns))
    made *= 10.0 ** rng.uniform(-4, 4, columns)
    made[rng.random(made.shape) < 0.02] = nan
    made[:, 3] = 7.0
    made[:, 5] = rng.random(rows) < 0.02
    return np.asarray(made)


FITTED = Novelty.fit(market())


def test_the_distance_is_mahalanobis_over_the_root_of_its_dimensions() -> None:
    rows = market()
    kept = [column for column in range(12) if column != 3]
    low, centre, high = np.nanquantile(rows[:, kept], [0.25, 0.5, 0.75], axis=0)
    deviation = np.nanstd(rows[:, kept], axis=0)
    scale = np.where(high > low, (high - low) / 1.3489795003921634, deviation)
    scaled = np.nan_to_num((rows[:, kept] - centre) / scale)
    inverse = np.linalg.inv(LedoitWolf().fit(np.clip(scaled, -TAIL, TAIL)).covariance_)
    far = np.sqrt(np.einsum("ij,jk,ik->i", scaled, inverse, scaled) / len(kept))

    assert FITTED.columns.tolist() == kept
    assert FITTED.limit == pytest.approx(np.quantile(far, 0.99), rel=1e-9)
    np.testing.assert_allclose(FITTED.ratio(rows), far / np.quantile(far, 0.99), rtol=1e-9)


def test_one_in_a_hundred_of_the_rows_fitted_on_lies_beyond_the_limit() -> None:
    assert (FITTED.ratio(market()) > 1).mean() == pytest.approx(0.01, abs=0.001)
    assert (Novelty.fit(market(), usual=0.9).ratio(market()) > 1).mean() == pytest.approx(0.1, abs=0.001)


def test_rows_of_the_same_market_are_as_usual_and_a_shifted_market_is_not() -> None:
    rng = default_rng(2)
    mix = rng.normal(size=(20, 20))
    old, new = (rng.normal(size=(n, 20)) @ mix for n in (5000, 4000))
    novelty = Novelty.fit(old)

    assert (novelty.ratio(new) > 1).mean() == pytest.approx(0.01, abs=0.006)
    assert (novelty.ratio(new * 3) > 1).mean() > 0.95


def test_columns_that_break_with_each_other_are_novel_though_each_is_usual() -> None:
    rng = default_rng(3)
    one = rng.normal(size=4000)
    novelty = Novelty.fit(np.stack([one, one + 0.1 * rng.normal(size=4000)], axis=1))
    together, against = novelty.ratio(np.array([[1.5, 1.5], [1.5, -1.5]]))

    assert together < 1 < 3 < against


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 70), columns=st.integers(1, 90))
def test_a_distance_has_the_same_bits_alone_and_in_any_batch(seed: int, rows: int, columns: int) -> None:
    rng = default_rng(seed)
    novelty = Novelty.fit(rng.normal(size=(50, columns)))
    batch = rng.normal(size=(rows, columns)) * 3
    batch[rng.random(batch.shape) < 0.05] = nan
    whole = novelty.ratio(batch)
    cut = int(rng.integers(rows + 1))

    assert [whole[i].tobytes() for i in range(rows)] == [
        novelty.ratio(batch[i : i + 1])[0].tobytes() for i in range(rows)
    ]
    parts = np.concatenate([novelty.ratio(batch[:cut]), novelty.ratio(batch[cut:])])
    assert whole.tobytes() == parts.tobytes()
    assert novelty.ratio(np.asfortranarray(batch)).tobytes() == whole.tobytes()


@given(factor=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3))
def test_the_unit_of_a_column_does_not_matter(factor: float, shift: float) -> None:
    rows = default_rng(4).normal(size=(400, 5))
    other = rows.copy()
    other[:, 2] = other[:, 2] * factor + shift * factor

    np.testing.assert_allclose(Novelty.fit(other).ratio(other), Novelty.fit(rows).ratio(rows), rtol=1e-6)


def test_what_is_not_known_lies_at_the_centre_and_infinity_is_far_and_finite() -> None:
    rows = np.array([np.full(12, nan), np.full(12, inf), np.where(np.arange(12) == 2, -inf, nan)])
    unknown, everywhere, one = FITTED.ratio(rows)

    assert unknown == 0
    assert np.isfinite(everywhere)
    assert everywhere > 1000
    assert one > 1000


def test_one_crash_among_the_rows_does_not_make_crashes_usual() -> None:
    rng = default_rng(5)
    rows = rng.normal(size=(3000, 6))
    crashed = np.concatenate([rows, np.full((3, 6), 1e4)])
    far = np.full((1, 6), 9.0)

    assert Novelty.fit(crashed).ratio(far)[0] > 0.8 * Novelty.fit(rows).ratio(far)[0] > 1.6


@pytest.mark.parametrize("symbols", [1, 2, 3, 5, 8, 13, 17])
def test_of_many_rows_those_looked_at_are_of_all_symbols_and_times(symbols: int) -> None:
    places = spread_over(100_000, 20_000)

    assert len(places) == pytest.approx(20_000, abs=3)
    for shares in (np.bincount(places % symbols), np.bincount(places // 10_000)):
        assert shares.min() > 0.98 * shares.mean()


def test_few_of_many_rows_find_nearly_the_same() -> None:
    rows = market(20_000, seed=7)
    every, few = Novelty.fit(rows), Novelty.fit(rows, most=5000)

    assert few.limit == pytest.approx(every.limit, rel=0.08)
    np.testing.assert_allclose(few.ratio(rows[:500]), every.ratio(rows[:500]), rtol=0.2)


def test_only_the_columns_kept_count() -> None:
    novelty = Novelty.fit(market(), keep=(0, 3, 8))
    row = np.full((1, 12), nan)
    row[0, 1] = 1e9

    assert novelty.columns.tolist() == [0, 8]
    assert novelty.ratio(row)[0] == 0


def test_the_column_named_is_the_one_that_is_off() -> None:
    row = np.full(12, nan)
    row[8] = FITTED.centre[7] + 50 * FITTED.scale[7]  # the constant column 3 is not among them

    assert FITTED.farthest(row) == 8


def test_a_market_that_never_varied_finds_nothing_novel() -> None:
    novelty = Novelty.fit(np.full((10, 3), 5.0))

    assert novelty.ratio(np.array([[1.0, 2.0, 3.0]])).tolist() == [0.0]
    assert novelty.farthest(np.array([1.0, 2.0, 3.0])) == -1
    assert Novelty.from_json(novelty.to_json()).ratio(np.zeros((2, 3))).tolist() == [0.0, 0.0]


def test_a_measure_survives_its_json_to_the_last_bit() -> None:
    rows = market(seed=6)
    again = Novelty.from_json(json.loads(json.dumps(FITTED.to_json(), allow_nan=False)))

    assert again.ratio(rows).tobytes() == FITTED.ratio(rows).tobytes()


def damaged(**changes: object) -> dict[str, object]:
    return {**FITTED.to_json(), **changes}


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({}, id="empty"),
        pytest.param(damaged(limit=0.0), id="no limit"),
        pytest.param(damaged(limit=nan), id="limit nan"),
        pytest.param(damaged(limit="far"), id="limit in words"),
        pytest.param(damaged(width=4), id="columns beyond the width"),
        pytest.param(damaged(centre=[0.0]), id="a centre for one"),
        pytest.param(damaged(scale=[0.0] * 11), id="no scale"),
        pytest.param(damaged(whitening=[[1.0]] * 12), id="too many rows"),
        pytest.param(damaged(whitening=[[1.0]] * 11), id="rows cut short"),
        pytest.param(damaged(whitening=[]), id="no matrix"),
        pytest.param(damaged(columns=None), id="no columns"),
    ],
)
def test_a_damaged_measure_is_refused(kept: dict[str, object]) -> None:
    with pytest.raises(StorageError, match="novelty measure"):
        Novelty.from_json(kept)


@pytest.mark.parametrize("shape", [(2, 11), (12,), (1, 1, 12)])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="fitted on 12 columns"):
        FITTED.ratio(np.zeros(shape))


def test_one_row_does_not_show_what_is_usual() -> None:
    with pytest.raises(ValueError, match="1 rows do not show"):
        Novelty.fit(np.zeros((1, 3)))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_confidence_shrinks_with_the_distance_and_only_beyond_the_limit(ratios: list[float]) -> None:
    far = np.sort(np.array(ratios))
    left = shrink(far)

    assert ((left > 0) & (left <= 1)).all()
    assert (left[far <= 1] == 1).all()
    assert (np.diff(left) <= 0).all()
    np.testing.assert_allclose((left * far)[far > 1], 1)
