"""The history a training reads: whole, asked for once, with what the flow has seen and corrected."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.binance.history import History as Fetch
from dataflows.connectors.binance.market import Ask
from dataflows.connectors.binance.rest import Market, Rest
from dataflows.connectors.binance.weights import Weights
from dataflows.connectors.history import History
from dataflows.connectors.journal import Journal
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.faults import Fault
from dataflows.replay.simulate import Simulated
from dataflows.training.candles import inverse
from dataflows.training.collect import Want, collect, ignore, missing, runs, wanted
from engine.errors import SourceError, StorageError
from engine.records import INTERVALS, Candle, Correction
from engine.settings import Settings
from engine.symbols import Alias, names

HOUR = INTERVALS["1h"]
FIVE = INTERVALS["5m"]
NOW = 1_760_000_400_000 // HOUR * HOUR
SYMBOLS = ("BTCUSDT", "DOGEUSDT")


class Counted(Rest):
    """A REST that remembers what it was asked for."""

    asks: list[tuple[str, str, int, int]]
    url: str

    async def klines(self, symbol: str, interval: str, start: int, end: int, limit: int = 1000) -> list[Any]:
        self.asks.append((symbol, interval, start, end))
        return await super().klines(symbol, interval, start, end, limit)


@asynccontextmanager
async def asked(
    symbols: Sequence[str] = SYMBOLS, market: Market = "spot", faults: Sequence[Fault] = ()
) -> AsyncIterator[Counted]:
    """A REST on an exchange of loopback whose clock stands two days after `NOW`."""
    source = Simulated(symbols, 7, market)
    start = NOW + 48 * HOUR
    async with ReplayExchange(market, source, start, speed=1.0, prepare=0, faults=faults) as exchange:
        backoff = Backoff(first=0.01, most=0.02, rng=np.random.default_rng(0))
        async with Counted(exchange.url, market, Weights(1_000_000, 1.0), backoff, attempts=2) as rest:
            rest.asks, rest.url = [], exchange.url
            yield rest


def wants(until: int = NOW, hours: int = 100, symbols: Sequence[str] = SYMBOLS) -> list[Want]:
    return [Want(symbol, "1h", until - hours * HOUR, until) for symbol in symbols]


def closes(folder: Path, symbol: str, interval: str = "1h") -> list[int]:
    return History(folder, "spot").candles(symbol, interval, 0, 1 << 50)["time"].to_list()


async def test_everything_that_was_wanted_is_there_in_the_layout_that_readers_know(tmp_path: Path) -> None:
    told: list[float] = []
    async with asked() as rest:
        await collect(wants(), rest, None, tmp_path, told.append)
        (row,) = await rest.klines("BTCUSDT", "1h", NOW - HOUR, NOW - 1)

    assert closes(tmp_path, "BTCUSDT") == list(range(NOW - 99 * HOUR, NOW + 1, HOUR))
    assert told == [0.5, 1.0]
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["klines/spot/1h/BTCUSDT.parquet", "klines/spot/1h/DOGEUSDT.parquet"]
    last = pl.read_parquet(tmp_path / files[0]).row(-1)
    assert last == (
        row[0],
        *map(float, row[1:6]),
        row[6],
        float(row[7]),
        row[8],
        float(row[9]),
        float(row[10]),
    )


async def test_only_what_lies_outside_the_file_is_asked_for_the_next_time(tmp_path: Path) -> None:
    async with asked() as rest:
        await collect(wants(), rest, None, tmp_path)
        rest.asks.clear()
        await collect(wants(), rest, None, tmp_path)
        assert rest.asks == []

        await collect(wants(NOW + 3 * HOUR, hours=110), rest, None, tmp_path)

    older = ("BTCUSDT", "1h", NOW - 107 * HOUR, NOW - 101 * HOUR)
    newer = ("BTCUSDT", "1h", NOW, NOW + 2 * HOUR)
    assert [ask for ask in rest.asks if ask[0] == "BTCUSDT"] == [older, newer]
    assert closes(tmp_path, "BTCUSDT") == list(range(NOW - 106 * HOUR, NOW + 3 * HOUR + 1, HOUR))


async def test_what_has_come_stays_when_another_part_fails(tmp_path: Path) -> None:
    faults = [Fault("status", path="/api/v3/klines", status=500)]
    async with asked(faults=faults) as rest:
        with pytest.raises(SourceError, match="500"):
            await collect(wants(), rest, None, tmp_path)
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.delete(f"{rest.url}/_control/faults")
        await collect(wants(symbols=["BTCUSDT"]), rest, None, tmp_path)
        rest.asks.clear()
        await collect(wants(), rest, None, tmp_path)

    assert {ask[0] for ask in rest.asks} == {"DOGEUSDT"}
    assert closes(tmp_path, "BTCUSDT") == closes(tmp_path, "DOGEUSDT")


async def test_a_long_history_comes_in_pages(tmp_path: Path) -> None:
    async with asked() as rest:
        await collect(wants(hours=2_500, symbols=["BTCUSDT"]), rest, None, tmp_path)

    assert len(rest.asks) == 3
    assert len(closes(tmp_path, "BTCUSDT")) == 2_500


def flat(time: int, price: float, symbol: str = "BTCUSDT") -> Candle:
    prices = (price, price + 1, price - 1, price)
    return Candle(symbol, "1h", time, *prices, 5.0, 5.0 * price, 3, 2.0, 2.0 * price)


async def test_what_the_flow_has_seen_is_not_asked_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([flat(NOW - back * HOUR, 100.0) for back in (9, 8, 7, 3, 2, 1, 0)])
    async with asked() as rest:
        await collect(wants(hours=10, symbols=["BTCUSDT"]), rest, journal, tmp_path / "history")
    journal.close()

    assert rest.asks == [("BTCUSDT", "1h", NOW - 7 * HOUR, NOW - 5 * HOUR)]
    rows = History(tmp_path / "history", "spot").candles("BTCUSDT", "1h", 0, NOW)
    assert rows["time"].to_list() == list(range(NOW - 9 * HOUR, NOW + 1, HOUR))
    assert [round(close) == 100 for close in rows["close"]] == [True] * 3 + [False] * 3 + [True] * 4


async def test_a_correction_wins_also_over_what_was_written_long_ago(tmp_path: Path) -> None:
    history = tmp_path / "history"
    async with asked() as rest:
        await collect(wants(hours=10, symbols=["BTCUSDT"]), rest, None, history)
        before = closes(history, "BTCUSDT")
        journal = Journal(tmp_path)
        at = NOW - 5 * HOUR
        journal.append([flat(at, 100.0), Correction("BTCUSDT", "1h", at, flat(at, 123.0))])
        rest.asks.clear()
        await collect(wants(hours=10, symbols=["BTCUSDT"]), rest, journal, history)
        journal.close()

    rows = History(history, "spot").candles("BTCUSDT", "1h", 0, NOW)
    assert rest.asks == []
    assert rows["time"].to_list() == before
    assert rows.filter(pl.col("time") == at)["close"].to_list() == [123.0]


async def test_nothing_that_closes_later_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([flat(NOW + back * HOUR, 100.0) for back in (0, 1, 2)])
    async with asked() as rest:
        await collect(wants(hours=5, symbols=["BTCUSDT"]), rest, journal, tmp_path / "history")
    journal.close()

    assert closes(tmp_path / "history", "BTCUSDT")[-1] == NOW


async def test_a_contract_of_a_thousand_coins_is_read_back_as_the_flow_had_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    async with asked(["1000PEPEUSDT"], "um") as rest:
        asks = Ask("PEPEUSDT", "1h", NOW - 19 * HOUR, NOW)
        candles = await Fetch(rest, ignore).fetch(asks)
        journal.append(candles[10:])
        await collect(wants(hours=20, symbols=["PEPEUSDT"]), rest, journal, tmp_path / "history")
        journal.close()

    (path,) = (tmp_path / "history").rglob("*.parquet")
    rows = pl.read_parquet(path)
    assert path.name == "1000PEPEUSDT.parquet"
    for name in ("open", "high", "low", "close"):
        assert (rows[name].to_numpy() / 1000).tolist() == [getattr(candle, name) for candle in candles]
    for name, field in (("volume", "volume"), ("taker_buy_base", "taker_base")):
        assert (rows[name].to_numpy() * 1000).tolist() == [getattr(candle, field) for candle in candles]
    assert rows["open_time"].to_list() == [candle.time - HOUR for candle in candles]


@given(st.floats(1e-8, 1e8), st.sampled_from([10, 1_000, 1_000_000]))
def test_a_price_survives_the_way_into_the_file_and_back(price: float, multiplier: int) -> None:
    seen = np.array([price / multiplier])
    held = inverse(seen, lambda x: x * multiplier, lambda x: x / multiplier)

    assert held / multiplier == seen


@given(
    first=st.integers(0, 30),
    length=st.integers(0, 30),
    known=st.sets(st.integers(0, 70)),
)
def test_spans_cover_exactly_what_is_not_known(first: int, length: int, known: set[int]) -> None:
    last = first + length
    found = list(runs(first, last, 1, known))
    covered = [time for begin, end in found for time in range(begin, end + 1)]

    assert covered == [time for time in range(first, last + 1) if time not in known]
    assert all(begin <= end for begin, end in found)


@given(
    held=st.tuples(st.integers(0, 50), st.integers(1, 50)), begin=st.integers(0, 60), span=st.integers(0, 60)
)
def test_what_is_asked_for_and_what_the_file_spans_are_all_there_is(
    held: tuple[int, int], begin: int, span: int
) -> None:
    opened, length = held
    want = Want("BTCUSDT", "1h", begin * HOUR, (begin + span) * HOUR)
    file = (opened * HOUR, (opened + length) * HOUR)
    asked_for = {
        time // HOUR
        for first, last in missing(want, Alias("BTC", "spot", "BTCUSDT"), file, set())
        for time in range(first, last + 1, HOUR)
    }
    in_file = set(range(opened + 1, opened + length + 1))

    assert asked_for == set(range(begin + 1, begin + span + 1)) - in_file


def test_a_name_is_asked_for_only_while_it_was_one() -> None:
    matic, pol = names("POLUSDT")
    assert matic.ends is not None
    want = Want("POLUSDT", "1h", matic.ends - 5 * HOUR, pol.begins + 5 * HOUR)

    assert missing(want, matic, (0, 0), set()) == [(matic.ends - 4 * HOUR, matic.ends)]
    assert missing(want, pol, (0, 0), set()) == [(pol.begins + HOUR, pol.begins + 5 * HOUR)]


def test_a_demo_wants_five_thousand_candles_of_each() -> None:
    found = {
        want.interval: (NOW - want.begin) // INTERVALS[want.interval]
        for want in wanted(Settings(), NOW, "demo")
    }

    assert found == {"1h": 5_000, "5m": 5_000}


def test_a_model_of_the_decision_interval_wants_its_own_window() -> None:
    settings = Settings()
    settings = settings.model_copy(update={"decide": replace_interval(settings)})
    found = wanted(settings, NOW)

    assert len(found) == len(settings.all_symbols)
    assert {(want.interval, (NOW - want.begin) // (24 * HOUR)) for want in found} == {("1h", 1095)}


def replace_interval(settings: Settings) -> Any:
    return settings.decide.model_copy(update={"interval": "1h"})


async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "klines" / "spot" / "1h" / "BTCUSDT.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no parquet")
    async with asked() as rest:
        with pytest.raises(StorageError, match=r"BTCUSDT\.parquet: cannot read candles"):
            await collect(wants(), rest, None, tmp_path)

    assert closes(tmp_path, "DOGEUSDT")
