"""One market's features: the schema, gaps, refusals, small state that goes on where it stopped."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from math import isnan
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import features as module
from engine.errors import CorruptRecord, StorageError
from engine.features import SCHEMA, FeatureSchema, FeatureSet
from engine.indicators import Column, Panel, standard
from engine.records import INTERVALS, Candle, Features
from tests import checks

HOUR = INTERVALS["1h"]

SPECIFIED = [
    *("rsi_14", "rsi_7", "macd", "macd_signal", "macd_histogram"),
    *("ema_9", "ema_21", "sma_50", "sma_200", "adx_14", "plus_di_14", "minus_di_14"),
    *("bb_upper", "bb_mid", "bb_lower", "atr_14", "obv", "vwap", "volume_ratio"),
    *("swing_high", "swing_low", "support", "resistance"),
    *("order_block", "order_block_bull_distance", "order_block_bear_distance"),
    *("fvg", "fvg_filled", "fvg_bull_open", "fvg_bear_open", "fvg_bull_distance", "fvg_bear_distance"),
    *("engulfing", "pin_bar", "doji", "inside_bar", "three_line", "star"),
    *("bb_position", "ema_cross", "ema_cross_age", "rsi_divergence", "rsi_slope", "price_slope"),
]


def packed(features: Features) -> bytes:
    return pack(f"{len(features.values)}d", *features.values)


def advanced(candles: list[Candle], symbol: str = "BTCUSDT", interval: str = "1h") -> FeatureSet:
    features = FeatureSet(symbol, interval)
    for candle in candles:
        features.update(candle)
    return features


def test_the_schema_names_every_feature_of_the_specification() -> None:
    assert [name for name in SPECIFIED if name not in SCHEMA.index] == []
    assert len(SCHEMA.ratios) >= 30


def test_the_schema_finds_names_and_its_hash_follows_them() -> None:
    here = FeatureSchema.of([Column("a", 1), Column("b", 2)])
    there = FeatureSchema.of([Column("b", 2), Column("a", 1)])

    assert all(SCHEMA.names[place] == name for name, place in SCHEMA.index.items())
    assert len(SCHEMA.hash) == 16
    assert int(SCHEMA.hash, 16) > 0
    assert here.hash != there.hash
    assert here.hash == FeatureSchema.of([Column("a", 1), Column("b", 2)]).hash


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="rsi_14"):
        FeatureSchema.of([Column("rsi_14", 1), Column("rsi_14", 2)])


def test_values_follow_the_schema_and_are_nan_only_before_their_first_candle() -> None:
    features = FeatureSet("BTCUSDT", "1h")
    candles = checks.market(600, seed=1)
    for candle in candles:
        now = features.update(candle)
        early = {n for n, v in zip(SCHEMA.names, now.values, strict=True) if isnan(v)}

        assert len(now.values) == len(SCHEMA.names)
        assert early <= {name for name, first in SCHEMA.first_valid.items() if first > now.seen}
    assert now.candle is candles[-1]
    assert (now.symbol, now.interval, now.time, now.seen, now.gap) == (
        "BTCUSDT",
        "1h",
        candles[-1].time,
        600,
        0,
    )


@pytest.mark.parametrize("interval", INTERVALS)
def test_every_column_is_there_when_the_schema_says(interval: str) -> None:
    last = max(SCHEMA.first_valid.values())
    for seed in (1, 2, 3):
        candles = checks.market(
            last, seed, interval=interval, start=checks.START + seed * INTERVALS[interval] * 7
        )
        now = advanced(candles[:-1], interval=interval).update(candles[-1])

        assert not any(map(isnan, now.values))


@pytest.mark.parametrize("missing", [1, 5, 1000])
def test_missing_candles_are_counted_and_not_invented(missing: int) -> None:
    candles = checks.market(300, seed=2)
    features = advanced(candles)
    late = replace(candles[-1], time=candles[-1].time + (missing + 1) * HOUR)
    now = features.update(late)

    assert (now.gap, now.seen) == (missing, 301)


def test_after_more_than_a_thousand_missing_candles_it_starts_anew() -> None:
    candles = checks.market(700, seed=2)
    far = replace(candles[-1], time=candles[-1].time + 1002 * HOUR)
    old, new = advanced(candles), FeatureSet("BTCUSDT", "1h")
    peeked = old.peek(far)
    now = old.update(far)

    assert (now.gap, now.seen) == (1001, 1)
    assert packed(now) == packed(new.update(far)) == packed(peeked)
    assert (peeked.gap, peeked.seen) == (1001, 1)


@pytest.mark.parametrize("back", [0, 1, 50])
def test_a_candle_not_after_the_last_is_refused_naming_both(back: int) -> None:
    candles = checks.market(80, seed=3)
    features = advanced(candles)
    kept = pickle.dumps(features)
    last, late = candles[-1].time, candles[-1 - back].time

    with pytest.raises(CorruptRecord, match=rf"BTCUSDT 1h candle closing at {late} .* {last}"):
        features.update(candles[-1 - back])
    with pytest.raises(CorruptRecord, match=str(late)):
        features.peek(candles[-1 - back])
    assert pickle.dumps(features) == kept


def test_a_candle_of_another_market_is_refused() -> None:
    with pytest.raises(CorruptRecord, match=r"BTCUSDT 1h .* ETHUSDT 1h"):
        FeatureSet("BTCUSDT", "1h").update(Candle.of(1.0, time=HOUR, symbol="ETHUSDT", interval="1h"))
    with pytest.raises(CorruptRecord, match=r"BTCUSDT 1h .* BTCUSDT 4h"):
        FeatureSet("BTCUSDT", "1h").update(Candle.of(1.0, time=4 * HOUR, interval="4h"))
    with pytest.raises(CorruptRecord, match="'2h'"):
        FeatureSet("BTCUSDT", "2h")


@pytest.mark.parametrize("n", [0, 1, 2, 19, 21, 150, 199, 265, 700])
def test_a_pickle_goes_on_with_the_same_bytes(n: int) -> None:
    candles = checks.market(n + 40, seed=4, quiet=0.1, holes=0.02)
    here = advanced(candles[:n])
    there, copied = pickle.loads(pickle.dumps(here)), copy.deepcopy(here)
    for candle in candles[n:]:
        wanted = packed(here.update(candle))

        assert packed(there.update(candle)) == wanted
        assert packed(copied.update(candle)) == wanted
    assert pickle.dumps(here) == pickle.dumps(there)


def test_a_pickle_is_the_same_however_often_it_was_pickled() -> None:
    features = advanced(checks.market(700, seed=4))
    again = pickle.loads(pickle.dumps(features))

    assert pickle.dumps(again) == pickle.dumps(features)


def test_a_pickle_stays_under_3_kb() -> None:
    features = FeatureSet("1000FLOKIUSDT", "15m")
    sizes = []
    for candle in checks.market(3000, seed=5, symbol="1000FLOKIUSDT", interval="15m", holes=0.005):
        features.update(candle)
        sizes.append(len(pickle.dumps(features)))

    assert max(sizes) < 3000
    assert max(sizes[2000:]) <= max(sizes[:2000]) + 100


def test_a_pickle_of_another_schema_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = pickle.dumps(advanced(checks.market(5, seed=1)))
    other = FeatureSchema.of([Column("other", 1)])
    monkeypatch.setattr(module, "SCHEMA", other)

    with pytest.raises(StorageError, match=rf"BTCUSDT 1h .* {SCHEMA.hash}, not {other.hash}"):
        pickle.loads(saved)


def test_peeking_answers_what_the_close_will_and_changes_nothing() -> None:
    candles = checks.market(500, seed=6, quiet=0.1, holes=0.02)
    features = FeatureSet("BTCUSDT", "1h")
    for n, candle in enumerate(candles):
        before = pickle.dumps(features)
        peeked = features.peek(candle)

        assert pickle.dumps(features) == before
        updated = features.update(candle)
        assert (packed(peeked), peeked.seen, peeked.gap) == (packed(updated), n + 1, updated.gap)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    price=st.sampled_from([1e-8, 0.3, 1e8]),
    factor=st.sampled_from([1e-4, 0.37, 3.0, 1e5]),
)
def test_another_currency_leaves_ratios_as_they_are(seed: int, price: float, factor: float) -> None:
    here, there = FeatureSet("BTCUSDT", "1h"), FeatureSet("BTCUSDT", "1h")
    # Ticks so fine that nothing is equal: what is equal in one currency may differ by a bit in another.
    candles = checks.market(260, seed, price=price, tick=1e-10)
    for left, right in zip(candles, checks.scaled(candles, factor, volume=7.0), strict=True):
        a, b = here.update(left).values, there.update(right).values
    places = [SCHEMA.index[name] for name in SCHEMA.ratios]

    assert [a[n] for n in places] == pytest.approx([b[n] for n in places], rel=1e-9, abs=1e-7, nan_ok=True)


def test_registered_columns_are_the_schema() -> None:
    assert tuple(column.name for column in Panel(standard()).columns) == SCHEMA.names


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_memory_is_flat_over_a_million_candles() -> None:
    features, sizes = FeatureSet("BTCUSDT", "1m"), set()
    candles = checks.market(2000, seed=7, interval="1m")
    span = candles[-1].time - checks.START
    for lap in range(500):
        for candle in candles:
            features.update(replace(candle, time=candle.time + lap * span))
        sizes.add(len(pickle.dumps(features)))

    assert max(sizes) < 3000
