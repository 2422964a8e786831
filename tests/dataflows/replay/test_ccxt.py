"""ccxt, an independent client, works against the exchange as it does against Binance."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ccxt
import pytest

from dataflows.replay.candles import HOUR, MINUTE
from tests.dataflows.replay.conftest import START, Opener

NOW = START + HOUR + 90_000
HOSTS = ("https://api.binance.com", "https://fapi.binance.com")


@contextmanager
def client(kind: type[Any], url: str, markets: str) -> Iterator[Any]:
    """A ccxt exchange whose addresses are ours."""
    options = {"fetchMarkets": {"types": [markets]}, "fetchCurrencies": False}
    exchange = kind({"options": options, "enableRateLimit": False})
    for name, address in exchange.urls["api"].items():
        for host in HOSTS:
            exchange.urls["api"][name] = address = address.replace(host, url)
    try:
        yield exchange
    finally:
        exchange.close()


def ask_spot(url: str) -> dict[str, Any]:
    with client(ccxt.binance, url, "spot") as exchange:
        markets = exchange.load_markets()
        found = {
            "time": exchange.fetch_time(),
            "markets": sorted(markets),
            "precision": markets["BTC/USDT"]["precision"]["price"],
            "active": markets["BTC/USDT"]["active"],
            "candles": exchange.fetch_ohlcv("BTC/USDT", "5m", since=START, limit=10),
            "ticker": exchange.fetch_ticker("BTC/USDT"),
        }
        with pytest.raises(ccxt.BadSymbol):
            exchange.public_get_klines({"symbol": "NOPE", "interval": "1h"})
        return found


async def test_ccxt_reads_spot(opened: Opener) -> None:
    exchange = await opened(start=NOW)
    found = await asyncio.to_thread(ask_spot, exchange.url)

    assert found["time"] == NOW
    assert found["markets"] == ["BTC/USDT", "ETH/USDT", "PEPE/USDT"]
    assert (found["precision"], found["active"]) == (0.01, True)
    assert [row[0] for row in found["candles"]] == [START + at * 5 * MINUTE for at in range(10)]
    assert found["ticker"]["last"] > 0


def ask_futures(url: str) -> dict[str, Any]:
    symbol = "BTC/USDT:USDT"
    with client(ccxt.binanceusdm, url, "linear") as exchange:
        exchange.load_markets()
        return {
            "time": exchange.fetch_time(),
            "markets": sorted(exchange.markets),
            "candles": exchange.fetch_ohlcv(symbol, "15m", limit=3),
            "funding": exchange.fetch_funding_rate(symbol)["fundingRate"],
            "settled": exchange.fetch_funding_rate_history(symbol, limit=3),
            "interest": exchange.fetch_open_interest(symbol)["openInterestAmount"],
            "history": exchange.fetch_open_interest_history(symbol, "5m", limit=3),
            "ratios": exchange.fetch_long_short_ratio_history(symbol, "5m", limit=3),
        }


async def test_ccxt_reads_futures(opened: Opener) -> None:
    exchange = await opened("um", start=NOW)
    found = await asyncio.to_thread(ask_futures, exchange.url)

    assert found["time"] == NOW
    assert found["markets"] == ["1000PEPE/USDT:USDT", "BTC/USDT:USDT"]
    assert [row[0] for row in found["candles"]] == [START + at * 15 * MINUTE for at in (2, 3, 4)]
    assert found["funding"] == found["settled"][-1]["fundingRate"]
    assert found["interest"] == found["history"][-1]["openInterestAmount"]
    assert len(found["ratios"]) == 3
