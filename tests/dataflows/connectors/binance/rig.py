"""A feed on a tiny exchange: what it journals and says, and waiting for it without sleeping in hope."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from dataflows.connectors.activations import Served
from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance.feed import BinanceFeed
from dataflows.connectors.clock import StreamClock
from dataflows.connectors.journal import Journal
from engine.records import INTERVALS, Candle, Correction, Price, Status, Tick
from engine.settings import Settings
from tests.dataflows.connectors.binance.exchange import Exchange

DEADLINE = 8.0
STEP = INTERVALS["5m"]


def settings(
    exchange: Exchange, *symbols: str, market: str = "spot", warm_up: int = 12, **binance: Any
) -> Settings:
    """Small numbers, so that a test is short; `binance` overrides that block."""
    spot = {
        "rest": f"http://{exchange.url}",
        "stream": f"ws://{exchange.url}",
        "weight_per_minute": 1_000_000,
    }
    um = {**spot, "stream": f"ws://{exchange.url}/market"}
    backoff = {"first": 0.05, "factor": 2, "most": 0.2, "jitter": 0.5}
    return Settings.model_validate(
        {
            "market": market,
            "symbols": {"majors": tuple(symbols)},
            "segments": {"majors": {"threshold": 0.5}},
            "decide": {"warm_up": warm_up, "minimum": 5},
            "binance": {"spot": spot, "um": um, "backoff": backoff, "connects_per_5_minutes": 300, **binance},
        }
    )


class Rig:
    """One run of a feed; `records` is what its mailbox gave, numbered and in order."""

    def __init__(
        self, exchange: Exchange, folder: Path, settings: Settings, shelves: Sequence[Served] = ()
    ) -> None:
        self.exchange = exchange
        self.journal = Journal(folder, synchronous="NORMAL")
        self.mailbox = Mailbox()
        self.numbers: list[int] = []
        self.records: list[Any] = []
        self.prices: dict[str, Price] = {}
        self.bodies: dict[str, Any] = {}
        clock = StreamClock(wall=lambda: exchange.now / 1000, unix=lambda: exchange.now / 1000)
        self.feed = BinanceFeed(
            settings, self.journal, self.mailbox, clock, shelves=shelves, report_every=0.02
        )
        self.task = asyncio.create_task(self.feed.run())

    def drain(self) -> None:
        for number, record in self.mailbox.drain(10_000):
            if number is not None:
                self.numbers.append(number)
                self.records.append(record)
            elif isinstance(record, Price):
                self.prices[record.symbol] = record
            elif isinstance(record, Status):
                self.bodies[record.topic] = record.body

    async def until(self, condition: Callable[[], Any], why: str = "") -> None:
        """Wait for something to become true; fail naming it, or with the feed's own error."""
        end = time.monotonic() + DEADLINE
        while True:
            if self.task.done():
                self.task.result()
            self.drain()
            if condition():
                return
            assert time.monotonic() < end, f"{why or 'it'} never came: {self.faults}, {self.records[-5:]}"
            await asyncio.sleep(0.005)

    async def serving(self) -> None:
        await self.until(lambda: self.bodies.get("serving", {}).get("phase") == "serving", "serving")

    async def has(self, *records: tuple[str, str, int]) -> None:
        """Wait for candles, given as (symbol, interval, close)."""
        await self.until(lambda: set(records) <= set(self.candles()), f"{records}")

    async def ticked(self, time: int) -> None:
        await self.until(lambda: time in self.ticks, f"tick {time}")

    async def fault(self, text: str) -> None:
        await self.until(lambda: any(text in fault for fault in self.faults), text)

    async def error(self) -> BaseException:
        """Wait for the feed to end by itself; what it ended with."""
        await asyncio.wait({self.task}, timeout=DEADLINE)
        found = self.task.exception()
        assert found is not None
        return found

    async def no_fault(self) -> None:
        await self.until(lambda: self.bodies and not self.faults, "the end of all faults")

    @property
    def faults(self) -> list[str]:
        return list(self.bodies.get("streams", {}).get("faults", ()))

    @property
    def ticks(self) -> list[int]:
        return [record.time for record in self.records if isinstance(record, Tick)]

    @property
    def corrections(self) -> list[Correction]:
        return [record for record in self.records if isinstance(record, Correction)]

    def candles(self) -> list[tuple[str, str, int]]:
        return [(one.symbol, one.interval, one.time) for one in self.records if isinstance(one, Candle)]

    def closes(self, symbol: str, interval: str = "1m") -> list[int]:
        """The closes of one market in the order they came."""
        return [time for name, every, time in self.candles() if (name, every) == (symbol, interval)]

    def symbol(self, name: str) -> dict[str, Any]:
        body: dict[str, Any] = self.bodies["streams"]["symbols"][name]
        return body


@asynccontextmanager
async def rig(
    exchange: Exchange, folder: Path, settings: Settings, shelves: Sequence[Served] = ()
) -> AsyncIterator[Rig]:
    """A feed that runs inside the block and is cancelled at its end."""
    one = Rig(exchange, folder, settings, shelves)
    try:
        yield one
    finally:
        one.task.cancel()
        await asyncio.wait({one.task})
        one.drain()
        one.journal.close()
