"""The nouns: what cannot be true is refused by name, and what is frozen stays one object."""

from __future__ import annotations

import pickle
from copy import copy, deepcopy
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from itertools import pairwise
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import records
from engine.errors import CorruptRecord, EngineError
from engine.records import (
    INTERVALS,
    Candle,
    Features,
    Frozen,
    LayerScore,
    LayerVote,
    Listing,
    MarketFrame,
    Moment,
    Outcome,
    Price,
    Reason,
    Row,
    Signal,
    Status,
    Tick,
    Universe,
)

CANDLE = Candle("BTCUSDT", "5m", 300_000, 10.0, 12.0, 9.0, 11.0, 5.0, 55.0, 7, 2.0, 22.0)
LISTING = Listing("PEPEUSDT", "1000PEPEUSDT", "PEPE", "memes", 1000, 1e-8)
FEATURES = Features("BTCUSDT", "5m", 300_000, CANDLE, (1.0, 2.0), 600)
SCORE = LayerScore("technical", "BTCUSDT", 300_000, 12.0, 1.0, (Reason("trend", 12.0, "up"),))

PRICES = st.floats(min_value=1e-8, max_value=1e8)


def everything() -> list[Any]:
    """One of every record."""
    frame = MarketFrame("BTCUSDT", 300_000, 1, 2, *[0.5] * 11)
    return [
        CANDLE,
        records.Correction("BTCUSDT", "5m", 300_000, CANDLE),
        Tick(300_000),
        records.Live(300_000),
        LISTING,
        Universe(300_000, (LISTING,)),
        records.Membership("PEPEUSDT", 300_000, LISTING),
        Price("BTCUSDT", 300_001, 10.5),
        FEATURES,
        Row("BTCUSDT", 300_000, 0, 0.01, present=True, speaks=False),
        frame,
        Moment("BTCUSDT", "5m", 300_000, LISTING, {"5m": FEATURES}, ("uncalibrated",), frame),
        Reason("trend", 12.0, "up"),
        SCORE,
        LayerVote(12.0, 45.0, 0.8, 1.0),
        Signal(
            "id", "BTCUSDT", "5m", 300_000, 3_900_000, 600_000, "LONG", 61.0, 20.0, None, None, 0.5,
            11.0, 10.0, 13.0, 2.0, {"technical": LayerVote(12.0, 45.0, 1.0, 1.0)}, ("uncalibrated",),
            {"binance": 300_000}, "replay",
        ),
        Outcome("id", "BTCUSDT", 300_000, "LONG", 61.0, 3_900_000, 11.0, 11.5, 0.045, hit=True),
        Status("streams", {"connections": []}),
        records.Metric("binance.funding", "PEPE", 300_000, 0.0001, 300_500),
        records.Headline("0" * 16, "wire", 1, "Pepe leaps", "https://example.org", ("PEPE",), 0.5, 0.9),
        records.Reading("binance.funding", 300_000, 300_500, 0.0001),
        records.Mood("news", "market", 0.25, 1.5, 3, 300_000, "Pepe leaps", "wire"),
        records.Activation(300_000, "boosted", "20240309T1600Z-0a1b2c3d", 200_000),
        records.Prediction("BTCUSDT", 300_000, "boosted", 300_000, "v", 0.55, (0.3, 0.3, 0.4), skill=True),
    ]  # fmt: skip


def candle(**changed: Any) -> Candle:
    return replace(CANDLE, **changed)


