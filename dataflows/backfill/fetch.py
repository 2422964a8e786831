"""One month of one series: from the archive by month, by day, and from REST whatever is still missing.

What was had is covered; what could not be had is told and stays uncovered, to be asked for next time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from dataflows.backfill import exchange
from dataflows.backfill.archive import Archive
from dataflows.backfill.exchange import Futures
from dataflows.backfill.rows import Read, empty, parsed
from dataflows.backfill.series import Series
from dataflows.backfill.spans import DAY, Range, common, minus, periods, runs, told, union
from dataflows.connectors.binance.rest import Rest
from engine.errors import SourceError, UnknownSymbol
from engine.symbols import Market

LATE: Final = 7 * DAY
"""Ms after which the archive is not expected to publish a day any more."""

POSTED: Final = 300_000
"""Ms within which a funding rate is posted once it is settled."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What of one month of a series is asked for: the work that is finished as one."""

    series: Series
    month: Range
    ranges: tuple[Range, ...]


@dataclass(slots=True)
class Found:
    """What came of a unit. `refused` are files that could not be proven, `failed` what is still not had."""

    rows: pl.DataFrame
    covered: list[Range] = field(default_factory=list)
    corrupt: set[int] = field(default_factory=set)
    first_corrupt: str | None = None
    refused: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, read: Read, key: str) -> None:
        """Take rows over; what is there already stays."""
        fresh = read.rows.join(self.rows, on=key, how="anti")
        self.rows = pl.concat([self.rows, fresh]).sort(key)
        self.corrupt |= read.refused
        self.first_corrupt = self.first_corrupt or read.first


class Fetch:
    """Gets units; `until` is the exchange time, ms, up to which anything is over.

    `rests` are the markets' REST; that of "um" is a `Futures`.
    """

    def __init__(self, archive: Archive, rests: Mapping[Market, Rest], until: int) -> None:
        self._archive = archive
        self._rests = rests
        self.until = until

    async def get(self, unit: Unit) -> Found:
        found = Found(empty(unit.series))
        by = {"klines": self._klines, "funding": self._funding, "metrics": self._metrics}[unit.series.kind]
        await by(unit, found)
        found.covered = common(found.covered, unit.ranges)
        return found

    async def _klines(self, unit: Unit, found: Found) -> None:
        had = await self._file(unit, unit.month, found)
        if not had:
            begin = await self._begins(unit)
            if begin is None:
                found.covered = list(unit.ranges)
                return
            for day in periods(unit.ranges, monthly=False):
                if day.end > begin:
                    await self._file(unit, day, found)
        found.rows = found.rows.filter(inside(unit))
        await self._mend(unit, found)

    async def _file(self, unit: Unit, period: Range, found: Found) -> bool:
        """Take over one archive file; False where there is none that can be used."""
        path = unit.series.archived(period)
        if path is None or period.end > self.until:
            return False
        try:
            body = await self._archive.fetch(path)
            if body is None:
                return False
            found.add(parsed(unit.series, body, period, path), unit.series.key)
        except SourceError as error:
            found.refused.append(str(error))
            return False
        return True

    async def _begins(self, unit: Unit) -> int | None:
        """From when on days are worth asking for: a month without any candle has no days either."""
        if unit.month.end > self.until:
            return unit.month.begin
        try:
            rest = self._rests[unit.series.market]
            return await exchange.first_open(rest, unit.series, unit.month)
        except (SourceError, UnknownSymbol):
            return unit.month.begin

    async def _mend(self, unit: Unit, found: Found) -> None:
        """Ask REST for the candles that the archive lacks; a hole it has not either is a known one."""
        series = unit.series
        present = runs(found.rows["open_time"].to_numpy(), series.step)
        holes = minus(unit.ranges, present)
        try:
            found.add(await exchange.candles(self._rests[series.market], series, holes), series.key)
        except UnknownSymbol:
            # The archive is all there is; its newest days may still come.
            found.covered = union([*present, *common(unit.ranges, [Range(0, self.until - LATE)])])
        except SourceError as error:
            found.covered = present
            found.failed.append(f"{series.path}: {told(holes)}: {error}")
        else:
            found.covered = list(unit.ranges)

    async def _funding(self, unit: Unit, found: Found) -> None:
        if await self._file(unit, unit.month, found):
            found.rows = found.rows.filter(inside(unit))
            found.covered = list(unit.ranges)
            return
        futures = self._rests["um"]
        assert isinstance(futures, Futures)
        for span in unit.ranges:
            try:
                found.add(await exchange.rates(futures, unit.series, span), unit.series.key)
            except UnknownSymbol:
                found.covered += common([span], [Range(0, self.until - LATE)])
            except SourceError as error:
                found.failed.append(f"{unit.series.path}: {told([span])}: {error}")
            else:
                found.covered += common([span], [Range(0, self.until - POSTED)])

    async def _metrics(self, unit: Unit, found: Found) -> None:
        """Days only, archive only; a day that is not there by now will not come."""
        for day in periods(unit.ranges, monthly=False):
            before = len(found.refused)
            if await self._file(unit, day, found) or (
                len(found.refused) == before and day.end <= self.until - LATE
            ):
                found.covered.append(day)
        for error in found.refused:
            found.failed.append(f"{unit.series.path}: {error}")


def inside(unit: Unit) -> pl.Expr:
    """Whether a row is one that was asked for."""
    time = pl.col(unit.series.key)
    return pl.any_horizontal(time.is_between(begin, end, "left") for begin, end in unit.ranges)
