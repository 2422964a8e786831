from __future__ import annotations

from decimal import Decimal
from math import nan

from hypothesis import assume, given
from hypothesis import strategies as st

from engine.exits import Exits, to_step

gaps = st.floats(-12, 12) | st.just(nan)


@given(
    side=st.sampled_from([1, -1]),
    entry=st.floats(1e-7, 1e6),
    share=st.floats(1e-4, 0.05),
    behind=gaps,
    ahead=gaps,
    digits=st.none() | st.integers(0, 10),
)
def test_levels_are_on_their_side_on_the_grid_and_worth_the_risk(
    side: int, entry: float, share: float, behind: float, ahead: float, digits: int | None
) -> None:
    atr = entry * share
    step = 0.0 if digits is None else 10.0**-digits
    levels = Exits().levels(side, entry, atr, entry + behind * atr, entry + ahead * atr, step)
    assume(levels is not None)
    assert levels is not None

    assert side * (entry - levels.stop) > 0
    assert side * (levels.target - entry) > 0
    assert levels.reward / levels.risk >= 1.5 - 1e-6
    assert levels.risk * entry >= 0.999999 * atr
    assert levels.risk * entry <= 3.000001 * atr + step
    for price in (levels.stop, levels.target):
        assert not step or Decimal(repr(price)) % Decimal(repr(step)) == 0


@given(side=st.sampled_from([1, -1]), entry=st.floats(1e-7, 1e6), share=st.floats(1e-4, 0.05))
def test_an_ordinary_market_always_has_levels(side: int, entry: float, share: float) -> None:
    assert Exits().levels(side, entry, entry * share, nan, nan, 0.0) is not None


@given(price=st.decimals("0.00000001", "100000", places=8), digits=st.integers(0, 8), up=st.booleans())
def test_a_price_on_the_grid_stays_and_others_move_less_than_a_step(
    price: Decimal, digits: int, up: bool
) -> None:
    step = Decimal(1).scaleb(-digits)
    on_grid = price // step * step
    moved = to_step(float(price), float(step), up)

    assert to_step(float(on_grid), float(step), up) == float(on_grid)
    assert abs(Decimal(repr(moved)) - Decimal(repr(float(price)))) < step
    assert moved >= float(price) if up else moved <= float(price)


def test_a_step_with_binary_noise_is_the_step_it_was_meant_to_be() -> None:
    noisy = 1e-05 / 1000

    assert to_step(2.3456e-05, noisy, up=True) == 2.346e-05
