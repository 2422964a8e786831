"""The exchange's archive over HTTP: each file with its checksum, or not there, or refused.

A file that cannot be proven whole is asked for again and then refused; it is never half used.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from typing import Final, Self

import httpx

from dataflows.backfill.zips import unpacked
from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.binance.rest import LOCAL, retry_after
from engine.errors import RateLimited, Refused, SourceError

BASE: Final = "https://data.binance.vision"
LARGEST: Final = 64 << 20
"""Bytes of a zip; a month of 1m candles has 2 MiB."""

LARGEST_CHECKSUM: Final = 4 << 10
LONGEST_WAIT: Final = 180.0
"""Seconds that are waited when asked to; whoever asks for more is not asked again."""

AT_ONCE: Final = 8
GIVEN_UP: Final = 2 * AT_ONCE
"""Files in a row that failed, each after all its tries, until the archive counts as down for this run."""

CHECKSUM: Final = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")


class Archive:
    """The archive at `base_url`: `at_once` requests at a time, a question at most `attempts` times.

    `requests` counts what was asked, `zips` the files that came and were proven.
    """

    def __init__(
        self,
        base_url: str,
        backoff: Backoff,
        *,
        attempts: int = 4,
        timeout: float = 30.0,
        at_once: int = AT_ONCE,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests = 0
        self.zips = 0
        self._backoff = backoff
        self._attempts = attempts
        self._timeout = timeout
        self._wall = wall
        self._slots = asyncio.Semaphore(at_once)
        self._closed_until = 0.0
        self._failures = 0
        local = httpx.URL(base_url).host in LOCAL
        self._client = httpx.AsyncClient(
            base_url=base_url,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
            trust_env=not local,
            headers={"user-agent": "signal-engine"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def fetch(self, path: str) -> bytes | None:
        """The CSV in the zip at `path`; None where the archive does not have it.

        Raises `SourceError` when no try gave a file that its checksum proves, or the archive is down,
        `Refused` and `RateLimited` when asking again is no use.
        """
        if self._failures >= GIVEN_UP:
            raise SourceError(f"the archive is not asked any more: {GIVEN_UP} files in a row failed")
        try:
            text = await self._insisted(path)
        except SourceError:
            self._failures += 1
            raise
        self._failures = 0
        return text

    async def _insisted(self, path: str) -> bytes | None:
        for attempt in range(self._attempts):
            try:
                return await self._proven(path)
            except Refused:
                raise
            except RateLimited as error:
                if attempt + 1 == self._attempts or error.retry_after > LONGEST_WAIT:
                    raise
                self._closed_until = max(self._closed_until, self._wall() + error.retry_after)
            except SourceError:
                if attempt + 1 == self._attempts:
                    raise
                await asyncio.sleep(self._backoff.delay(attempt))
        raise AssertionError("at least one attempt is made")

    async def _proven(self, path: str) -> bytes | None:
        line = await self._get(path + ".CHECKSUM", LARGEST_CHECKSUM)
        if line is None:
            return None
        wanted = digest(line, path)
        body = await self._get(path, LARGEST)
        if body is None:
            raise SourceError(f"{path}: there is a checksum, and no file")
        found = hashlib.sha256(body).hexdigest()
        if found != wanted:
            raise SourceError(f"{path}: sha256 is {found[:16]}.., its checksum says {wanted[:16]}..")
        text = await asyncio.to_thread(unpacked, body, path)
        self.zips += 1
        return text

    async def _get(self, path: str, largest: int) -> bytes | None:
        async with self._slots:
            while (wait := self._closed_until - self._wall()) > 0:
                await asyncio.sleep(wait)
            self.requests += 1
            try:
                async with (
                    asyncio.timeout(4 * self._timeout),
                    self._client.stream("GET", "/" + path) as response,
                ):
                    return await whole(response, path, largest)
            except (httpx.HTTPError, TimeoutError) as error:
                raise SourceError(f"{path}: {type(error).__name__} {error}".rstrip()) from error


async def whole(response: httpx.Response, path: str, largest: int) -> bytes | None:
    """The body of an answer; None for 404."""
    status = response.status_code
    if status == 404:
        return None
    if status in (418, 429):
        wait = retry_after(response.headers.get("retry-after"))
        raise RateLimited(f"{path}: {status}; next try in {wait:.0f} s", wait, banned=status == 418)
    if 400 <= status < 500:
        raise Refused(f"{path}: the archive refused this machine ({status})", status)
    if status != 200:
        raise SourceError(f"{path}: {status}")
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > largest:
            raise SourceError(f"{path}: larger than {largest} bytes")
    return bytes(body)


def digest(line: bytes, path: str) -> str:
    """The sha256 that a checksum file gives for `path`. Raises `SourceError` for anything else.

    >>> digest(b"0" * 64 + b"  a.zip", "data/a.zip")[:4]
    '0000'
    """
    found = CHECKSUM.fullmatch(line.decode(errors="replace").strip())
    if found is None or found[2] != path.rsplit("/", 1)[-1]:
        raise SourceError(f"{path}.CHECKSUM: a sha256 and the file's name were expected; found {line[:60]!r}")
    return found[1].lower()
