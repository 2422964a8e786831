"""Estimated liquidation levels: a known growth at a known price lies where the formula says."""

from __future__ import annotations

import pickle
from math import exp, inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.liquidations import LEVERAGES, LiquidationLevels, Side, closing_price

STEP = 300_000
SIDES: tuple[Side, ...] = ("long", "short")


def grown(*, price: float = 100.0, by: float = 50.0, heavy: float = 0.4) -> LiquidationLevels:
    """Open interest of 1000 coins that grew by some at one price; nothing ages."""
    levels = LiquidationLevels(half_life=1e12, heavy=heavy)
    levels.update(0, 1000.0, price)
    levels.update(STEP, 1000.0 + by, price)
    return levels


@pytest.mark.parametrize("leverage", sorted(LEVERAGES))
def test_a_position_is_closed_where_its_margin_is_down_to_the_maintenance(leverage: int) -> None:
    entry, share = 250.0, 0.01
    for side, sign in zip(SIDES, (1, -1), strict=True):
        price = closing_price(side, entry, leverage, share)
        margin = entry / leverage + sign * (price - entry)

        assert margin == pytest.approx(share * price)


def test_a_growth_is_laid_out_by_the_assumed_leverages_on_both_sides() -> None:
    clusters = grown().clusters()
    for side in SIDES:
        mine = {cluster.price: cluster.usd for cluster in clusters if cluster.side == side}
        assert sum(mine.values()) == pytest.approx(50 * 100)
        for leverage, share in LEVERAGES.items():
            wanted = closing_price(side, 100.0, leverage)
            near = [usd for price, usd in mine.items() if abs(price / wanted - 1) <= 0.00126]
            assert near == [pytest.approx(50 * 100 * share)]


def test_the_nearest_heavy_cluster_is_told_as_distances() -> None:
    # The heaviest bucket, at 10x, holds .4 of the positions: that at 25x counts with .3, at 100x with .1.
    above, below = grown(heavy=0.6).nearest()
    first_above, first_below = grown(heavy=0.2).nearest()

    assert above == pytest.approx(closing_price("short", 1.0, 25) - 1, abs=0.0013)
    assert below == pytest.approx(1 - closing_price("long", 1.0, 25), abs=0.0013)
    assert first_above == pytest.approx(closing_price("short", 1.0, 100) - 1, abs=0.0013)
    assert first_below == pytest.approx(1 - closing_price("long", 1.0, 100), abs=0.0013)


def test_what_the_price_went_through_is_gone_on_that_side_only() -> None:
    levels = grown()
    before = levels.clusters()
    levels.update(2 * STEP, 1050.0, 100.0, low=97.5, high=100.0)
    after = levels.clusters()

    assert {one.price for one in before if one.side == "short"} == {
        one.price for one in after if one.side == "short"
    }
    assert all(one.price < 97.5 for one in after if one.side == "long")
    assert len(after) < len(before)


def test_a_price_that_was_passed_between_two_prices_was_traded() -> None:
    levels = grown()
    levels.update(2 * STEP, 1050.0, 95.0)
    levels.update(3 * STEP, 1050.0, 100.0)

    assert max(one.price for one in levels.clusters() if one.side == "long") < 95.0


def test_a_fall_of_open_interest_closes_all_levels_alike() -> None:
    levels, halved = grown(), grown()
    halved.update(2 * STEP, 525.0, 100.0)

    assert [one.price for one in halved.clusters()] == [one.price for one in levels.clusters()]
    for one, other in zip(levels.clusters(), halved.clusters(), strict=True):
        assert other.usd == pytest.approx(one.usd / 2)


def test_positions_age_by_halves() -> None:
    levels = LiquidationLevels(half_life=48.0)
    levels.update(0, 1000.0, 100.0)
    levels.update(STEP, 1100.0, 100.0)
    young = sum(one.usd for one in levels.clusters())
    levels.update(STEP + 48 * 3_600_000, 1100.0, 100.0)

    assert sum(one.usd for one in levels.clusters()) == pytest.approx(young / 2)


def test_without_a_growth_there_is_nothing_to_tell() -> None:
    levels = LiquidationLevels()
    empty = levels.nearest()
    levels.update(0, 1000.0, 100.0)
    levels.update(STEP, 900.0, 101.0)

    assert (empty, levels.nearest(), levels.clusters()) == ((None, None), (None, None), [])


@pytest.mark.parametrize(
    ("time", "interest", "price"),
    [
        (STEP, 9e9, 5.0),
        (2 * STEP, nan, 5.0),
        (2 * STEP, 1.0, inf),
        (2 * STEP, -1.0, 5.0),
        (2 * STEP, 1.0, 0.0),
    ],
)
def test_what_is_old_or_cannot_be_changes_nothing(time: int, interest: float, price: float) -> None:
    levels = grown()
    before = levels.clusters()
    levels.update(time, interest, price)

    assert levels.clusters() == before


@examples(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1e15), st.floats(1e-9, 1e9), st.integers(1, 10**9)), min_size=1, max_size=60
    )
)
def test_whatever_comes_it_stays_small_and_its_distances_are_none_or_ahead(
    steps: list[tuple[float, float, int]],
) -> None:
    levels, time = LiquidationLevels(), 0
    for interest, price, passed in steps:
        time += passed
        levels.update(time, interest, price)
        for distance in levels.nearest():
            assert distance is None or 0 <= distance < 0.5
        assert len(levels.clusters()) <= 2 * 0.3 / 0.0025 * 2

    assert pickle.loads(pickle.dumps(levels)).nearest() == levels.nearest()


@pytest.mark.parametrize("seed", range(5))
def test_levels_scale_with_the_price(seed: int) -> None:
    # By whole buckets the grid moves with the price.
    rng, factor = np.random.default_rng(seed), exp(0.0025 * 400)
    one, other, price, interest = LiquidationLevels(), LiquidationLevels(), 100.0, 1000.0
    for at in range(300):
        price *= exp(rng.normal(0, 0.003))
        interest *= exp(rng.normal(0, 0.005))
        one.update(at * STEP, interest, price)
        other.update(at * STEP, interest / factor, price * factor)

    assert other.nearest() == pytest.approx(one.nearest(), rel=1e-9)
    assert None not in one.nearest()
