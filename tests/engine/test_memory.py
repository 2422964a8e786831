from __future__ import annotations

import math
import pickle
from collections.abc import Iterable
from typing import Any

from engine.memory import Memory, Moments
from engine.records import (
    INTERVALS,
    Candle,
    Correction,
    Features,
    Listing,
    Live,
    MarketFrame,
    Membership,
    Moment,
    Row,
    Tick,
)

FIVE = INTERVALS["5m"]
HOUR = INTERVALS["1h"]
LISTING = Listing("BTCUSDT", "BTCUSDT", "BTC", "majors")


def known(time: int, interval: str = "5m", close: float = 100.0, seen: int = 600, gap: int = 0) -> Features:
    candle = Candle.of(close, time=time, interval=interval)
    return Features("BTCUSDT", interval, time, candle, (), seen, gap)


def memory(reads: tuple[str, ...] = ("5m", "1h"), live: int = 0) -> Memory:
    made = Memory("5m", reads, minimum=500)
    assert feed(made, [Membership("BTCUSDT", 0, LISTING), Live(live)]) == []
    return made


def feed(made: Memory, records: Iterable[Any]) -> list[Any]:
    return [out for record in records for out in made.update(record)]


def test_a_close_with_all_its_candles_makes_a_row_and_a_draft_at_once() -> None:
    made = memory()
    feed(made, [known(HOUR - FIVE, close=100.0), known(HOUR, "1h")])
    row, draft = feed(made, [known(HOUR, close=110.0)])

    assert row == Row("BTCUSDT", HOUR, 0, math.log(1.1), present=True, speaks=True)
    assert isinstance(draft, Moment)
    assert draft.candle.close == 110.0
    assert {name: held.time for name, held in draft.features.items()} == {"5m": HOUR, "1h": HOUR}
    assert draft.degraded == ()


def test_a_close_waits_for_its_hour_candle_and_names_it_after_the_deadline() -> None:
    made = memory()
    before = feed(made, [known(HOUR)])
    row, draft = feed(made, [Tick(HOUR)])

    assert before == []
    assert row.present
    assert draft.degraded == ("1h candles absent",)
    assert feed(made, [Tick(HOUR)]) == []


def test_an_hour_candle_that_is_not_due_is_not_waited_for() -> None:
    made = memory()
    feed(made, [known(HOUR, "1h"), known(HOUR)])
    _, draft = feed(made, [known(HOUR + FIVE)])

    assert draft.features["1h"].time == HOUR
    assert draft.degraded == ()


def test_a_missing_candle_makes_one_absent_row_and_no_draft() -> None:
    made = memory()
    rows = feed(made, [Tick(FIVE), Tick(FIVE), Tick(2 * FIVE)])

    assert [(type(row), row.time, row.present) for row in rows] == [
        (Row, FIVE, False),
        (Row, 2 * FIVE, False),
    ]


def test_a_late_candle_goes_to_the_ledger_alone_and_the_next_moment_says_so() -> None:
    made = memory(reads=("5m",))
    feed(made, [known(FIVE), Tick(2 * FIVE)])
    late = known(2 * FIVE)

    assert feed(made, [late]) == [late.candle]

    _, draft = feed(made, [known(3 * FIVE)])
    assert draft.degraded == ("5m candle 1970-01-01T00:10Z came late",)


def test_up_to_live_rows_flow_and_no_moment_is_made() -> None:
    made = memory(reads=("5m",), live=2 * FIVE)
    quiet = feed(made, [known(FIVE), known(2 * FIVE)])
    loud = feed(made, [known(3 * FIVE)])

    assert [type(out) for out in quiet] == [Row, Candle, Row, Candle]
    assert not any(row.speaks for row in quiet if isinstance(row, Row))
    assert [type(out) for out in loud] == [Row, Moment]


def test_a_symbol_with_too_few_candles_stays_silent() -> None:
    made = memory(reads=("5m",))

    assert [type(out) for out in feed(made, [known(FIVE, seen=499)])] == [Row, Candle]
    assert [type(out) for out in feed(made, [known(2 * FIVE, seen=500)])] == [Row, Moment]


def test_a_short_higher_interval_is_named() -> None:
    made = memory()
    _, draft = feed(made, [known(HOUR, "1h", seen=120), known(HOUR)])

    assert draft.degraded == ("1h has 120 of 500 candles",)


