"""Labels against the definition: a walk along a dict of candles, one row at a time."""

from __future__ import annotations

from math import inf, isnan, nan
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CorruptRecord
from engine.records import INTERVALS, Candle
from engine.research import Array, Ints
from engine.research.labels import STOP, TARGET, TIME, classes, moves, sides, triple_barrier
from tests import checks

HOUR = INTERVALS["1h"]
WITH_HOLES = checks.market(700, seed=3, holes=0.02)


def columns(candles: list[Candle]) -> tuple[Ints, Array, Array, Array, Array]:
    time = np.array([candle.time for candle in candles], dtype=np.int64)
    open, high, low, close = (
        np.array([getattr(candle, name) for candle in candles]) for name in ("open", "high", "low", "close")
    )
    return time, open, high, low, close


def walked(
    candles: list[Candle], horizon: int, stop: float, target: float, side: int, costs: float
) -> list[tuple[float, int, int]]:
    """The same trades as prose: candle after candle, looked up by time."""
    at = {candle.time: candle for candle in candles}
    answer = []
    for candle in candles:
        path = [at.get(candle.time + ahead * HOUR) for ahead in range(1, horizon + 1)]
        if None in path:
            answer.append((nan, TIME, 0))
            continue
        ahead_of = [held for held in path if held is not None]
        entry, out, why, count = ahead_of[0].open, ahead_of[-1].close, TIME, horizon
        loss, gain = entry * (1 - side * stop), entry * (1 + side * target)
        for place, now in enumerate(ahead_of, start=1):
            if (now.low <= loss) if side > 0 else (now.high >= loss):
                out = min(loss, now.open) if side > 0 else max(loss, now.open)
                why, count = STOP, place
                break
            if (now.high >= gain) if side > 0 else (now.low <= gain):
                out, why, count = gain, TARGET, place
                break
        answer.append((side * (out / entry - 1) - costs, why, count))
    return answer


def test_a_move_looks_at_the_close_exactly_at_the_horizon_and_nowhere_else() -> None:
    time, _, _, _, close = columns(WITH_HOLES)
    at = dict(zip(time.tolist(), close.tolist(), strict=True))
    expected = [at.get(t + 12 * HOUR, nan) / at[t] - 1 for t in time.tolist()]

    found = moves(time, close, HOUR, 12)

    assert np.isnan(found).sum() > 12
    np.testing.assert_array_equal(found, expected)


def test_the_last_closes_have_no_move_yet() -> None:
    time, _, _, _, close = columns(checks.market(50, seed=1))

    found = moves(time, close, HOUR, 12)

    assert np.isnan(found[-12:]).all()
    assert not np.isnan(found[:-12]).any()


@given(before=st.floats(1e-9, 1e6), after=st.floats(1e-9, 1e6), bits=st.integers(0, 2))
def test_a_move_is_up_exactly_when_the_later_close_is_higher(before: float, after: float, bits: int) -> None:
    for _ in range(bits):  # also one and two bits above an equal price
        after = float(np.nextafter(before if _ == 0 else after, inf))
    found = sides(moves(np.array([0, 1]), np.array([before, after]), step=1, horizon=1))

    assert found[0] == float(after > before)
    assert isnan(found[1])


@pytest.mark.parametrize("times", [[1, 2, 2], [2, 1, 3], [0, 10, 15]], ids=["twice", "back", "off the grid"])
def test_closes_that_are_no_grid_are_refused(times: list[int]) -> None:
    with pytest.raises(CorruptRecord, match="ascend by multiples of 10"):
        moves(np.array(times), np.ones(3), step=10, horizon=1)


def test_no_candles_have_no_labels() -> None:
    none, prices = np.zeros(0, np.int64), np.zeros(0)

    assert len(moves(none, prices, HOUR, 12)) == 0
    assert len(triple_barrier(none, prices, prices, prices, prices, HOUR, 12, 0.1, 0.1, 1, 0.0).net) == 0


def test_a_horizon_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one candle"):
        moves(np.array([1, 2]), np.ones(2), step=1, horizon=0)


def test_a_class_needs_more_than_the_threshold() -> None:
    edge = np.array([-0.009, -0.008, 0.0, 0.008, 0.009, nan])

    np.testing.assert_array_equal(classes(edge, 0.008), [0, 1, 1, 1, 2, nan])
    np.testing.assert_array_equal(classes(edge, np.full(6, 0.0085)), [0, 1, 1, 1, 2, nan])


