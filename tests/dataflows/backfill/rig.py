"""An exchange with its archive on loopback that can spoil any answer, and a backfill against it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from dataflows.backfill.run import Order, Report, run
from dataflows.backfill.spans import Range
from dataflows.connectors.history import History
from dataflows.replay.answers import Answer, Request
from dataflows.replay.candles import SPANS
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.instruments import Market
from dataflows.replay.simulate import Simulated
from dataflows.replay.source import Source
from engine.settings import Settings
from tests.dataflows.runs import playing

HOUR = SPANS["1h"]
DAY = SPANS["1d"]
NOW = 1_741_565_410_000
"""2025-03-10 00:10:10 UTC, a Monday: the archive has February and the days to March 8."""

NOVEMBER = 1_730_419_200_000
"""2024-11-01 00:00 UTC: two months in ms, then microseconds."""

Spoil = Callable[[Request, Answer], Answer]


class Spoilt(ReplayExchange):
    """A replay exchange whose answers pass through `spoil`; its clock stands still."""

    spoil: Spoil | None = None

    async def answer(self, request: Request) -> Answer:
        answer = await super().answer(request)
        return answer if self.spoil is None else self.spoil(request, answer)


@dataclass
class Rig:
    """One exchange and one folder."""

    exchange: Spoilt
    folder: Path

    def settings(self) -> Settings:
        where = {"rest": self.exchange.url, "stream": "ws://127.0.0.1:1", "weight_per_minute": 1_000_000}
        backoff = {"first": 0.01, "factor": 1, "most": 0.01}
        binance = {"spot": where, "um": where, "backoff": backoff}
        return Settings.model_validate({"market": self.exchange.market, "binance": binance})

    def run(self, *symbols: str, begin: int = NOVEMBER, end: int = NOW, **given: Any) -> Report:
        """Fill the folder with 1h candles of `symbols`; by default of BTCUSDT."""
        archive = given.pop("archive", self.exchange.url)
        order = {"folder": self.folder, "market": self.exchange.market, "intervals": ("1h",), **given}
        asked = Order(symbols=symbols or ("BTCUSDT",), span=Range(begin, end), **order)
        return run(self.settings(), asked, archive, show=False)

    def history(self, symbol: str = "BTCUSDT", interval: str = "1h") -> pl.DataFrame:
        """What the engine reads of the folder."""
        return History(self.folder, self.exchange.market).candles(symbol, interval, 0, 1 << 60)

    def rows(self, symbol: str = "BTCUSDT", interval: str = "1h") -> pl.DataFrame:
        return pl.read_parquet(self.file(symbol, interval))

    def file(self, symbol: str = "BTCUSDT", interval: str = "1h") -> Path:
        return self.folder / "klines" / self.exchange.market / interval / f"{symbol}.parquet"

    @property
    def asked(self) -> Counter[str]:
        """How often each path was asked for."""
        return self.exchange.gate.requests.copy()

    def archived(self) -> list[str]:
        return [path for path in self.asked if path.startswith("/data/")]

    def answered(self, symbol: str, begin: int, end: int, interval: str = "1h") -> list[list[Any]]:
        """The exchange's own rows that open in [begin, end), by its REST, written as the folder has them."""
        prefix = "/api/v3" if self.exchange.market == "spot" else "/fapi/v1"
        found: list[list[Any]] = []
        with httpx.Client(base_url=self.exchange.url, trust_env=False, verify=False) as client:
            while begin < end:
                query: dict[str, str | int] = {"symbol": symbol, "interval": interval, "limit": 1000}
                query |= {"startTime": begin, "endTime": end - 1}
                page = client.get(f"{prefix}/klines", params=query).json()
                if not page:
                    break
                found += page
                begin = page[-1][0] + SPANS[interval]
        return [
            [row[0], *map(float, row[1:6]), row[6], float(row[7]), row[8], *map(float, row[9:11])]
            for row in found
        ]


@contextmanager
def rig(
    folder: Path,
    market: Market = "spot",
    symbols: Sequence[str] = ("BTCUSDT",),
    source: Source | None = None,
    now: int = NOW,
    **given: Any,
) -> Iterator[Rig]:
    """An exchange whose clock stands at `now`, and a folder of its own."""
    market_data = source or Simulated(tuple(symbols), 3, market)
    options: dict[str, Any] = {"start": now, "end": now + DAY, "speed": math.inf, "prepare": 0, **given}
    exchange = Spoilt(market, market_data, **options)
    with playing(exchange):
        yield Rig(exchange, folder)


def only(path: str, spoilt: Answer | Callable[[Answer], Answer]) -> Spoil:
    """Spoil the answers to paths that contain `path`."""

    def spoil(request: Request, answer: Answer) -> Answer:
        if path not in request.path:
            return answer
        return spoilt if isinstance(spoilt, Answer) else spoilt(answer)

    return spoil
