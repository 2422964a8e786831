from __future__ import annotations

import math
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.market import Market
from engine.memory import MOST_ACTIVATIONS, Memory, Moments, with_activation
from engine.records import (
    INTERVALS,
    NEVER,
    Activation,
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
    Universe,
)

FIVE = INTERVALS["5m"]
HOUR = INTERVALS["1h"]
LISTING = Listing("BTCUSDT", "BTCUSDT", "BTC", "majors")


def known(time: int, interval: str = "5m", close: float = 100.0, seen: int = 600, gap: int = 0) -> Features:
    candle = Candle.of(close, time=time, interval=interval)
    return Features("BTCUSDT", interval, time, candle, (), seen, gap)


def memory(reads: tuple[str, ...] = ("5m", "1h"), live: int = 0, models: Mapping[str, str] = {}) -> Memory:
    made = Memory("5m", reads, minimum=500, models=models)
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


HOURLY = {"boosted": "1h"}


def rows_of(records: Iterable[Any]) -> list[Row]:
    return [record for record in records if isinstance(record, Row)]


def activation(time: int, version: str = "v1", serves_from: int = 0, expires: int = NEVER) -> Activation:
    return Activation(time, "boosted", version, serves_from, expires)


def test_a_close_of_a_models_interval_makes_a_second_row_behind_the_first() -> None:
    made = memory(models=HOURLY)
    feed(
        made, [known(HOUR, "1h", close=100.0), known(HOUR, close=100.0), known(2 * HOUR - FIVE, close=100.0)]
    )
    first, second, draft = feed(made, [known(2 * HOUR, "1h", close=120.0), known(2 * HOUR, close=110.0)])

    assert first == Row("BTCUSDT", 2 * HOUR, 0, math.log(1.1), present=True, speaks=True)
    assert second == Row("BTCUSDT", 2 * HOUR, 0, math.log(1.2), present=True, speaks=True, interval="1h")
    assert isinstance(draft, Moment)


def test_between_closes_of_a_models_interval_there_is_one_row() -> None:
    made = memory(models=HOURLY)
    feed(made, [known(HOUR, "1h"), known(HOUR)])

    assert [row.interval for row in rows_of(feed(made, [known(HOUR + FIVE)]))] == [""]


def test_the_decision_interval_of_a_model_makes_no_second_row() -> None:
    made = memory(models={"boosted": "5m", "regime": "1h", "transformer": "1h"})

    assert [row.interval for row in rows_of(feed(made, [known(HOUR, "1h"), known(HOUR)]))] == ["", "1h"]


def test_a_models_candle_that_is_late_is_absent_once_and_counts_for_the_next_return() -> None:
    made = memory(models=HOURLY)
    feed(made, [known(HOUR, "1h", close=100.0), known(HOUR, close=100.0)])
    waited = feed(made, [known(2 * HOUR, close=100.0)])
    absent = rows_of(feed(made, [Tick(2 * HOUR)]))
    late = feed(made, [known(2 * HOUR, "1h", close=125.0), Tick(2 * HOUR)])
    later = rows_of(feed(made, [known(3 * HOUR, "1h", close=150.0), known(3 * HOUR)]))

    assert (waited, late) == ([], [])
    assert [(row.interval, row.present, row.speaks) for row in absent] == [
        ("", True, True),
        ("1h", False, True),
    ]
    assert math.isnan(absent[1].log_return)
    assert later[1].log_return == math.log(1.2)


def test_a_missing_decision_candle_leaves_the_models_row_there_and_nobody_speaks() -> None:
    made = memory(models=HOURLY)
    feed(made, [known(HOUR, "1h", close=100.0), known(HOUR), known(2 * HOUR, "1h", close=120.0)])
    first, second = feed(made, [Tick(2 * HOUR)])

    assert (first.interval, first.present, first.speaks) == ("", False, False)
    assert second == Row("BTCUSDT", 2 * HOUR, 0, math.log(1.2), present=True, speaks=False, interval="1h")


