"""Whole runs of the engine as a user starts it: an exchange on loopback, the flow as a process, its folder.

Every process started here is ended here, by its id.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import orjson

from dataflows.connectors import redis
from dataflows.connectors.background import Background
from dataflows.connectors.journal import Journal
from dataflows.connectors.record import Record
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.faults import Fault
from engine.errors import StorageError
from engine.records import INTERVALS
from engine.signal_json import canonical

ROOT = Path(__file__).parents[2]
NEWEST = "SELECT count(*) FROM record WHERE kind = 'signal' AND time = ? AND seq > ?"
BARE = ("-m", "bytewax.run", "dataflows.signals")


@contextmanager
def playing(exchange: ReplayExchange) -> Iterator[ReplayExchange]:
    """An exchange on a thread of its own."""
    background = Background("exchange")
    background.spawn(exchange.start()).result(60)
    try:
        yield exchange
    finally:
        background.spawn(exchange.stop()).result(60)
        background.close()


def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.02)


@dataclass
class Engine:
    """One data folder and the flow that writes it; `start` it as often as it is killed."""

    folder: Path
    exchange: ReplayExchange
    symbols: Sequence[str]
    interval: str = "5m"
    intervals: Sequence[str] = ("5m", "15m", "1h")
    warm_up: int = 60
    catch_up: int = 86_400
    environ: Mapping[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of its processes."""
        market = self.exchange.market.upper()
        prefix = "SIGNAL_ENGINE_"
        own = {
            "SYMBOLS": orjson.dumps({"majors": list(self.symbols)}).decode(),
            "MARKET": self.exchange.market,
            "DECIDE__INTERVAL": self.interval,
            "DECIDE__WARM_UP": str(self.warm_up),
            "DECIDE__MINIMUM": str(self.warm_up),
            "GATHER__CATCH_UP": str(self.catch_up),
            "BINANCE__INTERVALS": orjson.dumps(list(self.intervals)).decode(),
            f"BINANCE__{market}__REST": self.exchange.url,
            f"BINANCE__{market}__STREAM": self.exchange.stream_url,
            "STORAGE__FOLDER": str(self.folder),
            "STORAGE__SNAPSHOT_EVERY": "1",
            "STORAGE__JOURNAL_DAYS": "365",
            "API__PORT": "0",
        }
        return {**os.environ, **{prefix + key: value for key, value in own.items()}, **self.environ}

    def start(self, command: Sequence[str] = BARE) -> subprocess.Popen[bytes]:
        """Start one process of the flow; its output is appended to `<folder>/flow.log`."""
        with (self.folder / "flow.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=self.variables, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def log(self) -> str:
        return (self.folder / "flow.log").read_text(errors="replace")

    def signals(self) -> dict[tuple[str, int], bytes]:
        """Canonical bytes of every recorded signal by symbol and close."""
        return {key[1:]: body for key, body in self.said().items() if key[0] == "signal"}

    def said(self) -> dict[tuple[str, str, int], bytes]:
        """Canonical bytes of every recorded signal and outcome by kind, symbol and close."""
        try:
            record = Record(self.folder, readonly=True)
        except StorageError:  # the flow has not made it yet
            return {}
        try:
            rows = record.rows(0, 1_000_000)
        finally:
            record.close()
        return {(row.kind, row.symbol, row.time): canonical(orjson.loads(row.body)) for row in rows}

    def reached(self, close: int) -> bool:
        """Whether every symbol has its signal of this close; those are among the newest lines."""
        try:
            record = Record(self.folder, readonly=True)
        except StorageError:  # the flow has not made it yet
            return False
        try:
            count: int = record.database.value(NEWEST, close, record.head() - 20_000)
        finally:
            record.close()
        return count == len(self.symbols)

    def warmed(self) -> bool:
        """Whether the journal holds the whole warm-up."""
        try:
            journal = Journal(self.folder, readonly=True)
        except StorageError:  # the flow has not made it yet
            return False
        try:
            return (journal.newest_tick() or 0) >= on_grid(self.exchange.clock.start - 10_000, self.interval)
        finally:
            journal.close()

    def run_until(self, close: int, command: Sequence[str] = BARE, seconds: float = 120.0) -> None:
        """Run until every symbol has its signal of `close`, then stop as SIGTERM does."""
        process = self.start(command)
        self.wait(process, self.warmed, "the warm-up", seconds)
        release(self.exchange)
        self.wait(process, lambda: self.reached(close), f"signals of {close}", seconds)
        self.stop(process)

    def wait(
        self, process: subprocess.Popen[bytes], condition: Callable[[], object], what: str, seconds: float
    ) -> None:
        """Wait until `condition` holds; a flow that ends meanwhile fails the test with its last words."""

        def held() -> bool:
            if condition():
                return True
            assert process.poll() is None, f"the flow ended with {process.returncode}:\n{self.log()[-3000:]}"
            return False

        until(held, f"{what}; the log ends with {self.log()[-2000:]}", seconds)

    def stop(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
        process.send_signal(number)
        assert process.wait(30) == 0, self.log()[-3000:]

    def end(self) -> None:
        """End what is still running, the embedded Redis included."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        redis.stop(self.folder)


PAUSE = Fault("pause")
"""A clock at speed max runs while history is fetched; standing still meanwhile makes two runs comparable."""


def release(exchange: ReplayExchange) -> None:
    """Let a paused clock run."""
    httpx.delete(f"{exchange.url}/_control/faults").raise_for_status()


@contextmanager
def engine(
    folder: Path, exchange: ReplayExchange, symbols: Sequence[str], **knobs: object
) -> Iterator[Engine]:
    """An engine that is ended whatever happens."""
    made = Engine(folder, exchange, symbols, **knobs)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.end()


def on_grid(time: int, interval: str = "5m") -> int:
    """The newest close of an interval at or before `time`."""
    return time - time % INTERVALS[interval]
