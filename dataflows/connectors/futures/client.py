"""The futures exchange's REST as the statistics need it: within its limits, and never against a refusal.

A question asked in vain raises `SourceError`; whether to ask again is the asker's business, what an answer
means the provider's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Self

import httpx
import orjson

from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.binance.rest import LOCAL, decoded
from dataflows.connectors.binance.weights import Weights
from dataflows.connectors.futures.pace import Pace
from engine.errors import NotServed, RateLimited, Refused, SourceError, Unreadable
from engine.providers.base import Request
from engine.providers.binance import FUNDING, Binance
from engine.settings import Settings

STATISTICS_LIMIT: Final = 1000
FUNDING_LIMIT: Final = 500
"""Questions in five minutes from one address; the two pools are apart from the request weight."""

LARGEST: Final = 4 << 20
REFUSED_FOR: Final = 900.0
"""Seconds until a refusal (country, firewall) is put to the test again."""

PATIENCE: Final = 3
"""Failures in a row after which the exchange is left alone for a while."""

Breaker = Literal["closed", "open", "half-open"]


class Client:
    """Asks, and remembers how that went. Times are wall time."""

    def __init__(
        self,
        settings: Settings,
        provider: Binance,
        backoff: Backoff,
        *,
        timeout: float = 10.0,
        unix: Callable[[], float] = time.time,
    ) -> None:
        um, share = settings.binance.um, settings.binance.budget_share
        self.weights = Weights(um.weight_per_minute, share, unix)
        self.statistics = Pace(STATISTICS_LIMIT, share)
        self.settlements = Pace(FUNDING_LIMIT, share)
        self.error: dict[str, Any] | None = None
        self.refusal = ""
        self.last_success: int | None = None
        self.latency_ms: float | None = None
        self._provider = provider
        self._backoff = backoff
        self._timeout = timeout
        self._unix = unix
        self._failures = 0
        self._closed_until = 0.0
        self._base_url = um.rest

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            base_url=self._base_url,
            timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, 5.0)),
            trust_env=httpx.URL(self._base_url).host not in LOCAL,
            headers={"user-agent": "signal-engine", "accept": "application/json"},
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    @property
    def retry_in(self) -> float:
        """Seconds until the exchange may be asked again."""
        return max(0.0, self._closed_until - self._unix())

    @property
    def retry_at(self) -> int | None:
        """When that is, ms UTC of this machine; None when it may be asked now."""
        return int(self._closed_until * 1000) if self.retry_in > 0 else None

    @property
    def breaker(self) -> Breaker:
        if self.retry_in > 0:
            return "open"
        return "half-open" if self._closed_until else "closed"

    async def get(self, request: Request) -> Any:
        """The decoded body of an answer. Raises `SourceError`, by what it means."""
        await self._take(request)
        if (wait := self.retry_in) > 0:
            raise RateLimited(f"binance futures are left alone for another {wait:.0f} s", wait)
        began = time.perf_counter()
        try:
            status, headers, body = await self._ask(request)
            if status != 200:
                raise self._provider.fault(status, headers, text_or_json(body))
            answer = decoded(body, request.path)
        except SourceError as error:
            self._failed(error)
            raise
        self.latency_ms = round(1000 * (time.perf_counter() - began), 1)
        self._succeeded()
        return answer

    def unreadable(self, error: SourceError) -> None:
        """Note that an answer could not be read; who read it found out."""
        self._note(error)

    async def _take(self, request: Request) -> None:
        """Wait until the limits allow it."""
        if request.path.startswith("/futures/data/"):
            await self.statistics.take()
        if request.path == FUNDING:
            await self.settlements.take()
        if request.cost:
            await self.weights.take(round(request.cost))

    async def _ask(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        try:
            async with (
                asyncio.timeout(2 * self._timeout),
                self._client.stream("GET", request.path, params=dict(request.params)) as response,
            ):
                self.weights.learn(response.headers.get("x-mbx-used-weight-1m"))
                return response.status_code, response.headers, await whole(response, request.path)
        except (httpx.HTTPError, TimeoutError) as error:
            raise SourceError(f"{request.path}: {type(error).__name__} {error}".rstrip()) from error

    def _succeeded(self) -> None:
        self._failures, self._closed_until, self.refusal = 0, 0.0, ""
        self.last_success = int(self._unix() * 1000)

    def _failed(self, error: SourceError) -> None:
        self._note(error)
        if isinstance(error, NotServed | Unreadable):
            return  # this one thing is not to be had, the rest is
        self._failures += 1
        now = self._unix()
        if isinstance(error, RateLimited):
            self._closed_until = max(self._closed_until, now + error.retry_after)
        elif isinstance(error, Refused):
            self._closed_until, self.refusal = now + REFUSED_FOR, str(error)
        elif self._failures >= PATIENCE:
            self._closed_until = now + self._backoff.delay(self._failures - PATIENCE)

    def _note(self, error: SourceError) -> None:
        told = {"class": type(error).__name__, "message": str(error)[:300]}
        self.error = {**told, "at": int(self._unix() * 1000)}


async def whole(response: httpx.Response, path: str) -> bytes:
    """The body, unless it is larger than any answer that is asked for here."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > LARGEST:
            raise SourceError(f"{path}: the answer is larger than {LARGEST >> 20} MiB")
    return bytes(body)


def text_or_json(body: bytes) -> Any:
    """
    >>> text_or_json(b'{"code":1}'), text_or_json(b"<html>")
    ({'code': 1}, '<html>')
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:2000].decode(errors="replace")