class TestCandle:
    @given(
        low=PRICES,
        rises=st.tuples(*[st.floats(min_value=0, max_value=10)] * 3),
        volume=st.floats(min_value=0, max_value=1e15),
        interval=st.sampled_from(tuple(INTERVALS)),
        bar=st.integers(min_value=0, max_value=1_000_000),
    )
    def test_whatever_a_market_can_produce_is_accepted(
        self, low: float, rises: tuple[float, float, float], volume: float, interval: str, bar: int
    ) -> None:
        first, second, third = sorted(low * (1 + rise) for rise in rises)
        time = bar * INTERVALS[interval]

        made = Candle("XUSDT", interval, time, first, third, low, second, volume)

        assert made.open_time == time - INTERVALS[interval]

    @pytest.mark.parametrize("name", ["open", "high", "low", "close"])
    @pytest.mark.parametrize("value", [nan, inf, -inf, -1.0, 0.0])
    def test_an_impossible_price_is_refused_by_name(self, name: str, value: float) -> None:
        with pytest.raises(
            CorruptRecord, match=rf"^BTCUSDT 5m candle closing at 300000: {name} was {value}$"
        ):
            candle(**{name: value})

    @pytest.mark.parametrize("value", [nan, inf, -1.0])
    def test_an_impossible_volume_is_refused_by_name(self, value: float) -> None:
        with pytest.raises(CorruptRecord, match=f"volume was {value}"):
            candle(volume=value)

    def test_a_candle_nobody_traded_in_is_no_fault(self) -> None:
        assert candle(volume=0.0).volume == 0.0

    @pytest.mark.parametrize(
        ("changed", "fault"),
        [
            ({"high": 10.5}, "high 10.5 is below open 10.0 or close 11.0"),
            ({"high": 10.5, "close": 9.5, "open": 10.6}, "high 10.5 is below open 10.6 or close 9.5"),
            ({"low": 10.5}, "low 10.5 is above open 10.0 or close 11.0"),
            ({"time": 300_001}, "not on the grid of 300000 ms"),
            ({"time": 299_999}, "not on the grid of 300000 ms"),
            ({"interval": "7m"}, "interval '7m' is not one of 1m, 5m, 15m, 1h, 4h"),
        ],
    )
    def test_a_contradiction_is_refused_and_explained(self, changed: dict[str, Any], fault: str) -> None:
        with pytest.raises(CorruptRecord, match=fault):
            candle(**changed)

    @given(
        values=st.tuples(*[st.floats(width=64)] * 5),
        time=st.integers(min_value=-(10**15), max_value=10**15),
        interval=st.sampled_from([*INTERVALS, "2m"]),
    )
    def test_it_is_true_or_refused_never_kept_wrong(
        self, values: tuple[float, float, float, float, float], time: int, interval: str
    ) -> None:
        try:
            made = Candle("XUSDT", interval, time, *values)
        except CorruptRecord:
            return

        assert 0 < made.low <= min(made.open, made.close) <= max(made.open, made.close) <= made.high < inf
        assert 0 <= made.volume < inf
        assert made.time % INTERVALS[made.interval] == 0

    def test_a_refusal_can_be_caught_as_ours_or_as_a_value_error(self) -> None:
        assert issubclass(CorruptRecord, EngineError)
        assert issubclass(CorruptRecord, ValueError)

    def test_columns_the_source_lacks_are_none(self) -> None:
        made = Candle.of(10.0)

        assert (made.quote_volume, made.trades, made.taker_base, made.taker_quote) == (None,) * 4
        assert (made.open, made.high, made.low, made.close) == (10.0,) * 4


class TestEveryRecord:
    def test_the_list_here_is_complete(self) -> None:
        declared = {
            name
            for name, value in vars(records).items()
            if is_dataclass(value) and value.__module__ == records.__name__
        }

        assert {type(record).__name__ for record in everything()} == declared

    @pytest.mark.parametrize("record", everything(), ids=lambda record: type(record).__name__)
    def test_it_cannot_change_and_takes_no_other_field(self, record: Any) -> None:
        for name in (fields(record)[0].name, "another"):
            with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
                setattr(record, name, None)

        assert isinstance(record, Frozen)

    @pytest.mark.parametrize("record", everything(), ids=lambda record: type(record).__name__)
    def test_its_copy_is_itself(self, record: Any) -> None:
        assert copy(record) is record
        assert deepcopy(record) is record
        assert deepcopy([record])[0] is record

    @pytest.mark.parametrize("record", everything(), ids=lambda record: type(record).__name__)
    def test_it_survives_pickling(self, record: Any) -> None:
        assert pickle.loads(pickle.dumps(record)) == record

    @pytest.mark.parametrize("record", everything(), ids=lambda record: type(record).__name__)
    def test_it_has_no_dictionary_of_its_own(self, record: Any) -> None:
        assert not hasattr(record, "__dict__")


def test_intervals_come_shortest_first_each_a_multiple_of_the_one_before() -> None:
    lengths = list(INTERVALS.values())

    assert lengths == sorted(lengths)
    assert all(longer % shorter == 0 for shorter, longer in pairwise(lengths))


def test_intervals_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        INTERVALS["2m"] = 1  # type: ignore[index]


def test_a_universe_names_its_symbols_in_order() -> None:
    other = replace(LISTING, symbol="BTCUSDT")

    assert Universe(0, (LISTING, other)).symbols == ("PEPEUSDT", "BTCUSDT")


def test_a_moment_speaks_of_its_decision_candle() -> None:
    higher = replace(FEATURES, interval="1h", candle=Candle.of(5.0, time=3_600_000, interval="1h"))
    moment = Moment("BTCUSDT", "5m", 300_000, LISTING, {"1h": higher, "5m": FEATURES})

    assert moment.candle is CANDLE
    assert moment.now is FEATURES


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_metric_is_a_finite_number(value: float) -> None:
    with pytest.raises(CorruptRecord, match=r"^a\.b of the market at 5 was (nan|-?inf)$"):
        records.Metric("a.b", "", 5, value)


@pytest.mark.parametrize(
    ("sentiment", "weight"), [(1.01, 0.5), (-1.01, 0.5), (0.0, 1.01), (0.0, -0.01), (nan, 0.5)]
)
def test_a_headline_keeps_within_its_bounds(sentiment: float, weight: float) -> None:
    with pytest.raises(CorruptRecord, match="headline 1 of wire"):
        records.Headline("1", "wire", 5, "", "", (), sentiment, weight)
