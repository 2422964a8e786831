"""Candles per second of the whole flow over 17 symbols, and what each step of it costs.

`python -m tests.benchmarks.flow [--quick]`. The same records go through Bytewax, through a plain loop over
the same steps, and through the features alone, in turns: a busy machine is busy for all three.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from time import perf_counter, perf_counter_ns, process_time
from typing import Any, Final

from dataflows.backtest import flowed, uncollected
from dataflows.connectors.history import History, Span, records
from dataflows.connectors.ingest import Spread
from dataflows.connectors.journal import Journaled
from dataflows.replay.moments import milliseconds
from dataflows.signals import VOICES
from engine.composer import Composer
from engine.decide import Decide
from engine.features import Intervals
from engine.layers import LAYERS
from engine.ledger import Ledger
from engine.market import Market
from engine.memory import Memory, Moments, besides
from engine.models.standing import Standing
from engine.records import Candle, LayerScore, Moment, Outcome, Prediction, Row, Signal, Universe
from engine.settings import Settings
from engine.signal_json import canonical, publish_bytes
from tests.benchmarks.machine import machine, market, quick_or_not, settings

BEGIN, END, EARLIER = "2024-03-05", "2024-09-10", "2024-04-05"
INTERVAL: Final = "1h"
WARM_UP: Final = 1000 * 4 * 3_600_000
"""Ms of history before the first signal: what the longest interval asks for."""

FLOW: Final = "whole flow in Bytewax"
LOOP: Final = "the same steps in a plain loop"

Step = Callable[[Any], Iterable[Any]]
Ask = Callable[[str, Step, Any], Iterable[Any]]


@dataclass
class Clock:
    """How long each step took, in ns, and how often it was asked."""

    spent: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def ask(self, name: str, step: Step, record: Any) -> Iterable[Any]:
        start = perf_counter_ns()
        out = [*step(record)]
        self.spent[name] += perf_counter_ns() - start
        self.calls[name] += 1
        return out

    @staticmethod
    def cost() -> float:
        """Ns that are measured of a step that does nothing."""
        clock = Clock()
        for _ in range(100_000):
            clock.ask("nothing", tuple, ())
        return clock.spent["nothing"] / clock.calls["nothing"]


def ask(name: str, step: Step, record: Any) -> Iterable[Any]:
    """Ask without a clock."""
    return step(record)


class Loop:
    """The flow of `dataflows.signals` as a loop: the same steps, and nobody between them or to ask."""

    def __init__(self, knobs: Settings, ask: Ask = ask) -> None:
        decide, models = knobs.decide, knobs.model_intervals
        readers, news = knobs.readers, (knobs.news.half_life, knobs.news.window)
        by_name = {name: LAYERS[name](decide.interval, readers) for name in VOICES}
        weights, config_hash = knobs.weights, knobs.config_hash
        composer = Composer(decide.interval, decide.horizon, knobs.thresholds, weights, config_hash)

        def new_memory() -> Memory:
            return Memory(decide.interval, knobs.read_intervals, decide.minimum, models, readers, news)

        def new_decide() -> Decide:
            ledger = Ledger(decide.interval, decide.horizon)
            source = f"binance.{knobs.market}"
            return Decide(composer, ledger, tuple(by_name), source, ("boosted",), readers)

        self.ask = ask
        self.layers: dict[str, Step] = {name: step_of(layer) for name, layer in by_name.items()}
        self.markets = {name: Market() for name in ("", *besides(decide.interval, models))}
        self.features: dict[str, Intervals] = defaultdict(Intervals)
        self.memory: dict[str, Memory] = defaultdict(new_memory)
        self.moments: dict[str, Moments] = defaultdict(lambda: Moments(decide.interval, models))
        self.boosted: dict[str, Standing] = defaultdict(
            lambda: Standing("boosted", knobs.models.boosted.interval, decide.minimum)
        )
        self.decide: dict[str, Decide] = defaultdict(new_decide)

    def update(self, symbol: str, record: Any) -> Iterator[Signal | Outcome]:
        """Everything that one record makes the flow say."""
        if type(record) is Universe:
            for name in self.markets:
                yield from self._frame(name, record)
            return
        features, memory = self.features[symbol], self.memory[symbol]
        for known in self.ask("features", features.update, record):
            for told in self.ask("assemble", memory.update, known):
                if type(told) is Row:
                    yield from self._frame(told.interval, told)
                else:
                    yield from self._meet(symbol, told)

    def _frame(self, name: str, record: Row | Universe) -> Iterator[Signal | Outcome]:
        for frame in self.ask("market", self.markets[name].update, record):
            yield from self._meet(frame.symbol, frame)

    def _meet(self, symbol: str, record: Any) -> Iterator[Signal | Outcome]:
        moments, decide = self.moments[symbol], self.decide[symbol]
        for met in self.ask("moments", moments.update, record):
            yield from self.ask("decide", decide.update, met)
            if type(met) is Moment:
                for said in self.ask("boosted", step_of(self.boosted[symbol].update), met):
                    yield from self.ask("decide", decide.update, said)
                for name, layer in self.layers.items():
                    for score in self.ask(name, layer, met):
                        yield from self.ask("decide", decide.update, score)


def step_of(told: Callable[[Moment], LayerScore | Prediction]) -> Step:
    return lambda moment: (told(moment),)


@dataclass(frozen=True)
class Run:
    """One pass over the records: seconds by the wall and of the processor, and what was said in short."""

    wall: float
    processor: float
    said: int
    digest: str


class Bench:
    """One span of one folder, gone over again and again."""

    def __init__(self, data: Path, end: str) -> None:
        self.knobs = settings(decide__interval=INTERVAL)
        decide = self.knobs.decide
        begin, until = milliseconds(BEGIN), milliseconds(end)
        reads = self.knobs.read_intervals
        self.span = Span(INTERVAL, reads, begin, until, decide.warm_up, decide.minimum)
        self.pairs = [(symbol, self.knobs.segment_of(symbol)) for symbol in self.knobs.all_symbols]
        self.history = History(data, "spot")
        self.candles = records(self.history, self.pairs, self.span)[2]

    def journal(self) -> Iterator[Journaled]:
        return records(self.history, self.pairs, self.span)[0]

    def keyed(self) -> Iterator[tuple[str, Any]]:
        spread = Spread()
        return (keyed for record in self.journal() for keyed in spread.address(0, record))

    def measured(self, run: Callable[[], Sequence[Signal | Outcome]]) -> Run:
        """Run once, without garbage collections, as a backtest does."""
        gc.collect()
        wall, processor = perf_counter(), process_time()
        with uncollected():
            said = run()
        return Run(perf_counter() - wall, process_time() - processor, len(said), digest(said))

    def flow(self) -> Run:
        """Through Bytewax, as `signal-engine backtest` does it."""
        journal = self.journal()

        def run() -> list[Signal | Outcome]:
            said = flowed(self.knobs, journal, self.candles, show=False)
            return [*said.signals, *said.outcomes]

        return self.measured(run)

    def loop(self, ask: Ask = ask) -> Run:
        """Through the same steps without Bytewax."""
        loop, keyed = Loop(self.knobs, ask), self.keyed()
        return self.measured(lambda: [one for key, record in keyed for one in loop.update(key, record)])

    def features(self) -> Run:
        """Through the first step only, of candles that are there already."""
        sets: dict[str, Intervals] = defaultdict(Intervals)
        candles = [record for record in self.journal() if type(record) is Candle]

        def run() -> list[Signal | Outcome]:
            for candle in candles:
                sets[candle.symbol].update(candle)
            return []

        return self.measured(run)


def digest(said: Sequence[Signal | Outcome]) -> str:
    """Of the canonical bytes of everything said, by time, symbol and kind."""
    ordered = sorted(said, key=lambda one: (one.time, one.symbol, type(one).__name__))
    return sha256(b"".join(map(canonical, ordered))).hexdigest()[:16]


def compare(candles: int, runs: Mapping[str, Sequence[Run]]) -> None:
    """The best run of each way, beside the flow's."""
    best = {name: min(some, key=lambda run: run.processor) for name, some in runs.items()}
    whole = best[FLOW].processor
    print(f"{'':32} candles/s  per s of CPU  us/candle  of the flow")
    for name, run in best.items():
        wall = candles / min(one.wall for one in runs[name])
        each, share = 1e6 * run.processor / candles, run.processor / whole
        print(f"{name:32} {wall:9.0f} {1e6 / each:13.0f} {each:10.1f} {share:12.2f}")
    same = best[FLOW].digest == best[LOOP].digest
    print(f"flow and loop said the same {best[FLOW].said} records: {'yes' if same else 'NO'}")


