"""Every feature is what was known at its close: nothing later changes it, nor how far back history goes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from engine.features import FeatureSet
from engine.indicators import Column, Indicator, Panel, Past, standard
from engine.memory import Memory
from engine.records import Activation, Candle, Features, Listing, Live, Membership, Moment, Tick
from tests import checks

SYMBOLS = ("BTCUSDT", "DOGEUSDT", "PEPEUSDT", "SHIBUSDT", "WIFUSDT")


class Whole:
    """A FeatureSet as the checks want it."""

    columns = Panel(standard()).columns

    def __init__(self, candles: Sequence[Candle]) -> None:
        self.features = FeatureSet(candles[0].symbol, candles[0].interval)

    def update(self, candle: Candle) -> checks.Values:
        return self.features.update(candle).values

    def peek(self, candle: Candle) -> checks.Values:
        return self.features.peek(candle).values


class Leaky(Indicator):
    """A planted leak: the relative move to the next close, as a careless join would give it."""

    columns = (Column("leaked_return", 1),)

    def __init__(self, candles: Sequence[Candle]) -> None:
        self.next = {c.time: after.close for c, after in pairwise(candles)}

    def step(self, past: Past) -> tuple[float, ...]:
        return (self.next.get(past.time, past.close) / past.close - 1,)


class Endless(Indicator):
    """A planted memory: a sum since the first candle."""

    columns = (Column("endless_sum", 1),)
    keeps = ("total",)

    def __init__(self) -> None:
        self.total = 0.0

    def step(self, past: Past) -> tuple[float, ...]:
        self.total += past.close
        return (self.total,)


def ends(candles: Sequence[Candle], count: int) -> Iterator[int]:
    step = (len(candles) - 1000) // count
    yield from range(len(candles), 1000, -step)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_feature_of_a_made_market_looks_ahead(seed: int) -> None:
    candles = checks.market(1200, seed, quiet=0.1, holes=0.01)

    checks.check_prefix_invariant(Whole, candles, cuts=(1, 2, 27, 101, 250, 480, 777, 1100))


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_no_feature_of_a_made_market_knows_where_its_history_begins(seed: int) -> None:
    candles = checks.market(3000, seed, quiet=0.1, holes=0.01)

    checks.check_start_invariant(Whole, candles, ends(candles, 8))


@pytest.mark.parametrize("still", [80, 370, 420, 600, 990, 1300])
def test_a_halt_of_any_length_does_not_show_where_history_begins(still: int) -> None:
    before = checks.market(1100, seed=6)
    halt = [
        Candle.of(before[-1].close, time=before[-1].time + 3_600_000 * n, interval="1h", volume=0.0)
        for n in range(1, still + 1)
    ]
    after = checks.market(200, seed=7, price=before[-1].close, start=halt[-1].time)
    candles = [*before, *halt, *after]

    checks.check_start_invariant(Whole, candles, [*ends(candles, 6), len(candles) - 200, len(candles) - 199])


@pytest.mark.market
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_no_feature_of_a_real_market_looks_ahead(symbol: str) -> None:
    candles = checks.real_candles(symbol, "1h", 1500)

    checks.check_prefix_invariant(Whole, candles, cuts=(40, 500, 1400))


@pytest.mark.market
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_thousand_real_hours_give_the_bytes_of_any_longer_history(symbol: str) -> None:
    candles = checks.real_candles(symbol, "1h", 5000)

    checks.check_start_invariant(Whole, candles, ends(candles, 10))


@pytest.mark.market
@pytest.mark.parametrize("interval", ["1m", "5m", "15m"])
def test_a_thousand_shorter_real_candles_give_the_bytes_of_any_longer_history(interval: str) -> None:
    candles = checks.real_candles("ETHUSDT", interval, 4000)

    checks.check_start_invariant(Whole, candles, ends(candles, 8))


def test_a_planted_leak_of_one_candle_is_found() -> None:
    candles = checks.market(300, seed=8)

    with pytest.raises(AssertionError, match="leaked_return"):
        checks.check_prefix_invariant(lambda seen: Panel([*standard(), Leaky(seen)]), candles, cuts=(200,))


def test_a_planted_endless_memory_is_found() -> None:
    candles = checks.market(1500, seed=9)

    with pytest.raises(AssertionError, match="endless_sum"):
        checks.check_start_invariant(lambda _: Panel([Endless()]), candles, ends=(1400,))


FIVE = 300_000
CLOSES = 40


def known(time: int, symbol: str) -> Features:
    candle = Candle.of(100.0 + time // FIVE % 7, time=time, interval="5m", symbol=symbol)
    return Features(symbol, "5m", time, candle, (), 600)


@st.composite
def activations(draw: st.DrawFn, most: int = 12) -> list[Activation]:
    """Versions as they are activated: at closes in their order; each may serve from any time on."""
    closes = draw(st.lists(st.integers(0, CLOSES), max_size=most).map(sorted))
    return [
        Activation(
            close * FIVE,
            "boosted",
            f"v{number}",
            serves_from=draw(st.integers(-5, CLOSES + 5)) * FIVE,
            expires=draw(st.integers(0, CLOSES)) * FIVE,
        )
        for number, close in enumerate(closes)
    ]


def told(symbol: str, versions: Sequence[Activation], lost: frozenset[int], early: bool) -> list[Any]:
    """What one symbol hears: an activation behind every close up to its own, with or without candles.

    `early` says whether this symbol's candle of that very close had come before it, or comes behind it.
    """
    records: list[Any] = [Membership(symbol, 0, Listing(symbol, symbol, symbol, "alts")), Live(0)]
    records += [one for one in versions if one.time == 0]
    for close in range(FIVE, CLOSES * FIVE + 1, FIVE):
        candle = [known(close, symbol)] if close not in lost else []
        new = [one for one in versions if one.time == close]
        records += [*candle, *new] if early else [*new, *candle]
        records.append(Tick(close))
    return records


def served(records: Sequence[Any], cut: int | None = None) -> dict[int, dict[str, Activation]]:
    """By time of each moment what serves it; with a restart from what was kept at `cut`."""
    memory = Memory("5m", ("5m",), 500, {"boosted": "5m"})
    found: dict[int, dict[str, Activation]] = {}
    for place, record in enumerate(records):
        memory = pickle.loads(pickle.dumps(memory)) if place == cut else memory
        for out in memory.update(record):
            if isinstance(out, Moment):
                found[out.time] = dict(out.activations)
    return found


@given(activations(), st.booleans())
@examples(max_examples=200, deadline=None)
def test_no_moment_sees_a_version_before_its_time(versions: list[Activation], early: bool) -> None:
    moments = served(told("BTCUSDT", versions, frozenset(), early))

    assert len(moments) == CLOSES
    for time, serving in moments.items():
        for one in serving.values():
            assert one.serves_from <= time
            assert one.time < time


@given(activations(most=30), st.data())
@examples(max_examples=300, deadline=None)
def test_a_planted_newer_version_changes_nothing_before_its_time(
    versions: list[Activation], data: st.DataObject
) -> None:
    time, late = data.draw(st.integers(0, CLOSES)), data.draw(st.integers(0, CLOSES))
    planted = Activation(time * FIVE, "boosted", "planted", serves_from=late * FIVE)
    place = sum(one.time <= planted.time for one in versions)
    more = [*versions[:place], planted, *versions[place:]]
    early = data.draw(st.booleans())
    without, planted_in = (served(told("BTCUSDT", each, frozenset(), early)) for each in (versions, more))

    begins = max(planted.time + FIVE, planted.serves_from)
    assert {at: one for at, one in planted_in.items() if at < begins} == {
        at: one for at, one in without.items() if at < begins
    }


@given(activations(most=30), st.data())
@examples(max_examples=200, deadline=None)
def test_replays_and_other_symbols_give_every_moment_the_same_versions(
    versions: list[Activation], data: st.DataObject
) -> None:
    lost = frozenset(FIVE * close for close in data.draw(st.sets(st.integers(1, CLOSES))))
    records = told("BTCUSDT", versions, frozenset(), early=True)
    whole = served(records)
    replayed = served(records, cut=data.draw(st.integers(0, len(records) - 1)))
    other = served(told("ETHUSDT", versions, lost, early=False))

    assert replayed == whole
    assert other == {time: one for time, one in whole.items() if time not in lost}
