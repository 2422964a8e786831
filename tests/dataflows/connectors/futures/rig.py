"""The source on a simulated futures exchange of its own, and what it handed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import numpy as np

from dataflows.connectors.clock import StreamClock
from dataflows.connectors.futures import FuturesSource
from dataflows.connectors.hearing import Hearing
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.faults import Fault
from dataflows.replay.simulate import Simulated
from engine.records import Metric
from engine.settings import Settings

DEADLINE = 10.0
START = 1_748_736_000_000
"""2025-06-01T00:00Z"""

SPEED = 1000.0
"""Five minutes of the market are .3 s of ours; still it pushes a mark price in each of them."""

CONTRACTS = ("BTCUSDT", "1000PEPEUSDT", "WIFUSDT")


class Box:
    """Where the hearing puts records instead of into a journal."""

    def __init__(self) -> None:
        self.records: list[Metric] = []

    def add(self, records: Iterable[Metric]) -> None:
        self.records += records


class Rig:
    """One run of the source; `metrics` is what it handed on, in order."""

    def __init__(self, exchange: ReplayExchange, source: FuturesSource) -> None:
        self.exchange = exchange
        self.source = source
        self.clock = StreamClock()
        self.box = Box()
        self.hearing = Hearing(self.clock, self.box, lambda: 0)  # type: ignore[arg-type]
        self.task = asyncio.create_task(source.run(self.hearing))

    @property
    def metrics(self) -> list[Metric]:
        return self.box.records

    @property
    def body(self) -> dict[str, Any]:
        return dict(self.source.told()["binance_futures"])

    def of(self, name: str, asset: str) -> dict[int, float]:
        """The values of a metric by time, the last word on each."""
        name = f"binance.{name}"
        return {one.time: one.value for one in self.metrics if (one.name, one.asset) == (name, asset)}

    async def keep_time(self) -> None:
        async with httpx.AsyncClient(base_url=self.exchange.url, verify=False, trust_env=False) as client:
            while True:
                sent = self.clock.wall()
                with suppress(httpx.HTTPError, KeyError):
                    server = (await client.get("/_control/state")).json()["clock"]
                    self.clock.sample(sent, self.clock.wall(), server)
                await asyncio.sleep(0.1)

    async def until(self, condition: Callable[[], Any], why: str) -> None:
        """Wait for something to become true; fail naming it, or with the source's own error."""
        end = time.monotonic() + DEADLINE
        while not condition():
            if self.task.done():
                self.task.result()
            assert time.monotonic() < end, f"{why} never came: {self.body}"
            await asyncio.sleep(0.01)


def settings(rest: str, stream: str, symbols: Sequence[str], **futures: Any) -> Settings:
    """Small pauses, so that a test is short."""
    um = {"rest": rest, "stream": stream, "weight_per_minute": 2400}
    backoff = {"first": 0.05, "factor": 2, "most": 0.2, "jitter": 0.5}
    return Settings.model_validate(
        {
            "symbols": {"majors": tuple(symbols)},
            "segments": {"majors": {"threshold": 0.5}},
            "binance": {"um": um, "backoff": backoff},
            "futures": futures,
        }
    )


@asynccontextmanager
async def running(
    *symbols: str,
    faults: Iterable[Fault] = (),
    stream: str | None = None,
    start: int = START,
    seed: int = 1,
    **futures: Any,
) -> AsyncIterator[Rig]:
    """The source, listening and asking about `symbols` at an exchange that has `CONTRACTS`."""
    market = Simulated(CONTRACTS, seed, "um")
    async with ReplayExchange("um", market, start, speed=SPEED, prepare=1, faults=faults) as exchange:
        chosen = settings(exchange.url, stream or exchange.stream_url, symbols, **futures)
        rig = Rig(exchange, FuturesSource(chosen, rng=np.random.default_rng(0), floor=0.05))
        keeping = asyncio.create_task(rig.keep_time())
        try:
            yield rig
        finally:
            for task in (rig.task, keeping):
                task.cancel()
            await asyncio.wait({rig.task, keeping})