def steps(bench: Bench) -> None:
    """What each step takes of the loop, without what measuring costs."""
    clock = Clock()
    bench.loop(clock.ask)
    idle = clock.cost()
    print(f"{'step':32} us/candle    us/call  calls/candle")
    spent = {name: max(ns - idle * clock.calls[name], 0.0) / 1e3 for name, ns in clock.spent.items()}
    for name, us in sorted(spent.items(), key=lambda one: -one[1]):
        told(name, us, clock.calls[name], bench.candles)


def ends(bench: Bench) -> None:
    """What lies around the steps: records made and addressed, and what was said made into bytes."""
    start = process_time()
    for _ in bench.keyed():
        pass
    told("candles made and addressed", 1e6 * (process_time() - start), bench.candles, bench.candles)
    loop = Loop(bench.knobs)
    said = [one for key, record in bench.keyed() for one in loop.update(key, record)]
    writers: dict[str, Callable[[Signal | Outcome], bytes]] = {
        "canonical bytes": canonical,
        "published JSON": lambda one: publish_bytes(one, 1, 1),
    }
    for name, write in writers.items():
        start = process_time()
        for one in said:
            write(one)
        told(name, 1e6 * (process_time() - start), len(said), bench.candles)


def told(name: str, us: float, calls: int, candles: int) -> None:
    print(f"{name:32} {us / candles:9.2f} {us / calls:10.2f} {calls / candles:13.2f}")


def main() -> None:
    quick = quick_or_not(__doc__)
    end = EARLIER if quick else END
    with market(settings().all_symbols, milliseconds(BEGIN) - WARM_UP, milliseconds(end)) as (kind, data):
        bench = Bench(data, end)
        rounds = 1 if quick else 3
        print(f"{bench.candles} {kind} candles of {len(bench.pairs)} symbols, best of {rounds}; {machine()}")
        ways = {FLOW: bench.flow, LOOP: bench.loop, "features alone": bench.features}
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, run in ways.items():
                runs[name].append(run())
        compare(bench.candles, runs)
        steps(bench)
        ends(bench)
        print(machine())


if __name__ == "__main__":
    main()