def test_a_symbol_that_left_the_universe_keeps_only_its_ledger() -> None:
    made = memory(reads=("5m",))
    feed(made, [Membership("BTCUSDT", 2 * FIVE, None)])

    assert [type(out) for out in feed(made, [known(2 * FIVE)])] == [Row, Moment]
    assert [type(out) for out in feed(made, [known(3 * FIVE)])] == [Candle]
    assert feed(made, [Tick(4 * FIVE)]) == []


def test_a_row_names_the_universe_that_holds_for_its_close() -> None:
    made = memory(reads=("5m",))
    feed(made, [Membership("BTCUSDT", 2 * FIVE, LISTING)])
    rows = [out for out in feed(made, [known(2 * FIVE), known(3 * FIVE)]) if isinstance(out, Row)]

    assert [row.universe for row in rows] == [0, 2 * FIVE]


def test_a_gap_gives_no_return_and_is_named_for_a_day() -> None:
    made = memory(reads=("5m",))
    feed(made, [known(FIVE)])
    row, draft = feed(made, [known(4 * FIVE, gap=2)])

    assert math.isnan(row.log_return)
    assert draft.degraded == ("2 5m candles missing before 1970-01-01T00:20Z",)

    _, later = feed(made, [known(4 * FIVE + 86_400_000)])
    assert later.degraded == ()


def test_a_correction_is_named_and_changes_nothing_else() -> None:
    plain, corrected = memory(reads=("5m",)), memory(reads=("5m",))
    feed(plain, [known(FIVE)])
    feed(
        corrected, [known(FIVE), Correction("BTCUSDT", "5m", FIVE, Candle.of(50.0, time=FIVE, interval="5m"))]
    )
    (row, draft), (row_after, draft_after) = (
        feed(plain, [known(2 * FIVE)]),
        feed(corrected, [known(2 * FIVE)]),
    )

    assert row_after == row
    assert draft_after.features == draft.features
    assert draft_after.degraded == ("5m candle 1970-01-01T00:05Z corrected",)


def test_memory_survives_pickling_between_any_two_records() -> None:
    records = [
        known(HOUR - FIVE),
        Tick(HOUR - FIVE),
        known(HOUR, "1h"),
        known(HOUR),
        Tick(HOUR),
        known(HOUR + FIVE),
    ]
    whole = feed(memory(), records)
    made, pieces = memory(), []
    for record in records:
        pieces += feed(made, [record])
        made = pickle.loads(pickle.dumps(made))

    assert pieces == whole


def test_a_memory_stays_small_through_history_and_many_closes() -> None:
    made = memory()
    feed(made, [known(hour * HOUR, "1h") for hour in range(1, 1000)])
    after_history = len(pickle.dumps(made))
    for hour in range(1000, 1100):
        feed(made, [known(hour * HOUR, "1h"), known(hour * HOUR), Tick(hour * HOUR)])

    assert after_history < 6_000
    assert len(pickle.dumps(made)) < 6_000


def test_notes_are_bounded() -> None:
    made = memory(reads=("5m",))
    for position in range(1, 100):
        feed(made, [Correction("BTCUSDT", "5m", FIVE, Candle.of(50.0 + position, time=FIVE, interval="5m"))])
    _, draft = feed(made, [known(2 * FIVE)])

    assert len(draft.degraded) == 8


def frame(time: int) -> MarketFrame:
    return MarketFrame("BTCUSDT", time, 1, 1, *([math.nan] * 11))


def test_drafts_leave_in_order_with_the_frame_of_their_own_close() -> None:
    made = memory(reads=("5m",))
    drafts = [out for out in feed(made, [known(FIVE), known(2 * FIVE)]) if isinstance(out, Moment)]
    candle = Candle.of(1.0, time=3 * FIVE, interval="5m")
    moments = Moments()
    out = [list(moments.update(record)) for record in (drafts[0], drafts[1], candle, frame(2 * FIVE))]

    assert out == [[], [], [], []]

    first, second, last = moments.update(frame(FIVE))
    assert isinstance(first, Moment)
    assert isinstance(second, Moment)

    assert (first.market.time, second.market.time) == (FIVE, 2 * FIVE)  # type: ignore[union-attr]
    assert last == candle
