"""The exchange's REST as backfilling asks it: pages of rows, patient with limits, never with refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import polars as pl

from dataflows.backfill.archive import LONGEST_WAIT
from dataflows.backfill.rows import Read, answered, empty, settled
from dataflows.backfill.series import Series
from dataflows.backfill.spans import Range, pages
from dataflows.connectors.binance.rest import LIMIT, Rest
from engine.errors import RateLimited, SourceError

PATIENCE: Final = 5
"""Times a question is asked again after the exchange had asked to wait."""

T = TypeVar("T")


class Futures(Rest):
    """USDT-M REST with the funding rates that only it has."""

    async def funding_rates(self, symbol: str, start: int, end: int) -> list[Any]:
        """Rates settled from `start` to `end` (ms, both included), oldest first, at most 1000."""
        params = {"symbol": symbol, "startTime": str(start), "endTime": str(end), "limit": str(LIMIT)}
        rows = await self._get("/fundingRate", params, 1)
        if not isinstance(rows, list):
            raise SourceError(f"fundingRate of {symbol}: an array was expected, {str(rows)[:80]} came")
        return rows


async def first_open(rest: Rest, series: Series, period: Range) -> int | None:
    """When the first candle of a period opened; None where it has none. Raises as `Rest.klines`."""
    rows = await patiently(
        lambda: rest.klines(series.symbol, series.interval, period.begin, period.end - 1, limit=1)
    )
    if not rows:
        return None
    opened = answered(rows, series.step, period, series.symbol).rows["open_time"]
    return int(opened[0]) if len(opened) else period.begin


async def candles(rest: Rest, series: Series, holes: Sequence[Range]) -> Read:
    """The candles that opened in `holes`. Raises as `Rest.klines`."""
    reads = []
    for page in pages(holes, LIMIT * series.step):
        ask = partial(rest.klines, series.symbol, series.interval, page.begin, page.end - 1)
        rows = await patiently(ask)
        reads.append(answered(rows, series.step, page, f"klines of {series.symbol} {series.interval}"))
    return joined(series, reads)


async def rates(futures: Futures, series: Series, span: Range) -> Read:
    """The funding rates settled in `span`. Raises as `Rest`."""
    reads, begin = [], span.begin
    while begin < span.end:
        rows = await patiently(partial(futures.funding_rates, series.symbol, begin, span.end - 1))
        reads.append(settled(rows, span, f"fundingRate of {series.symbol}"))
        last = reads[-1].rows[series.key].max()
        if len(rows) < LIMIT or not isinstance(last, int) or last < begin:
            break
        begin = last + 1
    return joined(series, reads)


def joined(series: Series, reads: Sequence[Read]) -> Read:
    """Several answers as one."""
    rows = pl.concat([empty(series), *(read.rows for read in reads)])
    firsts = [read.first for read in reads if read.first is not None]
    refused = frozenset[int]().union(*(read.refused for read in reads))
    return Read(rows.unique(series.key, keep="first").sort(series.key), refused, next(iter(firsts), None))


async def patiently(question: Callable[[], Awaitable[T]]) -> T:
    """The answer, asked for again after the time the exchange asked to wait, if that is not too long."""
    for _ in range(PATIENCE):
        try:
            return await question()
        except RateLimited as error:
            if error.retry_after > LONGEST_WAIT:
                raise
            await asyncio.sleep(error.retry_after + 0.1)
    return await question()
