"""The futures' market stream: mark prices every second, and the sample of forced orders that it shows.

Its connections are of the candles' own kind: kept alive, replaced before the exchange cuts them, tried again
with growing pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

from dataflows.connectors.binance.backoff import Backoff, Connects
from dataflows.connectors.binance.parse import Shutdown
from dataflows.connectors.binance.status import connection, connection_faults
from dataflows.connectors.binance.stream import Shard, address
from dataflows.connectors.futures.frames import Coin, Forced, Mark, frame
from dataflows.connectors.futures.tape import Tape
from dataflows.connectors.hearing import Hearing
from engine.errors import CorruptRecord, SettingsError
from engine.providers.binance import coins_in, contract_of, marked
from engine.records import Metric
from engine.settings import Settings

STREAMS: Final = ("markPrice@1s", "forceOrder")
TURN: Final = 0.25
"""Wall seconds between two looks at the connections."""

LATE: Final = 500
"""Wall ms that a frame may take; in a fast replay they are many of stream time."""


class Marks:
    """The newest mark price of each coin, and how far it went since that was asked last."""

    def __init__(self) -> None:
        self._newest: dict[str, Mark] = {}
        self._offered: dict[str, Mark] = {}
        self._ranges: dict[str, tuple[float, float]] = {}

    def hear(self, mark: Mark) -> None:
        """Take in a mark price."""
        before = self._newest.get(mark.asset)
        if before is None or mark.time >= before.time:
            self._newest[mark.asset] = mark
        low, high = self._ranges.get(mark.asset, (mark.price, mark.price))
        self._ranges[mark.asset] = min(low, mark.price), max(high, mark.price)

    def metrics(self) -> Iterator[Metric]:
        """Mark and basis of those that have changed since they were given out."""
        for asset, mark in self._newest.items():
            if self._offered.get(asset) is not mark:
                self._offered[asset] = mark
                yield from marked(asset, mark.time, mark.price, mark.underlying)

    def range(self, asset: str) -> tuple[float | None, float | None]:
        """Lowest and highest mark price since the last call; None where none was heard."""
        return self._ranges.pop(asset, (None, None))


class Line:
    """One connection: the assets it is read for, and its tape."""

    def __init__(self, shard: Shard, assets: Sequence[str]) -> None:
        self.shard = shard
        self.assets = tuple(assets)
        self.tape = Tape()
        self._reconnects = shard.reconnects

    @property
    def lost(self) -> bool:
        return self.shard.state in ("connecting", "reconnecting")

    def look(self, now: int) -> None:
        """Tell the tape how the connection is; one that broke and came back in between did break."""
        if self.lost or self.shard.reconnects != self._reconnects:
            self._reconnects = self.shard.reconnects
            if self.tape.since is not None:
                self.tape.broken()
        if not self.lost:
            self.tape.opened(now)


class MarketStream:
    """Listens for `assets`; what is due is asked for with `due`."""

    def __init__(self, settings: Settings, assets: Sequence[str], marks: Marks, backoff: Backoff) -> None:
        self.corrupt = 0
        self.fault = ""
        self.lines: list[Line] = []
        self._settings = settings.binance
        self._assets = tuple(assets)
        self._marks = marks
        self._backoff = backoff
        self._connects = Connects(settings.binance.connects_per_5_minutes)
        self._coins: dict[str, Coin] = {}
        self._tapes: dict[Shard, Tape] = {}

    async def run(self, hearing: Hearing) -> None:
        """Stay connected until cancelled; an address that cannot be used is told and not tried."""
        try:
            address(self._settings.um.stream, STREAMS)
        except SettingsError as error:
            self.fault = str(error)
            await asyncio.Event().wait()
        per_line = max(1, self._settings.streams_per_connection // len(STREAMS))
        groups = [self._assets[at : at + per_line] for at in range(0, len(self._assets), per_line)]
        self.lines = [self._line(f"futures {at}", group, hearing.now()) for at, group in enumerate(groups)]
        self._tapes = {line.shard: line.tape for line in self.lines}
        async with asyncio.TaskGroup() as group:
            for line in self.lines:
                group.create_task(line.shard.run(), name=line.shard.name)

    def due(self, now: int, rate: float) -> list[Metric]:
        """Everything there is to tell at `now`, stream time in ms UTC that runs `rate` times as fast."""
        found = list(self._marks.metrics())
        for line in self.lines:
            line.look(now)
            line.shard.follow(self._streams(line.assets, now))
            found += line.tape.due(now, round(LATE * rate))
        return found

    def faults(self) -> list[str]:
        """What is wrong with it now, by name."""
        if self.fault:
            return [self.fault]
        return connection_faults(line.shard for line in self.lines)

    def told(self) -> list[dict[str, Any]]:
        """Its connections, as `/providers/status` shows them."""
        return [connection(line.shard) for line in self.lines]

    def _line(self, name: str, assets: Sequence[str], now: int) -> Line:
        shard = Shard(
            name,
            self._settings.um.stream,
            self._streams(assets, now),
            self._hear,
            backoff=self._backoff,
            connects=self._connects,
            rotate_after=self._settings.rotate_after,
            idle_timeout=self._settings.idle_timeout,
        )
        return Line(shard, assets)

    def _streams(self, assets: Sequence[str], now: int) -> list[str]:
        """What to subscribe to for them now; from a name that is not listed, nothing will be heard."""
        names = {asset: name for asset in assets if (name := contract_of(asset, now)) is not None}
        for asset, name in names.items():
            self._coins.setdefault(name, Coin(asset, coins_in(name)))
        return [f"{name.lower()}@{stream}" for name in names.values() for stream in STREAMS]

    async def _hear(self, shard: Shard, raw: bytes) -> None:
        try:
            heard = frame(raw, self._coins)
        except CorruptRecord:
            self.corrupt += 1
            return
        match heard:
            case Shutdown():
                shard.replace("serverShutdown")
            case Mark():
                self._marks.hear(heard)
                self._tapes[shard].mark(heard)
            case Forced():
                self._tapes[shard].order(heard)