@given(st.data())
@examples(max_examples=100, deadline=None)
def test_whatever_comes_late_or_twice_there_is_one_row_for_each_close_and_interval(
    data: st.DataObject,
) -> None:
    made = memory(models=HOURLY)
    out: list[Any] = []
    late: list[Features] = []
    for close in range(HOUR, 4 * HOUR + 1, FIVE):
        due = [known(close, name) for name in ("5m", "1h") if close % INTERVALS[name] == 0]
        for candle in data.draw(st.permutations(due)):
            fate = data.draw(st.sampled_from(("here", "here", "late", "lost")))
            late += [candle] if fate == "late" else []
            out += feed(made, [candle] if fate == "here" else [])
        out += feed(made, [Tick(close)] * data.draw(st.integers(1, 2)))
        out += feed(made, late if data.draw(st.booleans()) else [])
        late = [] if data.draw(st.booleans()) else late

    told = [(row.interval, row.time) for row in rows_of(out)]
    expected = [
        (interval, close)
        for close in range(HOUR, 4 * HOUR + 1, FIVE)
        for interval in ("", "1h")
        if close % INTERVALS[interval or "5m"] == 0
    ]
    assert told == expected


def serving(made: Memory, time: int) -> Mapping[str, Activation]:
    [draft] = [out for out in feed(made, [known(time)]) if isinstance(out, Moment)]
    return draft.activations


def test_a_version_serves_behind_its_activation_and_not_before_its_time() -> None:
    made = memory(reads=("5m",), models={"boosted": "5m"})
    old, new = activation(0), activation(2 * FIVE, "v2", serves_from=4 * FIVE)
    feed(made, [old, known(FIVE), new])

    versions = [serving(made, close * FIVE)["boosted"].version for close in (2, 3, 4, 5)]

    assert versions == ["v1", "v1", "v2", "v2"]


def test_nothing_serves_before_the_first_activation_and_a_foreign_model_is_ignored() -> None:
    made = memory(reads=("5m",), models={"boosted": "5m"})
    feed(made, [activation(FIVE), Activation(0, "sizer", "s1", 0)])

    assert serving(made, FIVE) == {}
    assert serving(made, 2 * FIVE) == {"boosted": activation(FIVE)}


def test_a_version_that_has_expired_is_still_told() -> None:
    made = memory(reads=("5m",), models={"boosted": "5m"})
    feed(made, [activation(0, expires=FIVE)])

    assert serving(made, 2 * FIVE) == {"boosted": activation(0, expires=FIVE)}


def test_an_older_version_that_was_activated_again_serves() -> None:
    made = memory(reads=("5m",), models={"boosted": "5m"})
    feed(made, [activation(0, "v1"), activation(FIVE, "v2", serves_from=FIVE), activation(2 * FIVE, "v1")])

    assert [serving(made, close * FIVE)["boosted"].version for close in (2, 3)] == ["v2", "v1"]


def test_without_models_a_moment_has_no_frames_and_no_activations() -> None:
    made = memory(reads=("5m",))
    feed(made, [activation(0)])

    assert serving(made, FIVE) == {}


@st.composite
def journaled(draw: st.DrawFn) -> list[Activation]:
    """Activations as they are journaled: time goes on, and each serves at once, later, or long since."""
    times = draw(st.lists(st.integers(0, 20), min_size=1, max_size=30).map(sorted))
    return [
        activation(time, f"v{draw(st.integers(0, 5))}", serves_from=time + draw(st.integers(-30, 30)))
        for time in times
    ]


@given(journaled())
@examples(max_examples=300, deadline=None)
def test_few_activations_are_kept_and_what_serves_from_now_on_is_among_them(heard: list[Activation]) -> None:
    known: tuple[Activation, ...] = ()
    for count, new in enumerate(heard, start=1):
        known = with_activation(known, new)

        assert len(known) <= MOST_ACTIVATIONS
        for time in (new.time, new.time + 1):
            everything = [one for one in heard[:count] if one.serves(time)]
            assert [one for one in known if one.serves(time)][-1:] == everything[-1:]