@pytest.mark.parametrize("side", [1, -1], ids=["long", "short"])
@pytest.mark.parametrize(("stop", "target"), [(0.005, 0.0075), (0.02, 0.01), (0.001, inf), (inf, 0.003)])
def test_barriers_are_met_as_a_walk_along_the_candles_meets_them(
    side: int, stop: float, target: float
) -> None:
    found = triple_barrier(*columns(WITH_HOLES), HOUR, 12, stop, target, side, 0.0014)
    expected = walked(WITH_HOLES, 12, stop, target, side, 0.0014)
    net, barrier, held = zip(*expected, strict=True)

    np.testing.assert_allclose(found.net, net, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(found.barrier, barrier)
    np.testing.assert_array_equal(found.held, held)


def test_the_market_that_trades_are_tried_on_meets_every_barrier_and_every_hole() -> None:
    found = triple_barrier(*columns(WITH_HOLES), HOUR, 12, 0.01, 0.01, 1, 0.0)
    known = found.held > 0

    assert set(found.barrier[known].tolist()) == {STOP, TIME, TARGET}
    assert np.isnan(found.net[~known]).sum() > 12


def one(open: float, high: float, low: float, close: float, *, side: int = 1) -> tuple[float, int]:
    """A trade entered at 100 with 1 % of stop and 2 % of target, whose second candle is this one."""
    first, top, bottom, last = (np.array([100.0, 100.0, price]) for price in (open, high, low, close))
    trades = triple_barrier(np.array([1, 2, 3]), first, top, bottom, last, 1, 2, 0.01, 0.02, side, 0.0)
    return round(float(trades.net[0]), 9), int(trades.barrier[0])


def test_both_barriers_in_one_candle_are_the_stop() -> None:
    assert one(100, 103, 98, 102) == (-0.01, STOP)
    assert one(100, 102, 97, 98, side=-1) == (-0.01, STOP)


def test_an_open_beyond_the_stop_exits_at_that_open() -> None:
    assert one(95, 96, 94, 95) == (-0.05, STOP)
    assert one(105, 106, 104, 105, side=-1) == (-0.05, STOP)


def test_an_open_beyond_the_target_fills_no_better_than_the_target() -> None:
    assert one(105, 106, 104, 105) == (0.02, TARGET)
    assert one(95, 96, 94, 95, side=-1) == (0.02, TARGET)


def test_a_barrier_met_exactly_is_met() -> None:
    assert one(100, 100, 99, 100) == (-0.01, STOP)
    assert one(100, 102, 100, 100) == (0.02, TARGET)


def test_no_side_and_an_unknown_distance_make_no_trade() -> None:
    side = np.ones(30, np.int64)
    stop = np.full(30, 0.01)
    side[3], stop[5] = 0, nan

    found = triple_barrier(*columns(checks.market(30, seed=2)), HOUR, 12, stop, inf, side, 0.001)

    assert np.isnan(found.net[[3, 5]]).all()
    assert found.held[[3, 5]].tolist() == [0, 0]
    assert not np.isnan(found.net[[2, 4, 6]]).any()


def test_a_barrier_on_the_wrong_side_is_refused() -> None:
    candles = columns(checks.market(30, seed=2))

    with pytest.raises(ValueError, match="above 0"):
        triple_barrier(*candles, HOUR, 12, -0.01, 0.02, 1, 0.0)


def test_years_of_trades_take_seconds() -> None:
    rows = 400_000
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.005, rows)))
    open = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(open, close) * 1.002, np.minimum(open, close) * 0.998
    time = np.arange(1, rows + 1) * HOUR

    began = process_time()
    triple_barrier(time, open, high, low, close, HOUR, 12, 0.01, 0.02, 1, 0.0014)
    moves(time, close, HOUR, 12)

    assert process_time() - began < 5


@pytest.mark.market
def test_real_candles_are_labelled_by_the_definition() -> None:
    candles = checks.real_candles("SOLUSDT", "1h", 3000)
    time, open, high, low, close = columns(candles)
    at = dict(zip(time.tolist(), close.tolist(), strict=True))

    found = moves(time, close, HOUR, 12)
    trades = triple_barrier(time, open, high, low, close, HOUR, 12, 0.01, 0.015, 1, 0.0014)
    net, barrier, held = zip(*walked(candles, 12, 0.01, 0.015, 1, 0.0014), strict=True)

    np.testing.assert_array_equal(found, [at.get(t + 12 * HOUR, nan) / at[t] - 1 for t in time.tolist()])
    np.testing.assert_allclose(trades.net, net, rtol=0, atol=1e-14)
    assert (trades.barrier.tolist(), trades.held.tolist()) == (list(barrier), list(held))
