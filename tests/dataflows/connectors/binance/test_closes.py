"""Any interleaving of frames, answers and failures: each close once, in order, none that REST has is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.binance.closes import Closes
from dataflows.connectors.binance.market import REMEMBERED, Ask
from engine.records import Candle, Correction

MINUTE = 60_000
LATE = 10 * MINUTE


def candle(minute: int, close: float = 10.0, interval: str = "1m") -> Candle:
    return Candle.of(close, time=minute * MINUTE, interval=interval)


def opened(last: int = 0, **knobs: float) -> Closes:
    closes = Closes(**knobs)  # type: ignore[arg-type]
    closes.open("BTCUSDT", "1m", last * MINUTE, None, 0, 0.0)
    return closes


def minutes(records: Sequence[Candle | Correction]) -> list[int]:
    return [record.time // MINUTE for record in records]


def arrive(closes: Closes, *which: int, now: int = 0, wall: float = 0.0) -> list[int]:
    return [
        minute for one in which for minute in minutes(closes.arrived(candle(one), now or one * MINUTE, wall))
    ]


def test_closes_in_order_pass_at_once() -> None:
    assert arrive(opened(), 1, 2, 3) == [1, 2, 3]


def test_a_close_waits_for_the_one_before_it() -> None:
    closes = opened()

    assert arrive(closes, 2, 3) == []
    assert closes.waiting() == {("BTCUSDT", "1m"): 2}
    assert arrive(closes, 1) == [1, 2, 3]


def test_a_held_close_is_asked_about_at_once_and_only_once() -> None:
    closes = opened()
    arrive(closes, 3)

    assert closes.asks(3 * MINUTE, 0.0) == [Ask("BTCUSDT", "1m", MINUTE, 3 * MINUTE)]
    assert closes.asks(3 * MINUTE, 9.0) == []


def test_an_answer_fills_the_gap_and_frees_what_was_held() -> None:
    closes = opened()
    arrive(closes, 3)
    (ask,) = closes.asks(3 * MINUTE, 0.0)

    out = closes.answered(ask, [candle(2), candle(1), candle(3)], 3 * MINUTE, 0.1)

    assert minutes(out) == [1, 2, 3]
    assert closes.counts["BTCUSDT"].repaired == 2
    assert closes.counts["BTCUSDT"].gaps == 0
    assert closes.asks(3 * MINUTE, 99.0) == []


def test_a_hole_that_rest_has_too_is_believed_and_counted() -> None:
    closes = opened()
    arrive(closes, 4)
    (ask,) = closes.asks(4 * MINUTE, 0.0)

    assert minutes(closes.answered(ask, [candle(2), candle(4)], 4 * MINUTE, 0.1)) == [2, 4]
    assert closes.counts["BTCUSDT"].gaps == 2


def test_an_answer_that_lags_behind_the_frames_proves_no_hole() -> None:
    closes = opened()
    arrive(closes, 3)
    (ask,) = closes.asks(3 * MINUTE, 0.0)

    assert closes.answered(ask, [], 3 * MINUTE, 0.1) == []
    (again,) = closes.asks(3 * MINUTE + 2_000, 3.0)
    assert minutes(closes.answered(again, [candle(1), candle(2), candle(3)], 3 * MINUTE, 4.0)) == [1, 2, 3]


def test_a_close_held_too_long_goes_on_behind_a_gap() -> None:
    closes = opened(hold=30_000, patience=2.0)
    arrive(closes, 3, wall=1.0)
    (ask,) = closes.asks(3 * MINUTE, 1.0)
    closes.failed(ask, 3 * MINUTE, 1.5)

    assert closes.expired(3 * MINUTE + 29_999, 50.0) == []
    assert closes.expired(3 * MINUTE + 30_000, 2.9) == []
    assert minutes(closes.expired(3 * MINUTE + 30_000, 3.0)) == [3]
    assert closes.counts["BTCUSDT"].gaps == 2
    assert arrive(closes, 2) == []
    assert closes.counts["BTCUSDT"].late == 1


def test_a_missing_close_is_asked_for_after_the_cross_check_and_at_every_close_after_it() -> None:
    closes = opened(cross_check=2_000)

    assert closes.asks(MINUTE + 1_999, 1.0) == []
    (ask,) = closes.asks(MINUTE + 2_000, 2.0)
    closes.failed(ask, MINUTE + 2_000, 2.0)
    assert closes.asks(MINUTE + 3_999, 90.0) == []
    assert len(closes.asks(MINUTE + 4_000, 90.0)) == 1


def test_a_new_close_is_asked_for_without_the_delay_of_earlier_failures() -> None:
    closes = opened()
    for now in range(MINUTE + 2_000, 2 * MINUTE, 1_000):
        for ask in closes.asks(now, now / 1000):
            closes.failed(ask, now, now / 1000)

    assert closes.asks(2 * MINUTE + 2_000, 122.0) == [Ask("BTCUSDT", "1m", MINUTE, 2 * MINUTE)]


def test_the_same_close_again_is_counted_and_another_value_corrects_once() -> None:
    closes = opened()
    arrive(closes, 1, 1)
    other = candle(1, close=10.5)

    assert closes.counts["BTCUSDT"].duplicates == 1
    assert closes.arrived(other, LATE, 0.0) == [Correction("BTCUSDT", "1m", MINUTE, other)]
    assert closes.arrived(other, LATE, 0.0) == []
    assert closes.arrived(candle(1), LATE, 0.0) == []
    assert closes.counts["BTCUSDT"].corrections == 1


def test_a_column_that_only_one_source_has_corrects_nothing() -> None:
    closes = opened()
    closes.arrived(replace(candle(1), trades=7), LATE, 0.0)

    assert closes.arrived(candle(1), LATE, 0.0) == []
    assert closes.counts["BTCUSDT"].duplicates == 1


def test_after_a_restart_the_newest_candle_is_known_again() -> None:
    closes = Closes()
    closes.open("BTCUSDT", "1m", 5 * MINUTE, candle(5), 0, 0.0)

    assert closes.arrived(candle(5), LATE, 0.0) == []
    assert [type(one) for one in closes.arrived(candle(5, 11.0), LATE, 0.0)] == [Correction]


def test_what_comes_before_the_history_waits_for_it() -> None:
    closes = Closes()
    closes.expect("BTCUSDT", "1m")
    arrive(closes, 4, 5, 7)

    assert minutes(closes.open("BTCUSDT", "1m", 4 * MINUTE, candle(4), 7 * MINUTE, 0.0)) == [5]
    assert closes.asks(7 * MINUTE, 0.0) == [Ask("BTCUSDT", "1m", 6 * MINUTE, 7 * MINUTE)]


def test_a_market_opened_behind_the_stream_is_asked_about_without_waiting_for_its_next_close() -> None:
    closes = opened()
    closes.asks(3 * MINUTE + 2_000, 0.0)
    closes.open("ETHUSDT", "1m", MINUTE, None, 3 * MINUTE, 0.0)

    assert Ask("ETHUSDT", "1m", 2 * MINUTE, 3 * MINUTE) in closes.asks(3 * MINUTE + 2_100, 0.1)


def test_a_wild_price_is_believed_from_rest_only() -> None:
    closes = opened()
    arrive(closes, 1)

    assert closes.arrived(candle(2, close=1e12), 2 * MINUTE, 0.0) == []
    (ask,) = closes.asks(2 * MINUTE, 0.0)
    assert minutes(closes.answered(ask, [candle(2, close=1e12)], 2 * MINUTE, 0.1)) == [2]
    assert closes.counts["BTCUSDT"].suspects == 1


def test_a_close_is_pending_until_rest_was_asked_and_has_answered() -> None:
    closes = opened()
    assert not closes.pending(5 * MINUTE)
    (ask,) = closes.asks(5 * MINUTE + 2_000, 0.0)

    assert closes.pending(5 * MINUTE)
    assert not closes.pending(5 * MINUTE, shortest=5 * MINUTE)
    closes.failed(ask, 5 * MINUTE + 2_000, 0.1)
    assert not closes.pending(5 * MINUTE)


def test_a_dropped_symbol_is_forgotten() -> None:
    closes = opened()
    arrive(closes, 3)
    (ask,) = closes.asks(3 * MINUTE, 0.0)
    closes.drop("BTCUSDT")

    assert arrive(closes, 4) == []
    assert closes.answered(ask, [candle(1)], LATE, 0.0) == []
    assert closes.asks(LATE, 99.0) == []
    assert closes.waiting() == {}


def test_what_is_remembered_is_bounded() -> None:
    closes = opened()
    arrive(closes, *range(1, 1_000))

    assert closes.arrived(candle(999 - REMEMBERED), LATE, 0.0) == []
    assert closes.counts["BTCUSDT"].late == 1


@st.composite
def lives(draw: st.DrawFn) -> tuple[set[int], list[tuple[int, int]]]:
    """The minutes that exist, and frames in some disorder, each with what REST does: (minute, 0-3)."""
    exists = draw(st.sets(st.integers(1, 25), min_size=1))
    frames = draw(st.lists(st.sampled_from(sorted(exists)), max_size=60))
    frames.sort(key=lambda minute: minute + draw(st.integers(0, 4)))
    return exists, [(minute, draw(st.integers(0, 3))) for minute in frames]


def answer(closes: Closes, ask: Ask, exists: set[int], upto: int, now: int, wall: float) -> list[int]:
    """What a REST that never lies says about `ask` when `upto` was the newest closed minute."""
    first, last = ask.first // MINUTE, min(ask.last // MINUTE, upto)
    rows = [candle(minute) for minute in sorted(exists) if first <= minute <= last]
    return minutes(closes.answered(ask, rows, now, wall))


@given(lives())
def test_any_interleaving_gives_each_close_of_the_exchange_once_and_in_order(
    life: tuple[set[int], list[tuple[int, int]]],
) -> None:
    exists, events = life
    closes, out, wall = opened(hold=1 << 60), list[int](), 0.0
    asked: list[Ask] = []
    now = 0
    for minute, turn in events:
        now, wall = max(now, minute * MINUTE), wall + 1.0
        out += arrive(closes, minute, now=now, wall=wall)
        if turn:
            asked += closes.asks(now, wall)
        if turn == 2 and asked:
            out += answer(closes, asked.pop(), exists, now // MINUTE - 1, now, wall)
        if turn == 3 and asked:
            closes.failed(asked.pop(), now, wall)
    for _ in range(20):
        now, wall = max(now, 26 * MINUTE) + 60_000, wall + 60.0
        for ask in [*asked, *closes.asks(now, wall)]:
            out += answer(closes, ask, exists, 1_000, now, wall)
        asked = []

    assert out == sorted(exists)
    assert closes.waiting() == {}


@given(lives())
def test_with_rest_failing_for_ever_closes_still_leave_once_and_in_order(
    life: tuple[set[int], list[tuple[int, int]]],
) -> None:
    _, events = life
    closes, out, wall, now = opened(), list[int](), 0.0, 0
    for minute, _ in events:
        now, wall = max(now, minute * MINUTE), wall + 1.0
        out += arrive(closes, minute, now=now, wall=wall)
        for ask in closes.asks(now, wall):
            closes.failed(ask, now, wall)
        out += minutes(closes.expired(now, wall))
    out += minutes(closes.expired(now + 30_000, wall + 2.0))

    assert out == sorted(set(out))
    assert closes.waiting() == {}
    assert len(out) + closes.counts["BTCUSDT"].late >= len({minute for minute, _ in events})