def test_a_version_far_off_displaces_none_that_serves_before_it() -> None:
    known: tuple[Activation, ...] = ()
    waiting = [activation(hour, f"v{hour}", serves_from=100 + hour) for hour in range(3)]
    for new in (activation(0, "v"), *waiting, activation(5, "far", serves_from=1000)):
        known = with_activation(known, new)

    assert known == (activation(0, "v"), *waiting)


@given(journaled())
@examples(max_examples=100, deadline=None)
def test_activations_heard_again_change_nothing(heard: list[Activation]) -> None:
    known: tuple[Activation, ...] = ()
    for new in heard:
        known = with_activation(known, new)
    again = known
    for new in known:
        again = with_activation(again, new)

    assert again == known


def test_a_memory_stays_small_through_many_activations_and_survives_pickling() -> None:
    made = memory(models=HOURLY)
    for number in range(1000):
        feed(made, [activation(number * FIVE, f"20231115T{number:04d}Z-cf8a07fc", number * FIVE)])
    again = pickle.loads(pickle.dumps(made))

    assert len(pickle.dumps(made)) < 2_000
    assert serving(again, 1000 * HOUR + FIVE) == serving(made, 1000 * HOUR + FIVE) != {}


def hour_frame(time: int, interval: str = "1h") -> MarketFrame:
    return MarketFrame("BTCUSDT", time, 1, 1, *([math.nan] * 11), interval=interval, filled=3)


def test_a_draft_waits_for_the_frame_of_a_models_interval_where_that_closes() -> None:
    made, moments = memory(models=HOURLY), Moments("5m", HOURLY)
    drafts = feed(made, [known(HOUR, "1h"), known(HOUR), known(HOUR + FIVE)])
    hour, five = (out for out in drafts if isinstance(out, Moment))
    out = feed_moments(moments, [hour, five, frame(HOUR + FIVE), frame(HOUR)])

    assert out == []

    moments = pickle.loads(pickle.dumps(moments))
    first, second = moments.update(hour_frame(HOUR))
    assert isinstance(first, Moment)
    assert isinstance(second, Moment)
    assert first.market is not None
    assert (first.market.interval, first.frames["1h"].filled) == ("", 3)
    assert (first.time, list(first.frames)) == (HOUR, ["1h"])
    assert (second.time, list(second.frames)) == (HOUR + FIVE, [])


def test_the_frame_of_a_model_on_the_decision_interval_is_the_decisions_own() -> None:
    models = {"boosted": "5m", "regime": "1h"}
    made, moments = memory(models=models), Moments("5m", models)
    drafts = feed(made, [activation(0), known(HOUR, "1h"), known(HOUR), known(HOUR + FIVE)])
    hour, five = (out for out in drafts if isinstance(out, Moment))
    at_hour, later = feed_moments(moments, [hour_frame(HOUR), hour, frame(HOUR), five, frame(HOUR + FIVE)])

    assert at_hour.frames["5m"] is at_hour.market
    assert sorted(at_hour.frames) == ["1h", "5m"]
    assert list(later.frames) == ["5m"]
    assert at_hour.activations == {"boosted": activation(0)}


def feed_moments(made: Moments, records: Iterable[Any]) -> list[Any]:
    return [out for record in records for out in made.update(record)]


ASSETS = ("BTC", "ETH", "SOL")
MODELS = {"boosted": "1h", "transformer": "15m"}


