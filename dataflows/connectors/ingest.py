"""The flow's one source: what the journal holds after the last snapshot, then what the feed journals.

Nothing here waits, and nothing journaled is ever skipped: the partition's state is a journal number.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from dataflows.connectors.background import Background, Mailbox
from dataflows.connectors.journal import Journal, Journaled
from engine.errors import StorageError
from engine.memory import with_activation
from engine.records import Activation, Candle, Correction, Live, Membership, Metric, Universe
from engine.symbols import QUOTE

MARKET: Final = "market"
SHOWN: Final = "shown"
"""Keys of records that are no symbol's own."""

BATCH: Final = 2_000
PRUNE_EVERY: Final = 60
"""Snapshots between two prunings, and how old a snapshot must be that a pruning relies on."""

DAY: Final = 86_400_000

Feed = Callable[[Journal, Mailbox], Coroutine[Any, Any, None]]
"""Runs for ever on the background thread: journals what comes in, then puts it into the mailbox."""

STOP: Final = threading.Event()
"""Set by SIGTERM and SIGINT: every source ends, the flow takes its last snapshot and leaves with 0."""


@dataclass(frozen=True)
class Position:
    """Where a partition stands: the last number handed on, and what was said to everyone until then."""

    seq: int = 0
    live: Live | None = None
    leaving: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    activations: tuple[Activation, ...] = ()
    metrics: tuple[Metric, ...] = ()


class Spread:
    """Addresses each record to the keys it concerns, always in the same order.

    >>> from engine.records import Tick
    >>> spread = Spread(Position(symbols=("BTCUSDT", "ETHUSDT")))
    >>> spread.address(7, Tick(300_000))
    [('BTCUSDT', Tick(time=300000)), ('ETHUSDT', Tick(time=300000))]
    >>> spread.position.seq
    7
    """

    def __init__(self, position: Position | None = None) -> None:
        start = position or Position()
        self.seq = start.seq
        self._live = start.live
        self._leaving = start.leaving
        self._symbols = start.symbols
        self._activations = start.activations
        self._metrics = {metric.name: metric for metric in start.metrics}

    @property
    def position(self) -> Position:
        """Where it stands now."""
        metrics = tuple(self._metrics.values())
        return Position(self.seq, self._live, self._leaving, self._symbols, self._activations, metrics)

    def address(self, seq: int, record: Journaled) -> list[tuple[str, Any]]:
        """The (key, record) pairs of one journaled record."""
        self.seq = seq
        match record:
            case Candle() | Correction():
                return [(record.symbol, record)]
            case Metric() if record.asset:
                symbol = record.asset + QUOTE
                return [(symbol, record)] if symbol in self._symbols else []
            case Metric():
                self._metrics[record.name] = record
            case Live():
                self._live = record
            case Activation():
                self._stand(record)
            case Universe():
                return [(MARKET, record), *self._join(record)]
        return [(symbol, record) for symbol in sorted({*self._symbols, *self._leaving})]

    def _join(self, universe: Universe) -> Iterator[tuple[str, Any]]:
        """Tell every symbol, old and new, whether it is expected; a new one also hears what it missed."""
        listings = {listing.symbol: listing for listing in universe.listings}
        before = self._symbols
        for symbol in sorted({*before, *listings}):
            if symbol not in before:
                yield from ((symbol, said) for said in self._standing())
            yield symbol, Membership(symbol, universe.time, listings.get(symbol))
        self._leaving = tuple(symbol for symbol in before if symbol not in listings)
        self._symbols = tuple(sorted(listings))

    def _standing(self) -> Iterator[Live | Activation | Metric]:
        """What was said to everyone and still holds, in the order in which a symbol hears it."""
        if self._live is not None:
            yield self._live
        yield from self._activations
        yield from self._metrics.values()

    def _stand(self, new: Activation) -> None:
        mine = tuple(one for one in self._activations if one.model == new.model)
        others = (one for one in self._activations if one.model != new.model)
        self._activations = (*others, *with_activation(mine, new))


class IngestPartition(StatefulSourcePartition[tuple[str, Any], Position]):
    """One journal and its feed."""

    def __init__(self, folder: Path, feed: Feed, resume: Position | None, keep_days: float) -> None:
        self.spread = Spread(resume)
        self.journal = Journal(folder)
        self.upto = self.journal.head()
        self.keep = round(keep_days * DAY)
        check_reachable(self.journal, self.spread.seq)
        self.mailbox = Mailbox()
        self.background = Background("ingest")
        self.feed = self.background.spawn(feed(self.journal, self.mailbox))
        self.epochs = 0
        self.snapshots: deque[int] = deque(maxlen=PRUNE_EVERY)
        self.settled = False

    def next_batch(self) -> Iterable[tuple[str, Any]]:
        """What is journaled but not handed on, else what the mailbox holds; empty when nothing came."""
        if STOP.is_set():
            raise StopIteration
        if self.feed.done() and (fault := self.feed.exception()) is not None:
            raise fault
        if self.spread.seq < self.upto:
            rows = self.journal.read(self.spread.seq, self.upto, BATCH)
            return [keyed for seq, record in rows for keyed in self.spread.address(seq, record)]
        out: list[tuple[str, Any]] = []
        for number, record in self.mailbox.drain(BATCH):
            if number is None:
                out.append((SHOWN, record))
            else:
                out.extend(self.spread.address(number, record))
        return out

    def snapshot(self) -> Position:
        self._prune()
        self._settle()
        return self.spread.position

    def _settle(self) -> None:
        """Once signals begin: what is warm now stays, and no garbage collection need look at it again."""
        live = self.spread.position.live
        if self.settled or live is None or (self.journal.newest_tick() or 0) <= live.time:
            return
        gc.collect()
        gc.freeze()
        self.settled = True

    def _prune(self) -> None:
        """Let go of what is old and lies before a snapshot that is surely written down by now."""
        self.epochs += 1
        self.snapshots.append(self.spread.seq)
        if self.epochs % PRUNE_EVERY:
            return
        newest = self.journal.newest_tick()
        if newest is not None:
            coro = asyncio.to_thread(self.journal.prune, newest - self.keep, self.snapshots[0])
            self.background.spawn(coro)

    def close(self) -> None:
        self.background.close()
        self.journal.close()


class Ingest(FixedPartitionedSource[tuple[str, Any], Position]):
    """Lists its one partition on process 0 only: several ingesting workers would drift apart."""

    def __init__(self, folder: Path, feed: Feed, *, primary: bool = True, keep_days: float = 7) -> None:
        self.folder = folder
        self.feed = feed
        self.primary = primary
        self.keep_days = keep_days

    def list_parts(self) -> list[str]:
        return ["ingest"] if self.primary else []

    def build_part(self, step_id: str, for_part: str, resume_state: Position | None) -> IngestPartition:
        return IngestPartition(self.folder, self.feed, resume_state, self.keep_days)


def check_reachable(journal: Journal, seq: int) -> None:
    """Refuse to go on over a hole between the snapshot and the journal.

    Raises `StorageError` when the journal was pruned or replaced behind the snapshot's back.
    """
    head = journal.head()
    following = journal.read(seq, limit=1)
    goes_on_at = following[0][0] if following else head + 1
    if goes_on_at != seq + 1:
        raise StorageError(
            f"{journal.database.path}: the recovery snapshot stands at record {seq}, the journal goes on at "
            f"{goes_on_at}: remove the journal and the recovery folder to start from the exchange's history"
        )
