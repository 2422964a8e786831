"""One source's way to the shared client: its pace, its budget, its breaker, and a few tries.

Everything here is in wall time. Whoever asks in vain gets one of our errors, and asks again later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.http.breaker import Breaker
from dataflows.connectors.http.budget import Budget
from dataflows.connectors.http.client import Answer, Call, Client
from dataflows.connectors.http.limits import Pace
from dataflows.connectors.http.wire import retry_after, told
from engine.errors import NotServed, RateLimited, Refused, SourceError, StorageError, Unreadable

T = TypeVar("T")

LARGE: Final = 256 << 10
"""Bytes from which a body is read in a thread: the loop has others to serve."""

LONGEST: Final = 300
"""Letters of an error's words that are kept."""

SMOOTHING: Final = 0.2
"""Share of the newest answer in the latency that is told."""


class Meaning(Protocol):
    """What a source means by its statuses and headers (names in lower case)."""

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        """What a status other than 2xx means."""

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        """What is left of the quota, None where the headers do not say."""


class Polite:
    """Asks at most `attempts` times a question and repeats at most `repeats` times a poll."""

    def __init__(
        self,
        name: str,
        client: Client,
        pace: Pace,
        budget: Budget,
        breaker: Breaker,
        backoff: Backoff,
        *,
        attempts: int = 3,
        repeats: int = 6,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.pace = pace
        self.budget = budget
        self.breaker = breaker
        self.latency: float | None = None
        """Seconds, a running mean; None before the first answer."""
        self.remaining: float | None = None
        """What the source itself last said is left."""
        self._client = client
        self._backoff = backoff
        self._attempts = attempts
        self._most_repeats = self._repeats = repeats
        self._unix = unix

    def begin(self) -> None:
        """A poll begins: what may be repeated in one is there again."""
        self._repeats = self._most_repeats

    async def ask(self, call: Call, cost: float, meaning: Meaning, read: Callable[[bytes], T]) -> T:
        """What `read` makes of the body of the answer.

        `read` and `meaning` speak in errors of `SourceError`. A failure that may pass is tried again,
        with full jitter; an answer that cannot be read is not: a poll later is early enough for it.
        """
        for attempt in range(self._attempts):
            await self._turn(cost)
            try:
                found = await self._once(call, meaning, read)
            except SourceError as error:
                self._judge(error)
                # Words of the other side: they may repeat what was sent, a key included.
                error.args = (self._client.secrets.scrub(str(error))[:LONGEST],)
                last = attempt + 1 >= self._attempts or self._repeats <= 0 or self.breaker.wait > 0
                if last or isinstance(error, RateLimited | Refused | NotServed | Unreadable):
                    raise
                self._repeats -= 1
                await asyncio.sleep(self._backoff.delay(attempt))
            else:
                self.breaker.succeeded()
                return found
        raise AssertionError("at least one attempt is made")

    async def _turn(self, cost: float) -> None:
        """Wait for the pace, and count what will be asked. Raises `RateLimited` where that is not soon."""
        while (wait := self.pace.wait(cost)) > 0:
            await asyncio.sleep(wait)
        if (wait := self.breaker.wait) > 0:
            raise RateLimited(f"{self.name}: not asked for another {wait:.0f} s", wait)
        if self.budget.metered:
            await self._pay(cost)
        self.pace.take(cost)

    async def _pay(self, cost: float) -> None:
        try:
            wait = await asyncio.to_thread(self.budget.take, cost)
        except StorageError as error:
            # Without its account a metered source must not be asked; candles do not depend on it.
            self.breaker.hold(60.0)
            fault = str(error)
        else:
            if not wait:
                return
            self.breaker.hold(wait)
            fault = f"{self.name}: its budget allows no more for {wait / 3600:.1f} h"
        raise RateLimited(fault, self.breaker.wait)

    async def _once(self, call: Call, meaning: Meaning, read: Callable[[bytes], T]) -> T:
        answer = await self._client.fetch(call)
        self._learn(answer, meaning)
        if 200 <= answer.status < 300:
            if len(answer.body) > LARGE:
                return await asyncio.to_thread(read, answer.body)
            return read(answer.body)
        error = meaning.fault(answer.status, answer.headers, told(answer.body))
        asked = retry_after(answer.headers.get("retry-after"), self._unix())
        if asked is not None and isinstance(error, RateLimited):
            error.retry_after = asked
        elif asked is not None:
            self.breaker.hold(asked)
        raise error

    def _learn(self, answer: Answer, meaning: Meaning) -> None:
        old = answer.seconds if self.latency is None else self.latency
        self.latency = old + SMOOTHING * (answer.seconds - old)
        left = meaning.remaining(answer.headers)
        self.remaining = self.remaining if left is None else left

    def _judge(self, error: SourceError) -> None:
        """What an error says of the source as a whole."""
        if isinstance(error, NotServed):
            self.breaker.succeeded()
        elif isinstance(error, Unreadable):
            # One answer that changed its shape: others may be as they were.
            pass
        elif isinstance(error, RateLimited):
            self.breaker.limited(error.retry_after)
        elif isinstance(error, Refused):
            self.breaker.refused()
        else:
            self.breaker.failed()
