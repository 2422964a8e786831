"""The exchange as training sees it: what time it is there, and its candles; on a thread of its own.

It asks within a share of the weight the engine allows itself: the flow's questions come first.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, TimeoutError
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from dataflows.connectors.background import Background
from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.binance.rest import Rest
from dataflows.connectors.binance.weights import Weights
from dataflows.connectors.clock import StreamClock
from dataflows.connectors.journal import Journal
from dataflows.training.child import Stopped
from dataflows.training.collect import collect, wanted
from dataflows.training.learnt import compact
from engine.errors import SourceError
from engine.settings import Settings

SHARE: Final = 0.5
"""Of the engine's own share of the budget."""

PAUSES: Final = (0.3, 0.7, 1.0, 2.0)
SAMPLE: Final = 5.0
"""Wall seconds between two questions for the time: at first, and from then on."""

STALE: Final = 30.0
"""Wall seconds after which an exchange that does not answer is not believed to go on."""

TURN: Final = 0.1
PATIENCE: Final = 5.0

T = TypeVar("T")


class Exchange:
    """The configured exchange; `close` ends what runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = StreamClock()
        self.fault = "it has not been asked yet"
        self._rest = rest_of(settings)
        self._background = Background("training")
        self._background.spawn(self._sampling())

    def now(self) -> int:
        """Stream time, ms UTC. Raises `SourceError` while the exchange does not tell it."""
        if not self.clock.ready or (self.fault and self.clock.sample_age > STALE):
            raise SourceError(f"the exchange does not tell its time: {self.fault}")
        return self.clock.now_ms()

    def collect(
        self,
        until: int,
        folder: Path,
        profile: str,
        stop: threading.Event,
        told: Callable[[float], None],
    ) -> None:
        """Bring the history in `folder` up to `until`, ms UTC.

        Raises `SourceError`, `StorageError`, and `Stopped` once `stop` is set.
        """
        self._await(self._collecting(until, folder, profile, told), stop)

    def close(self) -> None:
        """Ask no more."""
        self._background.spawn(self._rest.__aexit__()).result(PATIENCE)
        self._background.close()

    async def _sampling(self) -> None:
        pauses = iter(PAUSES)
        while True:
            sent = self.clock.wall()
            try:
                server_ms = await self._rest.time()
            except SourceError as error:
                self.fault = str(error)
            else:
                self.clock.sample(sent, self.clock.wall(), server_ms)
                self.fault = ""
            await asyncio.sleep(next(pauses, SAMPLE))

    async def _collecting(
        self, until: int, folder: Path, profile: str, told: Callable[[float], None]
    ) -> None:
        storage = self.settings.storage.folder
        there = (storage / "journal.db").exists()
        with closing(Journal(storage, readonly=True)) if there else nullcontext() as journal:
            wants = wanted(self.settings, until, profile)
            await collect(wants, self._rest, journal, folder, told)
            if journal is not None:
                await asyncio.to_thread(compact, journal, folder)

    def _await(self, work: Coroutine[Any, Any, T], stop: threading.Event) -> T:
        """The result of work on the loop; `Stopped` once told to stop."""
        future: Future[T] = self._background.spawn(work)
        while True:
            try:
                return future.result(TURN)
            except TimeoutError:
                if not future.done() and stop.is_set():
                    future.cancel()
                    raise Stopped from None


def rest_of(settings: Settings) -> Rest:
    """The configured exchange's REST, on its share of the weight budget."""
    exchange, binance, waits = settings.exchange, settings.binance, settings.binance.backoff
    return Rest(
        exchange.rest,
        settings.market,
        Weights(exchange.weight_per_minute, binance.budget_share * SHARE),
        Backoff(waits.first, waits.factor, waits.most, waits.jitter, rng=np.random.default_rng()),
    )
