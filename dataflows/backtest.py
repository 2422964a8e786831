"""The same flow over recorded candles, and what it said as a Parquet file.

Only the two ends differ from a live run: the records come from a folder, the signals go to a file.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from rich.console import Console
from rich.progress import Progress

from dataflows.connectors.activations import max_age, recorded
from dataflows.connectors.history import History, Span, activated, records
from dataflows.connectors.inference import Shelved, Unshelved
from dataflows.connectors.ingest import Spread
from dataflows.connectors.journal import Journaled
from dataflows.connectors.past import Past, amid
from dataflows.signal_file import table, written
from dataflows.signals import build
from dataflows.stopping import stopping
from dataflows.world import World
from engine.errors import CorruptRecord, SettingsError, StorageError
from engine.models.shelf import Shelf
from engine.records import Candle, Outcome, Signal
from engine.settings import Settings
from engine.symbols import canonical, names

BATCH: Final = 1_000
EPOCH: Final = timedelta(days=1)
"""No snapshot is taken: a backtest that was interrupted is started again."""

PENDING: Final = 64
"""Moments of one symbol that wait for a model; one more, and the worker waits: memory stays bounded."""

LOOK_BACK: Final = 32 * 86_400_000
"""Ms before the first signal of which metrics and headlines are read: more than any reader looks back."""


@dataclass(frozen=True)
class Report:
    """What a backtest did; `seconds` is the time of the flow alone."""

    out: str
    symbols: tuple[str, ...]
    skipped: tuple[str, ...]
    candles: int
    corrupt: int
    first_corrupt: str | None
    signals: int
    directional: int
    outcomes: int
    hits: int
    seconds: float
    candles_per_second: float

    def text(self) -> str:
        """The report as people read it."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        took = f"{self.seconds:.1f} s ({self.candles_per_second:.0f}/s)"
        yield f"{self.candles} candles of {len(self.symbols)} symbols in {took}"
        if self.skipped:
            yield f"skipped, no candle in the span: {', '.join(self.skipped)}"
        if self.corrupt:
            yield f"corrupt and left out: {self.corrupt} candles, the first: {self.first_corrupt}"
        judged = f"{self.hits} of {self.outcomes} judged were hits" if self.outcomes else "none judged"
        yield f"{self.signals} signals, {self.directional} of them LONG or SHORT; {judged}"
        if not self.signals:
            yield "no symbol had the candles it needs before a signal (decide.minimum)"
        yield self.out


@dataclass
class Refused:
    """Rows no market can have made: how many, and what was wrong with the first."""

    count: int = 0
    first: str | None = None

    def __call__(self, error: CorruptRecord) -> None:
        self.count += 1
        self.first = self.first or str(error)


class Recorded(StatefulSourcePartition[tuple[str, Any], None]):
    """A partition that hands on prepared records as fast as they are taken, until `stop` is set."""

    def __init__(
        self,
        journal: Iterator[Journaled],
        progress: Progress,
        candles: int,
        stop: threading.Event | None = None,
    ) -> None:
        self.journal = journal
        self.spread = Spread()
        self.progress = progress
        self.task = progress.add_task("candles", total=candles)
        self.stop = stop or threading.Event()

    def next_batch(self) -> Iterable[tuple[str, Any]]:
        batch = list(islice(self.journal, BATCH))
        if not batch or self.stop.is_set():
            raise StopIteration
        self.progress.advance(self.task, sum(type(record) is Candle for record in batch))
        return [keyed for record in batch for keyed in self.spread.address(0, record)]

    def snapshot(self) -> None:
        return None


