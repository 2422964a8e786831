"""Which closed candles of each market are due, held, missing or already handed on. Pure.

Each close leaves at most once and in the order of its market; a hole is asked about before it is believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dataflows.connectors.binance.market import Ask, Counts, Market, same
from engine.records import INTERVALS, Candle, Correction

WAITING: Final = 1_000
"""Closes a market may hold; the oldest beyond it go, REST has them."""

RETRY: Final = (2_000, 30_000)
"""Stream ms until an unanswered question is asked again: doubling from the first to the second."""

RETRY_WALL: Final = (0.25, 2.0)
"""The same in wall seconds: a floor where stream time runs fast."""


class Closes:
    """Every market's closes, from any number of sources in any order.

    All methods take the stream time `now` (ms) and the wall time `wall` (s) of what they are told.

    Parameters
    ----------
    cross_check
        Stream ms after a close until a candle that has not come is asked for.
    hold
        Stream ms a close waits for its predecessors, and `patience` the wall seconds it waits at least.
    """

    def __init__(self, cross_check: int = 2_000, hold: int = 30_000, patience: float = 2.0) -> None:
        self.cross_check = cross_check
        self.hold = hold
        self.patience = patience
        self.counts: dict[str, Counts] = {}
        self.early = 0
        """Closes held for markets that are not open yet."""
        self._markets: dict[tuple[str, str], Market] = {}
        self._checked: dict[str, int] = {}
        self._lacking: dict[tuple[str, str], Market] = {}

    def expect(self, symbol: str, interval: str) -> None:
        """Hold what comes for a market until `open` says where its history ends."""
        counts = self.counts.setdefault(symbol, Counts())
        self._markets.setdefault((symbol, interval), Market(symbol, interval, INTERVALS[interval], counts))

    def open(
        self, symbol: str, interval: str, last: int | None, newest: Candle | None, now: int, wall: float
    ) -> list[Candle | Correction]:
        """Continue a market after its history: `last` is its newest close, `newest` that candle if known."""
        self.expect(symbol, interval)
        market = self._markets[symbol, interval]
        self.early -= 0 if market.is_open else len(market.held)
        market.is_open, market.last = True, last
        if newest is not None:
            market.recent[newest.time] = [newest]
        early, market.held = market.held, {}
        out: list[Candle | Correction] = []
        for time in sorted(early):
            out += self._arrive(market, early[time], now, wall, heard=False)
        self._checked.clear()
        return out

    def drop(self, symbol: str) -> None:
        """Forget a symbol's markets and whatever was wanted of them."""
        for key in [key for key in self._markets if key[0] == symbol]:
            market = self._markets.pop(key)
            self.early -= 0 if market.is_open else len(market.held)
            self._lacking.pop(key, None)

    def last(self, symbol: str, interval: str) -> int | None:
        """When the newest close handed on was."""
        market = self._markets.get((symbol, interval))
        return market.last if market else None

    def arrived(
        self, candle: Candle, now: int, wall: float, *, trusted: bool = False
    ) -> list[Candle | Correction]:
        """A closed candle came; answer what can be handed on now. A `trusted` one came from REST."""
        market = self._markets.get((candle.symbol, candle.interval))
        if market is None:
            return []
        if not market.is_open:
            self._keep(market, candle)
            return []
        if not trusted and market.wild(candle):
            market.counts.suspects += 1
            self._want(market, candle.time)
            return []
        return self._arrive(market, candle, now, wall, heard=not trusted)

    def answered(
        self, ask: Ask, candles: Iterable[Candle], now: int, wall: float
    ) -> list[Candle | Correction]:
        """REST's answer: what it lacks below its newest row, or below a held one it has, is a true hole."""
        market = self._markets.get((ask.symbol, ask.interval))
        if market is None:
            return []
        out: list[Candle | Correction] = []
        top = 0
        for candle in sorted(candles, key=lambda one: one.time):
            top = candle.time
            if candle.time > (market.last or 0) and candle.time not in market.held:
                market.counts.repaired += 1
            out += self._arrive(market, candle, now, wall, heard=False)
        out += market.give_way(top)
        self._asked(market, now, wall)
        return out

    def failed(self, ask: Ask, now: int, wall: float) -> None:
        """REST did not answer; it will be asked again later."""
        market = self._markets.get((ask.symbol, ask.interval))
        if market is not None:
            market.wanted = min(market.wanted, market.asked)
            self._asked(market, now, wall)

    def asks(self, now: int, wall: float) -> list[Ask]:
        """What REST should be asked now; each question counts as asked until it is answered or failed."""
        self._look_for_missing(now - self.cross_check)
        out = []
        for key, market in list(self._lacking.items()):
            if market.complete and not market.asking:
                del self._lacking[key]
            elif not market.asking and now >= market.not_before[0] and wall >= market.not_before[1]:
                market.wanted = max(market.wanted, (now - self.cross_check) // market.step * market.step)
                out.append(self._ask(market))
        return out

    def expired(self, now: int, wall: float) -> list[Candle]:
        """Closes that have waited long enough for their predecessors: handed on behind a hole."""
        out: list[Candle] = []
        for market in self._lacking.values():
            since, wall_since = market.held_since
            if market.held and now - since >= self.hold and wall - wall_since >= self.patience:
                out += market.give_way(max(market.held))
        return out

    def pending(self, time: int, shortest: int = 0) -> bool:
        """Whether a close at `time` of some interval >= `shortest` ms may still be had by asking REST."""
        return any(
            market.step >= shortest
            and time % market.step == 0
            and (market.last or 0) < time
            and (market.asking or market.asked < time)
            for market in self._lacking.values()
        )

    def waiting(self) -> dict[tuple[str, str], int]:
        """How many closes each market holds back, where it does."""
        return {key: len(market.held) for key, market in self._lacking.items() if market.held}

    def _arrive(
        self, market: Market, candle: Candle, now: int, wall: float, *, heard: bool
    ) -> list[Candle | Correction]:
        if market.last is None or candle.time == market.last + market.step:
            market.held.pop(candle.time, None)
            return [market.hand_on(candle), *market.follow()]
        if candle.time <= market.last:
            return self._again(market, candle, heard=heard)
        if not market.held:
            market.held_since = (now, wall)
        market.held[candle.time] = candle
        self._want(market, candle.time)
        return []

    def _keep(self, market: Market, candle: Candle) -> None:
        self.early += candle.time not in market.held
        market.held[candle.time] = candle
        if len(market.held) > WAITING:
            del market.held[min(market.held)]
            self.early -= 1

    def _again(self, market: Market, candle: Candle, *, heard: bool) -> list[Candle | Correction]:
        seen = market.recent.get(candle.time)
        if seen is None:
            market.counts.late += heard
            return []
        if any(same(candle, one) for one in seen):
            market.counts.duplicates += heard
            return []
        seen.append(candle)
        market.counts.corrections += 1
        return [Correction(candle.symbol, candle.interval, candle.time, candle)]

    def _want(self, market: Market, time: int) -> None:
        if time > market.wanted:
            market.wanted, market.tries, market.not_before = time, 0, (0, 0.0)
        self._lacking[market.symbol, market.interval] = market

    def _look_for_missing(self, upto: int) -> None:
        due = set()
        for interval, step in INTERVALS.items():
            if upto // step > self._checked.get(interval, 0):
                self._checked[interval] = upto // step
                due.add(interval)
        if not due:
            return
        for market in self._markets.values():
            close = upto // market.step * market.step
            if market.interval in due and market.is_open and (market.last or 0) < close:
                self._want(market, close)

    def _ask(self, market: Market) -> Ask:
        last = max(market.wanted, max(market.held, default=0))
        first = last if market.last is None else min(market.last + market.step, last)
        market.asking, market.asked = True, last
        return Ask(market.symbol, market.interval, first, last)

    def _asked(self, market: Market, now: int, wall: float) -> None:
        market.asking = False
        if market.wanted > market.asked:
            return
        market.not_before = (
            now + min(RETRY[1], RETRY[0] << min(market.tries, 10)),
            wall + min(RETRY_WALL[1], RETRY_WALL[0] * 2 ** min(market.tries, 10)),
        )
        market.tries += 1
