"""Symbols spread over connections: all streams of a symbol on one, as few connections as the limit allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from dataflows.connectors.binance.stream import Shard
from engine.records import Listing

New = Callable[[str, Sequence[str]], Shard]


def streams_of(listing: Listing, intervals: Iterable[str]) -> list[str]:
    """What is subscribed to for one market.

    >>> streams_of(Listing("BTCUSDT", "BTCUSDT", "BTC", "majors"), ["1m", "5m"])
    ['btcusdt@kline_1m', 'btcusdt@kline_5m', 'btcusdt@miniTicker']
    """
    name = listing.exchange_symbol.lower()
    return [*(f"{name}@kline_{interval}" for interval in intervals), f"{name}@miniTicker"]


class Shards:
    """The connections; `new` makes one by name and streams, and `group` runs it.

    A symbol stays on its connection; a connection whose symbols change is replaced without a break.
    """

    def __init__(
        self, new: New, group: asyncio.TaskGroup, intervals: Sequence[str], per_connection: int = 200
    ) -> None:
        self._new = new
        self._group = group
        self._intervals = tuple(intervals)
        self._room = max(1, per_connection // (len(intervals) + 1))
        self._members: dict[int, dict[str, Listing]] = {}
        self._shards: dict[int, tuple[Shard, asyncio.Task[None]]] = {}

    @property
    def all(self) -> list[Shard]:
        return [shard for shard, _ in self._shards.values()]

    def of(self, symbol: str) -> Shard | None:
        """The connection on which a symbol's streams are."""
        for number, members in self._members.items():
            if symbol in members:
                return self._shards[number][0]
        return None

    def read(self, listings: Iterable[Listing]) -> None:
        """Read exactly these from now on."""
        wanted = {one.symbol: one for one in listings}
        for members in self._members.values():
            for symbol in list(members):
                if symbol in wanted:
                    members[symbol] = wanted.pop(symbol)
                else:
                    del members[symbol]
        for symbol, one in wanted.items():
            self._members[self._number_with_room()][symbol] = one
        for number in list(self._members):
            self._apply(number)

    async def opened(self, patience: float) -> None:
        """Return when every connection speaks, or after `patience` seconds."""
        end = asyncio.get_running_loop().time() + patience
        while any(shard.state != "open" for shard in self.all):
            if asyncio.get_running_loop().time() >= end:
                return
            await asyncio.sleep(0.02)

    def _number_with_room(self) -> int:
        for number, members in self._members.items():
            if len(members) < self._room:
                return number
        number = max(self._members, default=-1) + 1
        self._members[number] = {}
        return number

    def _apply(self, number: int) -> None:
        streams = [
            stream for one in self._members[number].values() for stream in streams_of(one, self._intervals)
        ]
        if not streams:
            del self._members[number]
            if number in self._shards:
                self._shards.pop(number)[1].cancel()
        elif number in self._shards:
            self._shards[number][0].follow(streams)
        else:
            shard = self._new(f"stream {number}", streams)
            self._shards[number] = shard, self._group.create_task(shard.run(), name=shard.name)
