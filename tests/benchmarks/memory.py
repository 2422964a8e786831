"""Resident memory of the flow after warm-up and over a million candles, and what a snapshot of it holds.

`python -m tests.benchmarks.memory [--quick]`. 17 simulated symbols, all five intervals, warmed as a live
start is: a thousand candles of each interval, so those of 4h begin months before those of 1m.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from rich.progress import Progress

from dataflows.backtest import HistorySource, Recorded
from dataflows.connectors.binance.ticks import ordered
from dataflows.connectors.ingest import Spread
from dataflows.connectors.journal import Journaled
from dataflows.replay.simulate import Simulated
from dataflows.signals import build
from dataflows.world import World
from engine.records import INTERVALS, Candle, Live, Universe
from engine.settings import Settings
from engine.symbols import listing
from tests.benchmarks.flow import Loop
from tests.benchmarks.machine import machine, quick_or_not, resident, settings

DAY: Final = 86_400_000
START: Final = 20_000 * DAY
"""When the warm-up ends and signals begin, ms UTC."""

SNAPSHOTS: Final = timedelta(seconds=10)


class Prepared:
    """A simulated market in the order of the journal; its candles are made before memory is looked at."""

    def __init__(self, knobs: Settings, symbols: tuple[str, ...], candles: int) -> None:
        self.knobs = knobs
        self.symbols = symbols
        self.source = Simulated(symbols, seed=1)
        a_day = len(symbols) * sum(DAY // INTERVALS[name] for name in knobs.binance.intervals)
        self.days = -(-candles // a_day)
        longest = max(INTERVALS[name] for name in knobs.binance.intervals)
        for day in range((START - knobs.decide.warm_up * longest) // DAY, START // DAY + self.days):
            self.source.prepare(day * DAY)

    def journal(self) -> Iterator[Journaled]:
        """Everything from the start on, as a live run would have journaled it."""
        decide, step = self.knobs.decide, INTERVALS[self.knobs.decide.interval]
        first = START - decide.warm_up * step
        segment = self.knobs.segment_of
        listings = tuple(listing(symbol, segment(symbol), "spot", START) for symbol in self.symbols)
        yield Universe(first, listings)
        yield Live(START, "simulated")
        markets = [self._market(symbol, name) for symbol in self.symbols for name in INTERVALS]
        yield from ordered(markets, step, first + step, START + self.days * DAY)

    def _market(self, symbol: str, interval: str) -> Iterator[Candle]:
        length = INTERVALS[interval]
        begin = START - self.knobs.decide.warm_up * length
        for day in range(begin // DAY, START // DAY + self.days):
            found = self.source.candles(symbol, interval, max(day * DAY, begin), (day + 1) * DAY)
            for opened, row in zip(found.time.tolist(), found.values.tolist(), strict=True):
                yield Candle(symbol, interval, opened + length, *row[:5])


class Watched(Recorded):
    """Prints the memory of this process whenever `every` more candles have gone by."""

    def __init__(self, journal: Iterator[Journaled], every: int) -> None:
        super().__init__(journal, Progress(disable=True), 0)
        self.every = every
        self.warming = True
        self.seen = self.since = 0
        self.at_first = self.last = 0.0

    def next_batch(self) -> Iterable[tuple[str, Any]]:
        batch = list(super().next_batch())
        candles = [record for _, record in batch if type(record) is Candle]
        self.seen += len(candles)
        if self.warming and candles and candles[-1].time > START:
            self.warming, self.since, self.at_first = False, self.seen, resident()
            self._print("warmed up")
        elif not self.warming and self.seen - self.since >= self.every:
            self.since += self.every
            self._print("")
        return batch

    def _print(self, text: str) -> None:
        self.last = resident()
        print(
            f"{self.seen:9} candles {self.last:8.1f} MB {self.last - self.at_first:+8.1f}  {text}", flush=True
        )


class Nothing(StatelessSinkPartition[Any]):
    def write_batch(self, items: list[Any]) -> None:
        pass


class Discard(DynamicSink[Any]):
    def build(self, step_id: str, worker_index: int, worker_count: int) -> Nothing:
        return Nothing()


def snapshot(knobs: Settings) -> None:
    """Bytes that each step's pickled state takes once it is warm, for one symbol of two."""
    symbols = knobs.all_symbols[:2]
    prepared, spread, loop = Prepared(knobs, symbols, 3_000), Spread(), Loop(knobs)
    for record in prepared.journal():
        for key, one in spread.address(0, record):
            for _ in loop.update(key, one):
                pass
    symbol = symbols[0]
    steps = {
        f"features, {len(knobs.binance.intervals)} intervals": loop.features[symbol],
        "assemble": loop.memory[symbol],
        "moments": loop.moments[symbol],
        "boosted": loop.boosted[symbol],
        "decide": loop.decide[symbol],
    }
    sizes = {name: len(pickle.dumps(step, pickle.HIGHEST_PROTOCOL)) for name, step in steps.items()}
    for name, size in sizes.items():
        print(f"snapshot of one symbol, {name}: {size} bytes")
    print(f"snapshot of one symbol: {sum(sizes.values())} bytes")
    for name, crowd in loop.markets.items():
        size = len(pickle.dumps(crowd))
        print(f"snapshot of market {name or 'of decisions'}, {len(symbols)} symbols: {size} bytes")


def main() -> None:
    quick = quick_or_not(__doc__)
    knobs = settings()
    candles = 100_000 if quick else 1_000_000
    prepared = Prepared(knobs, knobs.all_symbols, candles)
    print(f"{len(prepared.symbols)} simulated symbols, {machine()}")
    watched = Watched(prepared.journal(), candles // 10)
    print(f"{0:9} candles {resident():8.1f} MB")
    flow = build(World(HistorySource(watched), Discard()), knobs)
    run_main(flow, epoch_interval=SNAPSHOTS)  # type: ignore[no-untyped-call]
    del flow, prepared, watched
    snapshot(knobs)
    print(machine())


if __name__ == "__main__":
    main()