def run_symbols(
    journal: Iterable[tuple[str, Any]], choose: Callable[[int], int], pickled: bool = False
) -> list[str]:
    """Moments of several symbols, each key fed in its own order and `choose` saying whose turn is next.

    A key is a step as the flow keeps it, wherever it runs; between two keys records keep their order.
    """
    steps: dict[str, Any] = {}
    lanes: dict[tuple[str, str], deque[Any]] = {}
    out: list[str] = []

    def send(sender: str, key: str, record: Any) -> None:
        lanes.setdefault((sender, key), deque()).append(record)

    for key, record in journal:
        send("ingest", key, record)
        if key == "market":
            for interval in ("15m", "1h"):
                send("ingest", f"market.{interval}", record)
    while waiting := [lane for lane in lanes if lanes[lane]]:
        sender, key = waiting[choose(len(waiting))]
        record = lanes[sender, key].popleft()
        step = steps.get(key) or new_step(key)
        steps[key] = pickle.loads(pickle.dumps(step)) if pickled else step
        for said in steps[key].update(record):
            if isinstance(said, Row):
                send(key, "market." + said.interval if said.interval else "market", said)
            elif key.startswith("moments."):
                out += [repr(said)] if isinstance(said, Moment) else []
            else:
                # One lane for all senders of a key would be one more order: there is none.
                send(key, f"moments.{said.symbol}", said)
    return sorted(out)


def new_step(key: str) -> Any:
    if key.startswith("moments."):
        return Moments("5m", MODELS)
    if key.startswith("market"):
        return Market(window=8)
    return Memory("5m", ("5m", "15m", "1h"), 500, MODELS)


def journal_of_three() -> list[tuple[str, Any]]:
    """Three symbols over three hours; ETH misses candles, SOL joins in the middle of an hour."""
    listings = {asset: Listing(f"{asset}USDT", f"{asset}USDT", asset, "majors") for asset in ASSETS}
    made: list[tuple[str, Any]] = []
    said: list[Any] = [Live(HOUR), activation(HOUR)]

    def universe(time: int, assets: tuple[str, ...], joining: tuple[str, ...]) -> None:
        made.append(("market", Universe(time, tuple(listings[asset] for asset in assets))))
        for asset in assets:
            heard = said if asset in joining else []
            member = Membership(f"{asset}USDT", time, listings[asset])
            made.extend((f"{asset}USDT", one) for one in (*heard, member))

    universe(HOUR - FIVE, ("BTC", "ETH"), ("BTC", "ETH"))
    for close in range(HOUR, 4 * HOUR + 1, FIVE):
        for interval in ("5m", "15m", "1h"):
            for place, asset in enumerate(ASSETS):
                missing = asset == "ETH" and close in (2 * HOUR, 3 * HOUR - FIVE)
                if close % INTERVALS[interval] == 0 and not (missing and interval != "15m"):
                    price = 100.0 + (close // FIVE * (place + 3)) % 7
                    candle = Candle.of(price, time=close, interval=interval, symbol=f"{asset}USDT")
                    features = Features(candle.symbol, interval, close, candle, (), 600)
                    made.append((candle.symbol, features))
        told: list[Any] = [Tick(close)]
        if close == 2 * HOUR + 3 * FIVE:
            said.append(activation(close, "v2", serves_from=3 * HOUR))
            told.append(said[-1])
        made += [(f"{asset}USDT", one) for one in told for asset in ASSETS]
        if close == 2 * HOUR + 6 * FIVE:
            universe(close, ASSETS, ("SOL",))
    return made


@pytest.fixture(scope="module")
def in_order() -> list[str]:
    return run_symbols(journal_of_three(), lambda _: 0)


def test_moments_of_three_symbols_have_every_frame_that_is_due(in_order: list[str]) -> None:
    assert len(in_order) == 2 * 36 + 18 - 2
    assert sum("interval='1h', filled=" in moment for moment in in_order) == 3 + 2 + 2
    assert sum("interval='15m', filled=" in moment for moment in in_order) == 2 * 12 + 6 - 1
    assert sum("version='v2'" in moment for moment in in_order) == 3 * 13


@given(st.randoms(use_true_random=False), st.booleans())
@examples(max_examples=20, deadline=None)
def test_any_interleaving_of_keys_gives_the_same_moments(
    in_order: list[str], random: Any, pickled: bool
) -> None:
    assert run_symbols(journal_of_three(), random.randrange, pickled) == in_order
