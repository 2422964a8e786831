"""Real candles played to the bare flow: every close of every symbol once, the data's own gaps named."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from dataflows.connectors import history
from dataflows.connectors.journal import Journal
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.history import History
from engine.records import Candle
from engine.settings import load
from engine.symbols import instant
from tests.checks import market_data
from tests.dataflows.runs import PAUSE, Engine, engine, playing

ALL = load("config.yaml", {}).all_symbols


def journaled(folder: Path) -> Counter[tuple[str, str, int]]:
    """How often each close was journaled."""
    journal = Journal(folder, readonly=True)
    found: Counter[tuple[str, str, int]] = Counter()
    after = 0
    try:
        while rows := journal.read(after, limit=50_000):
            after = rows[-1][0]
            found.update((r.symbol, r.interval, r.time) for _, r in rows if isinstance(r, Candle))
    finally:
        journal.close()
    return found


def recorded(made: Engine, begin: int, end: int) -> set[tuple[str, str, int]]:
    """Every close the data has in (begin, end]."""
    source = history.History(market_data(), "spot")
    return {
        (symbol, interval, time)
        for symbol in made.symbols
        for interval in made.intervals
        for time in source.candles(symbol, interval, begin, end)["time"]
    }


def play(folder: Path, interval: str, begin: str, end: str, symbols: tuple[str, ...], seconds: float) -> None:
    """Play a span to the bare flow and compare what it journaled and said with what the data has."""
    intervals = {"1h": ("1h", "4h"), "5m": ("5m", "15m", "1h", "4h")}[interval]
    start, last = instant(begin) + 60_000, instant(end)
    source = History(market_data(), "spot", ())
    exchange = ReplayExchange("spot", source, start, last, math.inf, faults=[PAUSE])
    with (
        playing(exchange),
        engine(
            folder, exchange, symbols, interval=interval, intervals=intervals, warm_up=500, catch_up=0
        ) as made,
    ):
        made.run_until(last, seconds=seconds)
        closes = recorded(made, instant(begin), last)
        found = {
            close: times for close, times in journaled(folder).items() if instant(begin) < close[2] <= last
        }
        expected = {(symbol, time) for symbol, name, time in closes if name == interval}

        assert set(found) == closes
        assert set(found.values()) == {1}
        assert {key for key in made.signals() if key[1] > instant(begin)} == expected


@pytest.mark.market
def test_an_hour_chart_of_every_symbol_is_said_close_by_close(tmp_path: Path) -> None:
    play(tmp_path, "1h", "2024-06-01T00:00+00:00", "2024-06-08T00:00+00:00", ALL, 100)


@pytest.mark.market
@pytest.mark.soak
@pytest.mark.parametrize(
    ("interval", "begin", "end", "without"),
    [
        ("1h", "2024-03-27T00:00+00:00", "2024-09-10T00:00+00:00", ()),
        ("5m", "2024-03-08T00:00+00:00", "2024-09-07T00:00+00:00", ("DOTUSDT",)),
        ("5m", "2025-01-05T00:00+00:00", "2025-06-16T00:00+00:00", ("POLUSDT", "SHIBUSDT")),
    ],
)
def test_half_a_year_is_said_close_by_close(
    tmp_path: Path, interval: str, begin: str, end: str, without: tuple[str, ...]
) -> None:
    symbols = tuple(symbol for symbol in ALL if symbol not in without)

    play(tmp_path, interval, begin, end, symbols, 3_000)
