"""The market step: frames against sums taken from scratch, whatever the order of rows and restarts."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import SettingsError
from engine.market import Market
from engine.records import Listing, MarketFrame, Row, Universe

STEP = 300_000
WINDOW = 16
NAMES = ("BTC", "DOGE", "ETH", "PEPE", "SOL")
SEGMENTS = {"BTC": "majors", "ETH": "majors", "SOL": "alts", "DOGE": "memes", "PEPE": "memes"}
MEASURED = (
    "beta",
    "btc_correlation",
    "btc_correlation_before",
    "sector_correlation",
    "sector_beta",
    "spread_z",
    "lead",
)

Returns = NDArray[np.float64]
Record = Row | Universe


def universe(names: Iterable[str] = NAMES, time: int = 0) -> Universe:
    listings = [Listing(f"{name}USDT", f"{name}USDT", name, SEGMENTS.get(name, "alts")) for name in names]
    return Universe(time, tuple(listings))


def row(
    name: str, frame: int, value: float, *, since: int = 0, present: bool = True, speaks: bool = True
) -> Row:
    return Row(f"{name}USDT", (frame + 1) * STEP, since, value, present=present, speaks=speaks)


def rows(returns: Returns, names: tuple[str, ...] = NAMES, first: int = 0, since: int = 0) -> list[Row]:
    """Row by row what `returns` (frames, symbols) says; nan = the candle did not come."""
    return [
        row(name, first + frame, value, since=since, present=not isnan(value), speaks=not isnan(value))
        for frame, line in enumerate(returns.tolist())
        for name, value in zip(names, line, strict=True)
    ]


def fed(market: Market, records: Iterable[Record]) -> list[MarketFrame]:
    return [frame for record in records for frame in market.update(record)]


def moves(frames: int, symbols: int = len(NAMES), seed: int = 1, missing: float = 0.0) -> Returns:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(frames, 1)) * 0.01
    returns = common * rng.uniform(0.5, 2.0, symbols) + rng.normal(size=(frames, symbols)) * 0.005
    returns[rng.random(returns.shape) < missing] = nan
    return np.asarray(returns)


def facts(frames: Iterable[MarketFrame]) -> list[str]:
    """Frames by value: nan is nan, and every bit of a number counts."""
    return [repr(frame) for frame in frames]


def mean_of_others(line: Returns, own: int, peers: Iterable[int]) -> float:
    others = [line[peer] for peer in peers if peer != own and not isnan(line[peer])]
    return float(np.mean(others)) if others else nan


def slope(x: Returns, y: Returns, least: int) -> tuple[float, float]:
    both = ~np.isnan(x) & ~np.isnan(y)
    if both.sum() < least:
        return nan, nan
    covariance = np.cov(x[both], y[both], bias=True)
    if covariance[1, 1] < 1e-24:
        return nan, nan
    beta = covariance[0, 1] / covariance[1, 1]
    flat = covariance[0, 0] < 1e-24
    return float(beta), nan if flat else float(covariance[0, 1] / sqrt(covariance[0, 0] * covariance[1, 1]))


def from_scratch(history: Returns, own: int, window: int = WINDOW) -> dict[str, float]:
    """What the newest frame of `history` must say of column `own`: one symbol at a time, nothing running."""
    names = list(NAMES)
    peers = [i for i, name in enumerate(names) if SEGMENTS[name] == SEGMENTS[names[own]]]
    seen = np.vstack([np.full((window, len(names)), nan), history])[-window:]
    sector = np.array([mean_of_others(line, own, peers) for line in seen])
    market = np.array([mean_of_others(line, own, range(len(names))) for line in seen])
    reference = market if own == names.index("BTC") else seen[:, names.index("BTC")]
    mine, half, least = seen[:, own], window // 2, window // 4
    beta, _ = slope(mine, reference, least)
    sector_beta, sector_correlation = slope(mine, sector, least)
    path = np.cumsum(np.nan_to_num(mine - beta * reference))
    there = path[~np.isnan(mine) & ~np.isnan(reference)]
    return {
        "btc_return": float(seen[-1, names.index("BTC")]),
        "sector_return": float(sector[-1]),
        "market_return": float(market[-1]),
        "own_return": float(mine[-1]),
        "beta": beta,
        "btc_correlation": slope(mine[half:], reference[half:], least // 2)[1],
        "btc_correlation_before": slope(mine[:half], reference[:half], least // 2)[1],
        "sector_correlation": sector_correlation,
        "sector_beta": sector_beta,
        "spread_z": nan if isnan(beta) else float((path[-1] - there.mean()) / there.std()),
        "lead": slope(mine[1:], reference[:-1], least)[1],
    }


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([0.0, 0.1, 0.5]))
@settings(max_examples=40, deadline=None)
def test_a_frame_says_what_sums_from_scratch_say(seed: int, frames: int, missing: float) -> None:
    returns = moves(frames, seed=seed, missing=missing)
    market = Market(window=WINDOW)
    market.update(universe())

    told = fed(market, rows(returns))

    for frame in told:
        last = frame.time // STEP
        expected = from_scratch(returns[:last], NAMES.index(frame.symbol.removesuffix("USDT")))
        for name, value in expected.items():
            assert getattr(frame, name) == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name
    assert len(told) == np.count_nonzero(~np.isnan(returns))


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[list[Record], list[Record]]:
    """A sequence with two changes of universe, and the same with only each symbol's own order kept."""
    sets = (("BTC", "ETH", "SOL"), ("BTC", "ETH", "DOGE", "PEPE"), ("BTC", "DOGE", "SOL"))
    ordered: list[Record] = []
    first = 0
    for number, names in enumerate(sets):
        count = draw(st.integers(1, 12))
        since = first * STEP
        ordered.append(universe(names, since))
        ordered += rows(moves(count, len(names), seed=number, missing=0.1), names, first, since)
        first += count
    lanes: dict[str, list[Record]] = {}
    for record in ordered:
        lanes.setdefault(record.symbol if isinstance(record, Row) else "universe", []).append(record)
    order = draw(st.permutations([name for name, lane in lanes.items() for _ in lane]))
    return ordered, [lanes[name].pop(0) for name in order]


