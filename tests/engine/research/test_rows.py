"""Rows to learn from are those the live flow reads: same bits, however they were computed.

The price of a market may be stated in any currency; what then holds, and what cannot, is said here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from functools import cache
from itertools import pairwise
from math import log
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from bytewax.testing import TestingSink, TestingSource, run_main
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from dataflows.connectors.ingest import Spread
from dataflows.connectors.journal import Journaled
from dataflows.signals import build
from dataflows.world import World
from engine.features import SCHEMA, FeatureSet
from engine.models.boosted import Boosted
from engine.records import INTERVALS, Activation, Candle, Listing, Live, Moment, Prediction, Tick, Universe
from engine.research.rows import INPUTS, MARKET, WINDOW, Singles, Track, frames, track
from engine.settings import load
from tests.checks import START, market, scaled

HOUR: Final = INTERVALS["1h"]
MINIMUM: Final = 60


class Member(NamedTuple):
    """One symbol: when it is listed, in hours, and how its candles are made."""

    listing: Listing
    hours: int = 0
    price: float = 100.0


CROWD: Final = (
    Member(Listing("BTCUSDT", "BTCUSDT", "BTC", "majors"), price=40_000.0),
    Member(Listing("DOGEUSDT", "DOGEUSDT", "DOGE", "memes"), hours=37, price=0.07),
    Member(Listing("ETHUSDT", "ETHUSDT", "ETH", "majors"), price=2_500.0),
    Member(Listing("SOLUSDT", "SOLUSDT", "SOL", "alts"), hours=11),
)
LISTINGS: Final = tuple(one.listing for one in CROWD)


@cache
def candles(interval: str, hours: int) -> Mapping[str, Sequence[Candle]]:
    """Candles of every symbol, with holes, until so many hours after `START`."""
    made = {}
    for seed, one in enumerate(CROWD):
        symbol, begin = one.listing.symbol, START + one.hours * HOUR
        count = (hours - one.hours) * HOUR // INTERVALS[interval]
        rows = market(
            count,
            seed,
            symbol=symbol,
            interval=interval,
            price=one.price,
            start=begin,
            quiet=0.05,
            holes=0.01,
        )
        made[symbol] = [candle for candle in rows if candle.time <= START + hours * HOUR]
    return made


def tracks(rows: Mapping[str, Sequence[Candle]]) -> dict[str, Track]:
    return {symbol: track(symbol, mine[0].interval, mine) for symbol, mine in rows.items()}


def crowded(known: Mapping[str, Track], begin: int, end: int, every: int = 1) -> dict[str, Singles]:
    returns = {symbol: (one.time, one.returns) for symbol, one in known.items()}
    listings = [one for one in LISTINGS if one.symbol in returns]
    return frames(returns, listings, "1h", begin, end, every)


def trained(rows: Mapping[str, Sequence[Candle]], end: int) -> dict[tuple[str, int], Singles]:
    """By symbol and close, what a training makes of it."""
    known = tracks(rows)
    crowd = crowded(known, START, end)
    return {
        (symbol, int(time)): np.concatenate([one.ratios[place], crowd[symbol][place]])
        for symbol, one in known.items()
        for place, time in enumerate(one.time)
    }


class Asked:
    """Stands in for a model: keeps every moment it is asked about."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def submit(self, moment: Moment) -> Future[Prediction]:
        self.moments.append(moment)
        answer: Future[Prediction] = Future()
        answer.set_result(Prediction(moment.symbol, moment.time, "boosted", moment.time, "v1", fault="kept"))
        return answer

    def foresee(self, moment: Moment) -> None: ...


def journal(known: Sequence[Mapping[str, Sequence[Candle]]], step: int, end: int) -> Iterator[Journaled]:
    """What a live run would have journaled: each symbol joins at its first decision candle."""
    first = {symbol: mine[0].time for symbol, mine in known[0].items()}
    due: dict[int, list[Candle]] = {}
    for rows in known:
        for mine in rows.values():
            for candle in mine:
                due.setdefault(candle.time, []).append(candle)
    yield Universe(START, tuple(one for one in LISTINGS if first[one.symbol] == START + step))
    yield Live(START)
    yield Activation(START, "boosted", "v1", serves_from=0)
    for time in range(START + step, end + 1, step):
        if time - step != START and time in first.values():
            yield Universe(time - step, tuple(one for one in LISTINGS if first[one.symbol] <= time))
        yield from due.get(time, ())
        yield Tick(time)


