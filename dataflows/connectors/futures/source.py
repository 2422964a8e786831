"""Binance's futures data as a source of the feed: whatever market the candles are from.

It polls the statistics and listens to the market stream; that the exchange is away, slow or closed to this
place is told in the status and ends nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np

from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.futures.client import Client
from dataflows.connectors.futures.market import TURN, MarketStream, Marks
from dataflows.connectors.futures.polls import FLOOR, Polls
from dataflows.connectors.futures.sieve import Sieve
from dataflows.connectors.hearing import Hearing
from engine.providers.binance import Binance
from engine.settings import Settings
from engine.symbols import asset_of

NAME: Final = "binance_futures"
SILENT: Final = 60.0
"""Wall seconds, beside three rounds, without an answer after which the statistics count as stale."""

State = Literal["ok", "stale", "down", "disabled"]


class FuturesSource:
    """Funding, premium, open interest, ratios, liquidations and their estimated levels, by asset.

    `floor` is in wall seconds between two rounds at least.
    """

    def __init__(
        self, settings: Settings, *, rng: np.random.Generator | None = None, floor: float = FLOOR
    ) -> None:
        self.settings = settings
        self._floor = floor
        self._backoff = Backoff(**settings.binance.backoff.model_dump(), rng=rng or np.random.default_rng())
        self._hearing: Hearing | None = None
        self._begin()

    def _begin(self) -> None:
        """Everything anew: a second run knows nothing of the first."""
        settings, provider = self.settings, Binance()
        assets = [asset_of(symbol) for symbol in settings.all_symbols]
        self._sieve, marks = Sieve(), Marks()
        self._client = Client(settings, provider, self._backoff)
        self._polls = Polls(
            settings, assets, provider, self._client, self._sieve, marks, self._backoff, floor=self._floor
        )
        self._stream = MarketStream(settings, assets, marks, self._backoff)

    async def run(self, hearing: Hearing) -> None:
        """Ask and listen until cancelled."""
        if not self.settings.futures.enabled:
            await asyncio.Event().wait()
        self._begin()
        self._hearing = hearing
        await hearing.ready_wait()
        async with self._client, asyncio.TaskGroup() as group:
            group.create_task(self._polls.premium(hearing), name="premium")
            group.create_task(self._polls.statistics(hearing), name="statistics")
            group.create_task(self._polls.funding(hearing), name="funding")
            if self.settings.futures.liquidations:
                group.create_task(self._stream.run(hearing), name="market stream")
                group.create_task(self._turns(hearing), name="turns")

    async def _turns(self, hearing: Hearing) -> None:
        """Hand on what the stream has told."""
        while True:
            now = hearing.now()
            found = self._stream.due(now, hearing.clock.rate)
            hearing.hand(list(self._sieve.new(found, now)))
            await asyncio.sleep(TURN)

    def told(self) -> Mapping[str, Mapping[str, Any]]:
        """The source's body in `/providers/status`."""
        client = self._client
        state, reason = self._state()
        now = self._hearing.now() if self._hearing is not None else 0
        left = max(client.weights.budget - client.weights.used, 0)
        body = {
            "state": state,
            "reason": reason,
            "last_success": client.last_success,
            "next": self._polls.next,
            "error": client.error,
            "quota": {"minute": left, "day": None, "month": None, "told": None},
            "latency_ms": client.latency_ms,
            "breaker": client.breaker,
            "retry_at": client.retry_at,
            "metrics": self._sieve.ages(now),
            "contracts": len(self._polls.listed),
            "weight": {"used": client.weights.used, "budget": client.weights.budget},
            "pools": {"statistics": client.statistics.left, "funding": client.settlements.left},
            "stream": self._stream.told(),
            "corrupt": self._stream.corrupt,
        }
        return {NAME: body}

    def _state(self) -> tuple[State, str | None]:
        if not self.settings.futures.enabled:
            return "disabled", "futures.enabled is false"
        asked, heard = self._asked(), self._heard()
        wrong = [fault for fault in (asked, heard) if fault is not None]
        if not wrong:
            return "ok", None
        both = asked is not None and (heard is not None or not self.settings.futures.liquidations)
        return "down" if both else "stale", "; ".join(wrong)

    def _asked(self) -> str | None:
        """What is wrong with the statistics, None when nothing is."""
        client = self._client
        if client.refusal:
            return client.refusal
        if client.breaker == "open":
            said = client.error["message"] if client.error is not None else "no answer"
            return f"left alone for {client.retry_in:.0f} s: {said}"
        if client.last_success is None:
            return client.error["message"] if client.error is not None else "no answer yet"
        rate = self._hearing.clock.rate if self._hearing is not None else 1.0
        patience = SILENT + 3 * self.settings.futures.premium_every / max(rate, 1.0)
        silent = time.time() - client.last_success / 1000
        return f"no answer for {silent:.0f} s" if silent > patience else None

    def _heard(self) -> str | None:
        """What is wrong with the stream, None when nothing is or it is not wanted."""
        if not self.settings.futures.liquidations:
            return None
        if not self._stream.lines and not self._stream.fault:
            return "no connection yet"
        return "; ".join(self._stream.faults()) or None
