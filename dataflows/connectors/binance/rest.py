"""Binance's REST, market data only: within a share of the weight budget, and never against a ban.

A question asked in vain raises; whether to ask again later is the asker's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Self

import httpx
import orjson

from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.binance.parse import milliseconds
from dataflows.connectors.binance.weights import Weights
from engine.errors import RateLimited, Refused, SourceError, UnknownSymbol

Market = Literal["spot", "um"]

ROOT: Final[Mapping[str, str]] = {"spot": "/api/v3", "um": "/fapi/v1"}
LIMIT: Final = 1_000
"""Most klines in one answer, on both markets."""

MOST_NAMED: Final = 100
"""Symbols named in one address; many more would make it longer than servers read."""

LARGEST: Final = 64 << 20
WITHOUT_RETRY_AFTER: Final = 60.0
INVALID_SYMBOL: Final = -1121
LOCAL: Final = ("127.0.0.1", "::1", "localhost")


class Rest:
    """One market's REST at `base_url`.

    `attempts` bounds how often a question is repeated when the network or the exchange fails (5xx, time-out,
    half an answer); 429, 418 and refusals are never repeated: they raise `RateLimited` and `Refused`, the
    former at once for as long as the exchange asked to wait. Times are wall time.
    """

    def __init__(
        self,
        base_url: str,
        market: Market,
        weights: Weights,
        backoff: Backoff,
        *,
        attempts: int = 4,
        timeout: float = 10.0,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self.market = market
        self.weights = weights
        self.attempts = attempts
        self.timeout = timeout
        self.fault = ""
        self._backoff = backoff
        self._unix = unix
        self._closed_until = 0.0
        self._banned = False
        local = httpx.URL(base_url).host in LOCAL
        self._client = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
            trust_env=not local,
            headers={"user-agent": "signal-engine", "accept": "application/json"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    @property
    def state(self) -> Literal["ok", "limited", "banned"]:
        if self.retry_in <= 0:
            return "ok"
        return "banned" if self._banned else "limited"

    @property
    def retry_in(self) -> float:
        """Seconds until the exchange may be asked again."""
        return max(0.0, self._closed_until - self._unix())

    @property
    def retry_at_ms(self) -> int | None:
        """When that is, ms UTC of this machine; None when it may be asked now."""
        return int(self._closed_until * 1000) if self.retry_in > 0 else None

    async def time(self) -> int:
        """The exchange's time, ms UTC."""
        body = await self._get("/time", {}, 1)
        return milliseconds(body["serverTime"])

    async def exchange_info(self, symbols: Sequence[str]) -> Any:
        """What the exchange lists: of spot only `symbols`, or all where they are many or one is unknown."""
        if self.market == "um":
            return await self._get("/exchangeInfo", {}, 1)
        if len(symbols) > MOST_NAMED:
            return await self._get("/exchangeInfo", {}, 20)
        try:
            asked = orjson.dumps(list(symbols)).decode()
            return await self._get("/exchangeInfo", {"symbols": asked}, 20)
        except UnknownSymbol:
            return await self._get("/exchangeInfo", {}, 20)

    async def klines(self, symbol: str, interval: str, start: int, end: int, limit: int = LIMIT) -> list[Any]:
        """Rows that opened from `start` to `end` (ms, both included), oldest first, at most `limit`."""
        params = {
            "symbol": symbol,
            "interval": interval,
            "startTime": str(start),
            "endTime": str(end),
            "limit": str(limit),
        }
        rows = await self._get("/klines", params, self._klines_weight(limit))
        if not isinstance(rows, list):
            raise SourceError(f"klines of {symbol} {interval}: an array was expected, {str(rows)[:80]} came")
        return rows

    def _klines_weight(self, limit: int) -> int:
        if self.market == "spot":
            return 2
        return 1 if limit < 100 else 2 if limit < 500 else 5

    async def _get(self, path: str, params: Mapping[str, str], weight: int) -> Any:
        path = ROOT[self.market] + path
        for attempt in range(self.attempts):
            await self.weights.take(weight)
            self._stand_back(path)
            try:
                answer = await self._ask(path, params)
            except (RateLimited, Refused) as error:
                self.fault = str(error)
                raise
            except SourceError as error:
                self.fault = str(error)
                if attempt + 1 == self.attempts:
                    raise
                await asyncio.sleep(self._backoff.delay(attempt))
            else:
                self.fault = ""
                return answer
        raise AssertionError("at least one attempt is made")

    def _stand_back(self, path: str) -> None:
        if (wait := self.retry_in) > 0:
            code = 418 if self._banned else 429
            raise RateLimited(f"{path}: {code} for another {wait:.0f} s", wait, banned=self._banned)

    async def _ask(self, path: str, params: Mapping[str, str]) -> Any:
        try:
            async with (
                asyncio.timeout(2 * self.timeout),
                self._client.stream("GET", path, params=dict(params)) as response,
            ):
                self.weights.learn(response.headers.get("x-mbx-used-weight-1m"))
                body = await read(response, path)
        except (httpx.HTTPError, TimeoutError) as error:
            raise SourceError(f"{path}: {type(error).__name__} {error}".rstrip()) from error
        if response.status_code == 200:
            return decoded(body, path)
        raise self._error(path, response, body)

    def _error(self, path: str, response: httpx.Response, body: bytes) -> Exception:
        status = response.status_code
        code, text = told(body)
        message = f"{path}: {status} {text}"
        if status in (418, 429):
            wait = retry_after(response.headers.get("retry-after"))
            self._closed_until = max(self._closed_until, self._unix() + wait)
            self._banned = status == 418
            return RateLimited(f"{message}; next try in {wait:.0f} s", wait, banned=self._banned)
        if status == 451:
            return Refused(f"{path}: the exchange does not serve this location (451): {text}", status)
        if status == 403:
            return Refused(f"{path}: the exchange's firewall refused this machine (403)", status)
        if code == INVALID_SYMBOL:
            return UnknownSymbol(f"{path}: {response.request.url.params.get('symbol') or 'symbol'}: {text}")
        return SourceError(message) if status >= 500 else Refused(message, status)


async def read(response: httpx.Response, path: str) -> bytes:
    """The whole body, unless it is larger than any answer that is asked for here."""
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > LARGEST:
            raise SourceError(f"{path}: the answer is larger than {LARGEST >> 20} MiB")
    return bytes(body)


def decoded(body: bytes, path: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{path}: half an answer, or none: {error}") from error


def told(body: bytes) -> tuple[int, str]:
    """Binance's own error code and text; an HTML page has neither.

    >>> told(b'{"code":-1121,"msg":"Invalid symbol."}'), told(b"<html>")
    ((-1121, 'Invalid symbol.'), (0, '<html>'))
    """
    try:
        answer = orjson.loads(body)
        return int(answer["code"]), str(answer["msg"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 0, body[:80].decode(errors="replace")


def retry_after(header: str | None) -> float:
    """Seconds to wait, a minute where the exchange did not say.

    >>> retry_after("17"), retry_after(None), retry_after("soon")
    (17.0, 60.0, 60.0)
    """
    try:
        return max(1.0, float(header or WITHOUT_RETRY_AFTER))
    except ValueError:
        return WITHOUT_RETRY_AFTER
