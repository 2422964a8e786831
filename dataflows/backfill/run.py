"""A whole backfill: plan, fetch many months at once, keep each as it comes, join them to the files.

Killed at any time it goes on where it was: what is kept is not asked for again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import Progress, TaskID

from dataflows.backfill.archive import AT_ONCE, Archive
from dataflows.backfill.exchange import Futures, patiently
from dataflows.backfill.fetch import Fetch, Found, Unit
from dataflows.backfill.plan import units
from dataflows.backfill.series import Series, Wanted, wanted
from dataflows.backfill.spans import DAY, Range
from dataflows.backfill.store import Merged, Store
from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.binance.rest import Rest
from dataflows.connectors.binance.weights import Weights
from engine.errors import SettingsError, SourceError
from engine.settings import Settings
from engine.symbols import Market

SHOWN: Final = 5
"""Files and failures that are told one by one to people; all of them are in the JSON."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be in the folder: candles closing in (begin, end], ms UTC, and futures statistics."""

    folder: Path
    symbols: Sequence[str]
    market: Market
    intervals: Sequence[str]
    span: Range
    funding: bool = False
    metrics: bool = False


@dataclass
class Report:
    """What a backfill did.

    `corrupt` rows no market can have made; `refused` files that could not be proven whole (their rows came
    from elsewhere, or are among `failed`); `failed` what is still missing, asked for again by the next run.
    """

    files: list[Merged] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    months: int = 0
    corrupt: int = 0
    first_corrupt: str | None = None
    refused: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    archive_requests: int = 0
    zips: int = 0
    seconds: float = 0.0

    def take(self, found: Found) -> None:
        self.months += 1
        self.corrupt += len(found.corrupt)
        self.first_corrupt = self.first_corrupt or found.first_corrupt
        self.refused = list(dict.fromkeys(self.refused + found.refused))
        self.failed += found.failed

    def text(self) -> str:
        """The report as people read it."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        added, rows = sum(file.added for file in self.files), sum(file.rows for file in self.files)
        came = f"{self.zips} archive files in {self.seconds:.1f} s"
        yield f"{added} new rows, {rows} in {len(self.files)} files; {self.months} months asked for, {came}"
        if self.empty:
            yield f"nothing was found of {', '.join(self.empty)}"
        if self.corrupt:
            yield f"corrupt and left out: {self.corrupt} rows, the first: {self.first_corrupt}"
        for title, lines in (("refused", self.refused), ("still missing", self.failed)):
            yield from (f"{title}: {line}" for line in lines[:SHOWN])
            if len(lines) > SHOWN:
                yield f"{title}: {len(lines) - SHOWN} more"


def run(settings: Settings, order: Order, archive_url: str, *, show: bool = True) -> Report:
    """Fill the folder. Raises `SettingsError`, `UnknownSymbol`, and `StorageError` for a file it cannot use.

    What the exchange does not give does not raise: it is in the report.
    """
    if order.span.begin >= order.span.end:
        raise SettingsError("backfill: --from must be before --to")
    asked = list(
        wanted(
            *(order.symbols, order.market, order.intervals, order.span),
            funding=order.funding,
            metrics=order.metrics,
        )
    )
    store, started = Store(order.folder), time.perf_counter()
    console = Console(stderr=True)
    with store.held(), Progress(console=console, disable=not (show and console.is_terminal)) as progress:
        report = asyncio.run(Backfill(settings, store, asked, progress).go(archive_url))
    report.seconds = time.perf_counter() - started
    return report


class Backfill:
    """One run over `asked`; each file is joined as soon as its last month is there."""

    def __init__(self, settings: Settings, store: Store, asked: Sequence[Wanted], progress: Progress) -> None:
        self.report = Report()
        self._settings = settings
        self._store = store
        self._asked = asked
        self._progress = progress
        self._todo: deque[Unit] = deque()
        self._left: Counter[Series] = Counter()

    async def go(self, archive_url: str) -> Report:
        async with AsyncExitStack() as stack:
            archive = await stack.enter_async_context(Archive(archive_url, self._backoff(1)))
            rests = {market: await stack.enter_async_context(self._rest(market)) for market in self._markets}
            until = await self._until(rests)
            await asyncio.to_thread(self._plan, until)
            fetch = Fetch(archive, rests, until)
            task = self._progress.add_task("months", total=len(self._todo))
            workers = [asyncio.create_task(self._work(fetch, task)) for _ in range(AT_ONCE)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
            self.report.archive_requests, self.report.zips = archive.requests, archive.zips
        return self.report

    @property
    def _markets(self) -> list[Market]:
        return list(dict.fromkeys(one.series.market for one in self._asked))

    def _rest(self, market: Market) -> Rest:
        binance = self._settings.binance
        where = binance.spot if market == "spot" else binance.um
        weights = Weights(where.weight_per_minute, binance.budget_share)
        kind = Rest if market == "spot" else Futures
        return kind(where.rest, market, weights, self._backoff(2))

    def _backoff(self, seed: int) -> Backoff:
        given = self._settings.binance.backoff
        rng = np.random.default_rng(seed)
        return Backoff(given.first, given.factor, given.most, given.jitter, rng=rng)

    async def _until(self, rests: Mapping[Market, Rest]) -> int:
        """Exchange time up to which candles are closed and final; the last midnight where it is not told."""
        settle = round(self._settings.binance.cross_check_after * 1000)
        times = []
        for market, rest in rests.items():
            try:
                times.append(await patiently(rest.time))
            except SourceError as error:
                self.report.failed.append(f"{market}: only whole days are fetched: {error}")
                times.append(time.time_ns() // 1_000_000 // DAY * DAY)
        return min(times, default=0) - settle

    def _plan(self, until: int) -> None:
        for one in self._asked:
            found = list(units(one, self._store.covered(one.series), until))
            self._todo += found
            self._left[one.series] = len(found)
            if not found:
                self._merge(one.series)

    async def _work(self, fetch: Fetch, task: TaskID) -> None:
        while self._todo:
            unit = self._todo.popleft()
            found = await fetch.get(unit)
            await asyncio.to_thread(self._keep, unit, found)
            self.report.take(found)
            self._progress.advance(task)
            self._left[unit.series] -= 1
            if not self._left[unit.series]:
                await asyncio.to_thread(self._merge, unit.series)

    def _keep(self, unit: Unit, found: Found) -> None:
        if found.covered:
            self._store.keep(unit.series, found.rows, found.covered)

    def _merge(self, series: Series) -> None:
        merged = self._store.merge(series)
        if merged is None:
            self.report.empty.append(str(series.path))
        else:
            self.report.files.append(merged)