def lived(interval: str, hours: int) -> list[Moment]:
    """The moments at which the flow asks a model of 1h, deciding at `interval`."""
    end = START + hours * HOUR
    known = [candles(name, hours) for name in dict.fromkeys((interval, "1h"))]
    settings = load(
        "config.yaml",
        {
            "SIGNAL_ENGINE_DECIDE__INTERVAL": interval,
            "SIGNAL_ENGINE_DECIDE__MINIMUM": str(MINIMUM),
            "SIGNAL_ENGINE_DECIDE__WARM_UP": str(MINIMUM),
        },
    )
    said: list[Any] = []
    spread, asked = Spread(), Asked()
    told = [one for record in journal(known, INTERVALS[interval], end) for one in spread.address(0, record)]
    world = World(TestingSource(told, batch_size=100), TestingSink(said), lambda model: asked)
    run_main(build(world, settings), epoch_interval=timedelta(days=1))  # type: ignore[no-untyped-call]
    assert said
    return asked.moments


def bits(row: Singles) -> bytes:
    """Its bytes, every nan the same."""
    return np.where(np.isnan(row), np.float32("nan"), row).astype(np.float32).tobytes()


@pytest.mark.parametrize(("interval", "hours"), [("1h", 300), ("5m", 150)])
def test_what_a_model_learns_from_is_what_it_will_be_asked(interval: str, hours: int) -> None:
    end = START + hours * HOUR
    moments = lived(interval, hours)
    learned = trained(candles("1h", hours), end)
    version = Boosted("v1", "1h", {})

    assert {one.symbol for one in moments} == {one.symbol for one in LISTINGS}
    assert len(moments) > 100
    for moment in moments:
        row = np.array(version.row(moment), np.float32)
        wanted = learned[moment.symbol, moment.time]
        differing = [name for name, a, b in zip(INPUTS, row, wanted, strict=True) if bits(a) != bits(b)]
        assert not differing, f"{moment.symbol} at {moment.time}: {differing}"
    whole = np.array([learned[one.symbol, one.time] for one in moments])
    # Two symbols are alone in their segments; but for those, and for holes, a market frame knows everything.
    assert np.isfinite(whole[:, -len(MARKET) :]).mean() > 0.8


def test_a_row_is_the_scale_free_features_and_the_market_frame() -> None:
    hours = 120
    rows = candles("1h", hours)
    learned = trained(rows, START + hours * HOUR)
    features = FeatureSet("ETHUSDT", "1h")
    for candle in rows["ETHUSDT"]:
        now = features.update(candle)
        wanted = [now.values[SCHEMA.index[name]] for name in SCHEMA.ratios]
        np.testing.assert_array_equal(
            learned["ETHUSDT", candle.time][: len(wanted)], np.array(wanted, np.float32)
        )
    assert learned["ETHUSDT", candle.time].shape == (len(INPUTS),)
    assert (*SCHEMA.ratios, *MARKET) == INPUTS


def test_returns_stop_at_a_gap() -> None:
    rows = candles("1h", 300)["SOLUSDT"]
    one = track("SOLUSDT", "1h", rows)

    assert np.isnan(one.returns[0])
    for place in range(1, len(rows)):
        before, now = rows[place - 1], rows[place]
        if now.time - before.time == HOUR:
            assert one.returns[place] == log(now.close / before.close)
        else:
            assert np.isnan(one.returns[place])
    assert np.isnan(one.returns[1:]).sum() > 0
    assert one.prices.tolist() == [[c.open, c.high, c.low, c.close] for c in rows]
    assert one.time.tolist() == [c.time for c in rows]


def test_after_a_long_absence_a_symbol_begins_anew() -> None:
    rows = candles("1h", 120)["BTCUSDT"]
    later = [Candle.of(c.close, time=c.time + 2000 * HOUR, interval="1h") for c in rows]
    whole, alone = track("BTCUSDT", "1h", [*rows, *later]), track("BTCUSDT", "1h", later)

    assert whole.seen[len(rows) :].tolist() == alone.seen.tolist()
    np.testing.assert_array_equal(whole.ratios[len(rows) :], alone.ratios)
    np.testing.assert_array_equal(whole.returns[len(rows) :], alone.returns)


def test_no_candles_make_no_rows() -> None:
    one = track("BTCUSDT", "1h", [])

    assert (one.time.shape, one.prices.shape, one.ratios.shape) == ((0,), (0, 4), (0, len(SCHEMA.ratios)))
    other = tracks({"ETHUSDT": candles("1h", 120)["ETHUSDT"]})
    assert crowded({"BTCUSDT": one, **other}, START, START + 5 * HOUR)["BTCUSDT"].shape == (0, len(MARKET))


