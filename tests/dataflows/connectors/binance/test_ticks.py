"""One Tick per decision close, in order, never overtaken and never overtaking."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.binance.ticks import Ticks, ordered
from engine.records import INTERVALS, Candle, Correction, Tick

STEP = 300_000


def started(first: int = STEP) -> Ticks:
    ticks = Ticks(STEP, grace=5_000)
    ticks.start(first)
    return ticks


def nothing(time: int) -> bool:
    return False


def test_a_tick_comes_when_stream_time_passes_the_grace() -> None:
    ticks = started()

    assert ticks.advance(STEP + 4_999, 0.0, nothing) == []
    assert ticks.advance(STEP + 5_000, 0.0, nothing) == [Tick(STEP)]
    assert ticks.advance(STEP + 5_000, 9.0, nothing) == []


def test_a_tick_waits_for_rest_but_not_for_ever() -> None:
    ticks = started()

    assert ticks.advance(STEP + 5_000, 10.0, lambda time: True) == []
    assert ticks.advance(STEP + 5_000, 10.9, lambda time: True) == []
    assert ticks.advance(STEP + 5_000, 11.0, lambda time: True) == [Tick(STEP)]


def test_after_a_jump_every_close_in_between_is_ticked() -> None:
    assert started().advance(4 * STEP, 0.0, nothing) == [Tick(STEP), Tick(2 * STEP), Tick(3 * STEP)]


def test_closes_of_later_moments_wait_behind_their_tick() -> None:
    ticks = started()
    now, later = Candle.of(1.0, time=STEP), Candle.of(2.0, time=2 * STEP, interval="5m")
    correction = Correction("BTCUSDT", "5m", 2 * STEP, later)

    assert ticks.admit([now, later, correction]) == [now]
    assert ticks.advance(2 * STEP, 0.0, nothing) == [Tick(STEP), later, correction]


def test_before_the_start_nothing_is_ticked_or_kept() -> None:
    ticks = Ticks(STEP, grace=5_000)
    candle = Candle.of(1.0, time=100 * STEP)

    assert ticks.admit([candle]) == [candle]
    assert ticks.advance(1_000 * STEP, 0.0, nothing) == []


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3), st.booleans()), max_size=60))
def test_whatever_happens_no_candle_is_lost_and_none_passes_the_tick_before_it(
    events: list[tuple[int, int, bool]],
) -> None:
    ticks, wall, now = started(), 0.0, 0
    out: list[Any] = []
    for minute, seconds, pending in events:
        wall, now = wall + seconds, max(now, minute * 60_000)
        out += ticks.admit([Candle.of(1.0, time=minute * 60_000)])
        out += ticks.advance(now, wall, lambda time, pending=pending: pending)  # type: ignore[misc]
    out += ticks.advance(now + 5_000, wall + 1.0, nothing)

    ticked = [record.time for record in out if isinstance(record, Tick)]
    assert ticked == list(range(STEP, (now // STEP) * STEP + 1, STEP))
    assert sorted(one.time for one in out if isinstance(one, Candle)) == sorted(
        minute * 60_000 for minute, _, _ in events
    )
    newest = 0
    for record in out:
        newest = record.time if isinstance(record, Tick) else newest
        assert record.time < newest + 2 * STEP


@st.composite
def markets(draw: st.DrawFn) -> list[list[Candle]]:
    out = []
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        for interval in ("1m", "5m", "15m"):
            closes = draw(st.sets(st.integers(1, 3_600_000 // INTERVALS[interval])))
            out.append(
                [
                    Candle.of(1.0, symbol=symbol, interval=interval, time=close * INTERVALS[interval])
                    for close in sorted(closes)
                ]
            )
    return out


@given(markets(), st.integers(1, 12))
def test_history_has_one_order_with_each_tick_behind_its_close(
    markets: list[list[Candle]], first: int
) -> None:
    out = list(ordered(markets, STEP, first * STEP, 3_600_000))

    ticks = [record.time for record in out if isinstance(record, Tick)]
    assert ticks == list(range(first * STEP, 3_600_001, STEP))
    for place, record in enumerate(out):
        if isinstance(record, Tick):
            assert all(before.time <= record.time for before in out[:place])
            assert all(after.time > record.time for after in out[place + 1 :])
    candles = [record for record in out if isinstance(record, Candle)]
    assert candles == sorted(
        (candle for market in markets for candle in market),
        key=lambda one: (one.time, INTERVALS[one.interval], one.symbol),
    )