@given(shuffled())
@settings(max_examples=60, deadline=None)
def test_any_interleaving_of_symbols_gives_the_same_frames(both: tuple[list[Record], list[Record]]) -> None:
    ordered, mixed = both

    assert facts(fed(Market(WINDOW), mixed)) == facts(fed(Market(WINDOW), ordered))


@given(shuffled(), st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_any_interleaving_gives_the_same_frames_where_universes_change_between_two(
    both: tuple[list[Record], list[Record]], every: int
) -> None:
    def sparse(records: list[Record]) -> list[Record]:
        return [
            replace(one, interval="1h") if isinstance(one, Row) else one
            for one in records
            if isinstance(one, Universe) or one.time // STEP % every == 0
        ]

    ordered, mixed = (fed(Market(WINDOW), sparse(records)) for records in both)

    assert facts(mixed) == facts(ordered)


@given(shuffled(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_restart_anywhere_changes_no_bit(
    both: tuple[list[Record], list[Record]], data: st.DataObject
) -> None:
    ordered, mixed = both
    cut = data.draw(st.integers(0, len(mixed)))
    market = Market(WINDOW)

    before = fed(market, mixed[:cut])
    after = fed(pickle.loads(pickle.dumps(market)), mixed[cut:])

    assert facts(before + after) == facts(fed(Market(WINDOW), ordered))


@pytest.mark.parametrize("skipped", [1, 37, 200])
def test_history_longer_than_the_window_changes_no_bit(skipped: int) -> None:
    returns = moves(200 + WINDOW + 3, missing=0.05)
    long, short = Market(WINDOW), Market(WINDOW)
    for market in (long, short):
        market.update(universe())

    everything = fed(long, rows(returns))
    recent = fed(short, rows(returns[skipped:], first=skipped))

    settled = (skipped + WINDOW) * STEP
    assert facts(f for f in recent if f.time >= settled) == facts(f for f in everything if f.time >= settled)


def test_a_frame_waits_for_every_symbol_and_frames_leave_in_time_order() -> None:
    market = Market(WINDOW)
    market.update(universe(("BTC", "ETH")))

    waiting = fed(market, [row("BTC", 0, 0.1), row("BTC", 1, 0.2), row("BTC", 2, 0.3), row("ETH", 0, 0.1)])
    later = fed(market, [row("ETH", 1, 0.1), row("ETH", 2, 0.1)])

    assert [(f.symbol, f.time) for f in waiting] == [("BTCUSDT", STEP), ("ETHUSDT", STEP)]
    assert [f.time for f in later] == [2 * STEP, 2 * STEP, 3 * STEP, 3 * STEP]


def test_a_frame_says_of_which_interval_it_is_and_how_full_its_window() -> None:
    hourly = [replace(one, interval="1h") for one in rows(moves(WINDOW + 2))]
    markets = Market(WINDOW), Market(WINDOW)
    for market in markets:
        market.update(universe())
    plain, named = fed(markets[0], rows(moves(WINDOW + 2))), fed(markets[1], hourly)

    assert {frame.interval for frame in plain} == {""}
    assert facts(named) == facts(replace(frame, interval="1h") for frame in plain)
    assert [frame.filled for frame in named[:: len(NAMES)]] == [*range(1, WINDOW + 1), WINDOW, WINDOW]


def test_a_change_of_universe_and_a_restart_leave_the_window_as_full_as_it_was() -> None:
    market = Market(WINDOW)
    fed(market, [universe(("BTC", "ETH")), *rows(moves(5, 2), ("BTC", "ETH"))])
    told = fed(
        pickle.loads(pickle.dumps(market)),
        [universe(("BTC", "SOL"), 5 * STEP), *rows(moves(1, 2), ("BTC", "SOL"), 5, 5 * STEP)],
    )

    assert [frame.filled for frame in told] == [6, 6]


def test_rows_wait_for_their_universe() -> None:
    market = Market(WINDOW)

    early = fed(market, [row("BTC", 0, 0.1), row("ETH", 0, 0.2)])
    told = market.update(universe(("BTC", "ETH")))

    assert early == []
    assert [f.symbol for f in told] == ["BTCUSDT", "ETHUSDT"]


def test_only_symbols_that_speak_get_a_frame() -> None:
    market = Market(WINDOW)
    market.update(universe(("BTC", "ETH", "SOL")))

    told = fed(
        market,
        [
            row("BTC", 0, 0.1, speaks=False),
            row("ETH", 0, 0.2),
            row("SOL", 0, nan, present=False, speaks=False),
        ],
    )

    assert [(f.symbol, f.present, f.expected, f.btc_return) for f in told] == [("ETHUSDT", 2, 3, 0.1)]


def test_a_row_that_comes_twice_or_too_late_is_counted_and_changes_nothing() -> None:
    market = Market(WINDOW)
    market.update(universe(("BTC", "ETH")))

    told = fed(market, [row("BTC", 0, 0.1), row("BTC", 0, 0.9), row("ETH", 0, 0.2), row("ETH", 0, 0.7)])

    assert [f.btc_return for f in told] == [0.1, 0.1]
    assert market.ignored == 2


def test_the_same_universe_twice_is_one_universe() -> None:
    market = Market(WINDOW)

    told = fed(market, [universe(("BTC",)), row("BTC", 0, 0.1), universe(("BTC",)), row("BTC", 1, 0.1)])

    assert len(told) == 2


def test_pending_frames_keep_their_universe_when_a_newer_one_comes() -> None:
    market = Market(WINDOW)
    fed(market, [universe(("BTC", "ETH")), row("BTC", 0, 0.1), universe(("BTC", "SOL"), STEP)])

    newer = fed(market, [row("BTC", 1, 0.1, since=STEP), row("SOL", 1, 0.3, since=STEP)])
    all_told = fed(market, [row("ETH", 0, 0.2)])

    assert newer == []
    assert [(f.symbol, f.time) for f in all_told] == [
        ("BTCUSDT", STEP),
        ("ETHUSDT", STEP),
        ("BTCUSDT", 2 * STEP),
        ("SOLUSDT", 2 * STEP),
    ]


def test_those_who_stay_keep_their_past_and_those_who_come_have_none() -> None:
    names, newer = ("BTC", "ETH", "SOL"), ("BTC", "DOGE", "ETH")
    before, after = moves(WINDOW, 3, seed=3), moves(1, 3, seed=4)
    market = Market(WINDOW)
    fed(market, [universe(names), *rows(before, names)])

    told = fed(market, [universe(newer, WINDOW * STEP), *rows(after, newer, WINDOW, WINDOW * STEP)])

    btc, doge, eth = told
    columns = np.vstack([before[1:, :2], after[:, [0, 2]]])
    assert eth.beta == pytest.approx(slope(columns[:, 1], columns[:, 0], 1)[0], rel=1e-9)
    assert isnan(doge.beta)
    assert doge.own_return == after[0, 1]
    assert not isnan(btc.beta)


def test_universes_that_no_frame_needs_are_forgotten() -> None:
    market = Market(WINDOW)

    for number in range(50):
        since = number * STEP
        fed(market, [universe(("BTC", "ETH"), since), row("BTC", number, 0.1, since=since)])
        fed(market, [row("ETH", number, 0.1, since=since)])

    assert size_of(market) < 3_000


def test_a_sector_of_one_has_no_sector_numbers() -> None:
    market = Market(WINDOW)
    market.update(universe())

    told = fed(market, rows(moves(WINDOW)))

    [sol] = [f for f in told[-len(NAMES) :] if f.symbol == "SOLUSDT"]
    assert isnan(sol.sector_return)
    assert isnan(sol.sector_correlation)
    assert isnan(sol.sector_beta)
    assert not isnan(sol.beta)


def test_without_btc_only_sector_and_market_are_known() -> None:
    names = ("DOGE", "PEPE", "SOL")
    market = Market(WINDOW)
    market.update(universe(names))

    told = fed(market, rows(moves(WINDOW, 3), names))

    doge = told[-3]
    assert all(
        isnan(getattr(doge, name)) for name in ("btc_return", "beta", "btc_correlation", "spread_z", "lead")
    )
    assert not isnan(doge.sector_beta)
    assert not isnan(doge.market_return)


def test_a_symbol_that_stands_still_has_beta_zero_and_no_correlation() -> None:
    returns = moves(WINDOW)
    returns[:, 2] = 0.0
    market = Market(WINDOW)
    market.update(universe())

    eth = fed(market, rows(returns))[-len(NAMES) + 2]

    assert eth.symbol == "ETHUSDT"
    assert eth.beta == 0.0
    assert isnan(eth.btc_correlation)
    assert isnan(eth.spread_z)


def test_a_symbol_that_copies_btc_has_no_spread() -> None:
    returns = moves(WINDOW)
    returns[:, 2] = 1.5 * returns[:, 0]
    market = Market(WINDOW)
    market.update(universe())

    eth = fed(market, rows(returns))[-len(NAMES) + 2]

    assert (eth.beta, eth.btc_correlation) == pytest.approx((1.5, 1.0), rel=1e-12)
    assert isnan(eth.spread_z)


def test_a_symbol_that_follows_btc_a_candle_later_is_led() -> None:
    returns = moves(40, seed=7)
    returns[1:, 4] = returns[:-1, 0]
    market = Market(WINDOW)
    market.update(universe())

    sol = fed(market, rows(returns))[-1]

    assert sol.lead == pytest.approx(1.0, abs=1e-12)


def test_a_symbol_that_let_go_of_btc_was_closer_before() -> None:
    returns = moves(WINDOW, seed=9)
    returns[: WINDOW // 2, 4] = 2.0 * returns[: WINDOW // 2, 0]
    market = Market(WINDOW)
    market.update(universe())

    sol = fed(market, rows(returns))[-1]

    assert sol.btc_correlation_before == pytest.approx(1.0)
    assert sol.btc_correlation < 0.999


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), nan])
def test_a_return_that_is_no_number_counts_as_not_there(value: float) -> None:
    returns = moves(WINDOW)
    market, other = Market(WINDOW), Market(WINDOW)
    for each in (market, other):
        fed(each, [universe(), *rows(returns)])

    wrong = fed(market, [row(name, WINDOW, value if name == "ETH" else 0.01) for name in NAMES])
    absent = fed(other, [row(name, WINDOW, nan if name == "ETH" else 0.01) for name in NAMES])

    def elsewhere(frames: list[MarketFrame]) -> list[str]:
        return facts(frame for frame in frames if frame.symbol != "ETHUSDT")

    assert elsewhere(wrong) == elsewhere(absent)


def test_too_many_pending_frames_let_the_oldest_go_with_what_it_has() -> None:
    market = Market(WINDOW, pending=3)
    market.update(universe(("BTC", "ETH")))

    told = fed(market, [row("BTC", frame, 0.1) for frame in range(5)])

    assert [(f.time, f.present, f.expected) for f in told] == [(STEP, 1, 2), (2 * STEP, 1, 2)]
    assert market.forced == 2


def test_frames_of_a_universe_that_never_comes_stay_bounded() -> None:
    market = Market(WINDOW, pending=3)

    told = fed(market, [row("BTC", frame, 0.1) for frame in range(500)])

    assert told == []
    assert size_of(market) < 3_000


@pytest.mark.parametrize("window", [0, 6, 97])
def test_a_window_that_cannot_be_halved_or_is_too_short_is_refused(window: int) -> None:
    with pytest.raises(SettingsError, match=f"window: must be even and at least 8, was {window}"):
        Market(window)


def size_of(market: Market) -> int:
    return len(pickle.dumps(market))


def many(count: int, frames: int) -> Iterator[Any]:
    names = tuple(f"C{number:03d}" for number in range(count))
    yield universe(names)
    yield from rows(moves(frames, count), names)


def test_state_is_under_a_kilobyte_a_symbol_and_stays_there() -> None:
    few, more = Market(), Market()

    fed(few, many(60, 100))
    fed(more, many(60, 400))

    assert size_of(few) < 60 * 1_000 + 2_000
    assert abs(size_of(more) - size_of(few)) < 100