class HistorySource(FixedPartitionedSource[tuple[str, Any], None]):
    """One partition of recorded candles."""

    def __init__(self, partition: Recorded) -> None:
        self.partition = partition

    def list_parts(self) -> list[str]:
        return ["history"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Recorded:
        return self.partition


class Collected(StatelessSinkPartition[tuple[str, Any]]):
    """Everything the flow said, in the order it said it."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.outcomes: list[Outcome] = []

    def write_batch(self, items: list[tuple[str, Any]]) -> None:
        for _, item in items:
            (self.signals if type(item) is Signal else self.outcomes).append(item)


class Collector(DynamicSink[tuple[str, Any]]):
    """A sink whose one partition is looked at afterwards."""

    def __init__(self) -> None:
        self.collected = Collected()

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Collected:
        return self.collected


def run(
    settings: Settings,
    data: Path,
    out: Path,
    begin: int,
    end: int,
    symbols: Sequence[str] | None = None,
    *,
    shelf: Shelf | None = None,
    expire: bool = False,
    show: bool = True,
) -> Report:
    """Run the flow over closes in (`begin`, `end`], ms UTC, and write its signals to `out`.

    Every promoted version on the `shelf` serves from the first moment it may, until a newer one does; with
    `expire` also no longer than a running engine would use it.
    Raises `SettingsError` for an empty span, `UnknownSymbol` for a symbol that is not configured,
    `StorageError` when there are no candles or a file cannot be used, and `KeyboardInterrupt`, with nothing
    written, when it was told to stop.
    """
    if begin >= end:
        raise SettingsError("backtest: --from must be before --to")
    decide, market = settings.decide, settings.market
    span = Span(decide.interval, settings.read_intervals, begin, end, decide.warm_up, decide.minimum)
    pairs = chosen(settings, symbols)
    versions = recorded(shelf, max_age(settings) if expire else None) if shelf else []
    refused = Refused()
    with written(out) as draft:
        journal, skipped, candles = records(History(data, market), pairs, span, refused)
        if len(skipped) == len(pairs):
            found = f"no {decide.interval} candle of {', '.join(skipped)} in that span"
            raise StorageError(f"{data}: {found}")
        learned = Past(data).learned([symbol for symbol, _ in pairs], begin - LOOK_BACK, end)
        started = time.perf_counter()
        said = flowed(settings, amid(activated(journal, versions), learned), candles, shelf, show=show)
        seconds = time.perf_counter() - started
        table(said.signals, market).write_parquet(draft)
    return Report(
        out=str(out),
        symbols=tuple(symbol for symbol, _ in pairs if symbol not in skipped),
        skipped=tuple(skipped),
        candles=candles - refused.count,
        corrupt=refused.count,
        first_corrupt=refused.first,
        signals=len(said.signals),
        directional=sum(signal.direction != "NEUTRAL" for signal in said.signals),
        outcomes=sum(outcome.hit is not None for outcome in said.outcomes),
        hits=sum(outcome.hit is True for outcome in said.outcomes),
        seconds=seconds,
        candles_per_second=candles / seconds,
    )


def flowed(
    settings: Settings,
    journal: Iterator[Journaled],
    candles: int,
    shelf: Shelf | None = None,
    *,
    show: bool,
) -> Collected:
    """What the flow says about these records; the progress goes to standard error where a person reads it."""
    sink = Collector()
    console = Console(stderr=True)
    with (
        stopping() as stop,
        uncollected(),
        Progress(console=console, disable=not (show and console.is_terminal)) as progress,
    ):
        source = HistorySource(Recorded(journal, progress, candles, stop))
        # Nothing that is written holds an explanation, and those take longer than the predictions.
        predict = Unshelved if shelf is None else Shelved(shelf.folder.parent, explain=False)
        flow = build(World(source, sink, predict, PENDING), settings)
        run_main(flow, epoch_interval=EPOCH)  # type: ignore[no-untyped-call]
        if stop.is_set():
            raise KeyboardInterrupt
    return sink.collected


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collections: no record is in a cycle, and each would walk over all signals made so far."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def chosen(settings: Settings, symbols: Sequence[str] | None) -> list[tuple[str, str]]:
    """(symbol, segment) of each symbol asked for, by any name it has on the market; else all configured.

    Raises `UnknownSymbol`, naming near ones, for a symbol that is not configured.
    """
    if symbols is None:
        wanted: Iterable[str] = settings.all_symbols
    else:
        configured = settings.all_symbols
        named = (s if s in configured else canonical(s, settings.market)[0] for s in symbols)
        wanted = dict.fromkeys(names(symbol)[-1].symbol for symbol in named)
    return [(symbol, settings.segment_of(symbol)) for symbol in wanted]
