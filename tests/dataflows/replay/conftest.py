"""What the exchange's tests share: an exchange on a free port, a small folder of history, the real one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dataflows.replay.candles import SPANS
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.instruments import Market
from dataflows.replay.simulate import Simulated

START = 1_748_736_000_000  # 2025-06-01T00:00Z
SYMBOLS: dict[Market, tuple[str, ...]] = {
    "spot": ("BTCUSDT", "ETHUSDT", "PEPEUSDT"),
    "um": ("BTCUSDT", "1000PEPEUSDT"),
}
Opener = Callable[..., Awaitable[ReplayExchange]]


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Open exchanges, stopped at the end of the test; by default simulated, at full speed, two hours."""
    async with AsyncExitStack() as stack:

        async def opener(market: Market = "spot", **given: Any) -> ReplayExchange:
            options: dict[str, Any] = {"start": START, "end": START + 2 * SPANS["1h"], "speed": float("inf")}
            options |= {"prepare": 0, "settle": 0.02, **given}
            source = options.pop("source", None) or Simulated(SYMBOLS[market], 1, market)
            return await stack.enter_async_context(ReplayExchange(market, source, **options))

        yield opener


def write_klines(
    folder: Path, interval: str, symbol: str, rows: list[tuple[int, float]], market: str = "spot"
) -> None:
    """A Parquet file of flat candles: (open time, price); the last four columns are null."""
    prices = [price for _, price in rows]
    nothing = [None] * len(rows)
    frame = pl.DataFrame(
        {
            "open_time": [time for time, _ in rows],
            "open": prices,
            "high": [price + 1 for price in prices],
            "low": [price - 1 for price in prices],
            "close": prices,
            "volume": [2.0] * len(rows),
            "close_time": [time + SPANS[interval] - 1 for time, _ in rows],
            "quote_volume": pl.Series(nothing, dtype=pl.Float64),
            "trades": pl.Series(nothing, dtype=pl.Int64),
            "taker_buy_base": pl.Series(nothing, dtype=pl.Float64),
            "taker_buy_quote": pl.Series(nothing, dtype=pl.Float64),
        }
    )
    target = folder / "klines" / market / interval
    target.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(target / f"{symbol}.parquet")


@pytest.fixture
def market_data() -> Path:
    """The folder of real data; the test is skipped where it is absent."""
    root = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("MARKET_DATA", root.parent / "shared" / "market"))
    if not folder.is_dir():
        pytest.skip(f"real market data is absent: MARKET_DATA points at {folder}")
    return folder