@examples(max_examples=8, deadline=None)
@given(st.lists(st.integers(1, 299), min_size=1, max_size=4, unique=True))
def test_frames_measured_in_parts_are_those_measured_at_once(cuts: list[int]) -> None:
    known = tracks(candles("1h", 300))
    edges = [0, *sorted(cuts), 300]
    whole = crowded(known, START, START + 300 * HOUR)
    parts = [crowded(known, START + begin * HOUR, START + end * HOUR) for begin, end in pairwise(edges)]
    for symbol, one in known.items():
        hour = (one.time - START) // HOUR
        for part, begin, end in zip(parts, edges[:-1], edges[1:], strict=True):
            within = (hour > begin) & (hour <= end)
            assert bits(part[symbol][within]) == bits(whole[symbol][within])
            assert np.isnan(part[symbol][~within]).all()


@pytest.mark.parametrize("every", [2, 5, 7])
def test_every_only_leaves_out(every: int) -> None:
    known = tracks(candles("1h", 200))
    whole, some = (crowded(known, START, START + 200 * HOUR, each) for each in (1, every))
    for symbol, one in known.items():
        asked = one.time // HOUR % every == 0
        assert bits(some[symbol][asked]) == bits(whole[symbol][asked])
        assert np.isnan(some[symbol][~asked]).all()
        assert np.isfinite(some[symbol][asked]).any()


def test_a_frame_looks_back_one_window_and_no_farther() -> None:
    known = tracks(candles("1h", 300))
    whole, end = crowded(known, START, START + 300 * HOUR), START + 300 * HOUR
    first = end - (WINDOW + 1) * HOUR
    recent = tracks({name: [c for c in mine if c.time > first] for name, mine in candles("1h", 300).items()})
    short = crowded(recent, end - HOUR, end)
    for symbol, one in recent.items():
        if one.time[-1] == end:
            assert bits(short[symbol][-1]) == bits(whole[symbol][-1])


def priced(k: float, **kind: Any) -> Singles:
    """Rows of three symbols whose prices are all stated `k` times as high."""
    made = {
        one.listing.symbol: scaled(
            market(260, seed, symbol=one.listing.symbol, price=one.price, holes=0.005, **kind), price=k
        )
        for seed, one in enumerate(CROWD[:3])
    }
    known = tracks(made)
    crowd = crowded(known, START, max(int(one.time[-1]) for one in known.values()))
    return np.concatenate([np.hstack([one.ratios, crowd[symbol]]) for symbol, one in known.items()])


@cache
def as_quoted(**kind: Any) -> Singles:
    return priced(1.0, **kind)


KINDS: Final[Mapping[str, Mapping[str, float]]] = {
    "ticks": {"quiet": 0.05},
    "no ticks, still stretches": {"quiet": 0.1, "tick": 1e-9},
    "no ticks": {"tick": 1e-9},
}
ANY: Final = st.floats(-6, 6).map(lambda power: 10.0**power)


@pytest.mark.parametrize("kind", KINDS)
@examples(max_examples=6, deadline=None)
@given(power=st.integers(-19, 19))
def test_prices_times_a_power_of_two_change_no_bit(kind: str, power: int) -> None:
    assert bits(priced(2.0**power, **KINDS[kind])) == bits(as_quoted(**KINDS[kind]))


def apart(before: Singles, after: Singles) -> Singles:
    """How far two sets of rows are apart where they differ, in the last place of a single or 1e-9."""
    known, other = np.nan_to_num(before), np.nan_to_num(after)
    place = np.maximum(np.spacing(np.maximum(np.abs(known), np.abs(other))), np.float32(1e-9))
    assert (np.isnan(before) == np.isnan(after)).all()
    return np.asarray(np.abs(known - other) / place, np.float32)


@examples(max_examples=8, deadline=None)
@given(ANY)
def test_prices_times_any_factor_change_no_row_of_a_market_without_ties(k: float) -> None:
    # In 64 bits the last one moves; of 32 it did not once in 17 million numbers, and could.
    far = apart(as_quoted(**KINDS["no ticks"]), priced(k, **KINDS["no ticks"]))

    assert far.max() <= 1
    assert (far > 0).sum() <= 1


@examples(max_examples=8, deadline=None)
@given(ANY)
def test_where_nothing_moves_a_zero_may_become_a_crumb(k: float) -> None:
    kind = KINDS["no ticks, still stretches"]
    far = apart(as_quoted(**kind), priced(k, **kind))

    assert far.max() <= 1
    assert (far > 0).mean() < 0.005


DECIDED: Final = ("adx_14", "plus_di_14", "minus_di_14", "pin_bar", "doji", "three_line", "star", "engulfing")
"""What compares two differences of prices, which on an exchange's ticks are often equal."""


@examples(max_examples=8, deadline=None)
@given(ANY)
def test_ties_of_ticks_are_decided_by_rounding_and_seldom(k: float) -> None:
    kind = KINDS["ticks"]
    far = apart(as_quoted(**kind), priced(k, **kind))
    sure = [place for place, name in enumerate(INPUTS) if name not in DECIDED]

    assert far[:, sure].max() <= 1
    assert (far > 0).mean() < 0.01
