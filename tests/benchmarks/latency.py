"""From the last due frame of a close to its signals at a WebSocket of the API, through the real processes.

`python -m tests.benchmarks.latency [--quick]`. A simulated exchange, the flow, the API and Redis run as users
run them; this process is a second reader of the exchange's candles and a client of the API, so both ends of a
delay are told by one clock. A market frame waits for all symbols: the last due frame is the last of any.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson
import psutil
from websockets.asyncio.client import ClientConnection, connect

from dataflows.connectors import redis
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.limits import Limits
from dataflows.replay.simulate import Simulated
from dataflows.up import API, FLOW, free_port
from engine.records import INTERVALS
from tests.benchmarks.machine import machine, quick_or_not, resident, settings, spread

LOOPBACK: Final = "127.0.0.1"
DAY: Final = 86_400_000
MIDNIGHT: Final = 20_000 * DAY
STEP: Final = INTERVALS["5m"]
DUE: Final = ("5m", "15m", "1h", "4h")
"""Intervals that a moment of 5m waits for, where they close."""

DAYS: Final = 11
"""Days that a warm-up of 60 candles of 4h reaches back, and one more."""

STREAMS: Final = 1000
"""Per connection of our own reader; the exchange allows 1024."""

CLOSED: Final = '"x":true'
MANY: Final = 1_000_000
"""Request weight a minute: the warm-up of 600 symbols is not what is measured here."""

EXCHANGE: Final = "from tests.benchmarks.latency import exchange; exchange()"


@dataclass(frozen=True)
class Case:
    """What is measured: how many symbols, how fast, from when (ms of the exchange), over how many closes.

    `speed` is exchange seconds per second; forming candles and prices come every two seconds of ours, as the
    real exchange sends them, whatever the speed.
    """

    symbols: tuple[str, ...]
    speed: float
    begin: int
    closes: int
    patience: float

    def play(self, port: int) -> str:
        """What the exchange's process is told."""
        told = {
            "symbols": self.symbols,
            "start": self.begin,
            "speed": self.speed,
            "port": port,
            "forming": 2 * self.speed,
        }
        return orjson.dumps(told).decode()

    def environ(self, folder: Path, exchange: int, api: int) -> dict[str, str]:
        """What points the engine at that exchange; deadlines in stream time grow with its speed."""
        longer = min(self.speed, 12.0)
        own = {
            "SYMBOLS": orjson.dumps({"majors": self.symbols}).decode(),
            "DECIDE__WARM_UP": "60",
            "DECIDE__MINIMUM": "60",
            "GATHER__GRACE": str(5 * longer),
            "BINANCE__CROSS_CHECK_AFTER": str(2 * longer),
            "BINANCE__SPOT__REST": f"http://{LOOPBACK}:{exchange}",
            "BINANCE__SPOT__STREAM": f"ws://{LOOPBACK}:{exchange}",
            "BINANCE__SPOT__WEIGHT_PER_MINUTE": str(MANY),
            "STORAGE__FOLDER": str(folder),
            "API__PORT": str(api),
        }
        return {f"SIGNAL_ENGINE_{name}": value for name, value in own.items()}


def exchange() -> None:
    """The exchange's process: plays what its last argument says until it is ended.

    Every day that is asked for is made before it listens: making one takes a second of 600 symbols.
    """
    told = orjson.loads(sys.argv[-1])
    source = Simulated(tuple(told.pop("symbols")))
    for day in range(-DAYS, 2):
        source.prepare(told["start"] + day * DAY)

    async def play() -> None:
        limits = Limits(weight=MANY, connects=MANY)
        async with ReplayExchange("spot", source, limits=limits, prepare=0, **told):
            await asyncio.Event().wait()

    asyncio.run(play())


@dataclass
class Seen:
    """Wall times by close: of its due frames, of each symbol's signal, and of that one's commit."""

    case: Case
    ready: float = float("inf")
    frames: dict[int, list[float]] = field(default_factory=dict)
    signals: dict[int, dict[str, float]] = field(default_factory=dict)
    commits: dict[int, list[float]] = field(default_factory=dict)

    def complete(self) -> list[int]:
        """The closes of which every due frame and every symbol's signal was seen, behind the warm-up.

        The warm-up is over with the first close of which every symbol has spoken.
        """
        return [close for close in sorted(self.signals) if self._whole(close)]

    def _whole(self, close: int) -> bool:
        everyone = len(self.case.symbols)
        due = everyone * sum(close % INTERVALS[name] == 0 for name in DUE)
        frames = self.frames.get(close, ())
        return len(self.signals[close]) == everyone and len(frames) == due and min(frames) > self.ready

    async def read(self, client: ClientConnection) -> None:
        """Note the closed candles that the exchange sends."""
        async for raw in client:
            now = time.time()
            if isinstance(raw, str) and CLOSED in raw:
                candle = orjson.loads(raw)["data"]["k"]
                close = candle["t"] + INTERVALS[candle["i"]]
                if close % STEP == 0:
                    self.frames.setdefault(close, []).append(now)

    async def hear(self, client: ClientConnection) -> None:
        """Note the signals that the API sends, until enough closes are complete."""
        async for raw in client:
            now = time.time()
            told = orjson.loads(raw)
            if told["type"] == "signal":
                said = self.signals.setdefault(told["time"], {})
                said[told["symbol"]] = now
                self.commits.setdefault(told["time"], []).append(told["published_at"] / 1000)
                if len(said) == len(self.case.symbols):
                    self.ready = min(self.ready, now)
                    if len(self.complete()) >= self.case.closes:
                        return

    def report(self) -> None:
        """Delays of the complete closes, those at midnight apart."""
        found = self.complete()
        together = [close for close in found if close % DAY == 0]
        self._tell("5m closes", [close for close in found if close % DAY])
        self._tell("00:00, all intervals together", together)
        begun = [close for close in self.signals if found and found[0] <= close <= found[-1]]
        print(f"  closes with every frame and every signal: {len(found)} of {len(begun)}")

    def _tell(self, name: str, closes: Sequence[int]) -> None:
        if not closes:
            print(f"  {name}: none measured")
            return
        last = {close: max(self.frames[close]) for close in closes}
        delays = [1e3 * (at - last[close]) for close in closes for at in self.signals[close].values()]
        commits = [1e3 * (at - last[close]) for close in closes for at in self.commits[close]]
        pushed = [1e3 * (max(self.frames[close]) - min(self.frames[close])) for close in closes]
        print(f"  {name}: {len(closes)}")
        print(f"    last due frame to WebSocket    {spread(delays)}")
        print(f"    last due frame to the record   {spread(commits)}")
        print(f"    the exchange pushed a close in {spread(pushed)}")


def streams(case: Case) -> Iterator[str]:
    """Addresses of all due candles of all symbols, as few as the exchange allows."""
    names = [f"{symbol.lower()}@kline_{interval}" for symbol in case.symbols for interval in DUE]
    for at in range(0, len(names), STREAMS):
        yield "/stream?streams=" + "/".join(names[at : at + STREAMS])


async def measure(case: Case, seen: Seen, exchange: int, api: int) -> None:
    """Read both ends until enough closes are complete, or patience ends."""
    async with AsyncExitStack() as stack:

        async def opened(address: str) -> ClientConnection:
            return await stack.enter_async_context(
                connect(address, compression=None, proxy=None, max_queue=None, open_timeout=30)
            )

        readers = [await opened(f"ws://{LOOPBACK}:{exchange}{path}") for path in streams(case)]
        tasks = [asyncio.create_task(seen.read(client)) for client in readers]
        hearing = seen.hear(await opened(f"ws://{LOOPBACK}:{api}/ws/signals"))
        try:
            await asyncio.wait_for(hearing, case.patience)
        except TimeoutError:
            print(f"  patience of {case.patience:g} s ended")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def running(
    commands: Mapping[str, Sequence[str]], environ: Mapping[str, str], folder: Path
) -> Iterator[dict[str, psutil.Process]]:
    """The processes by name, each with a log of its name; ended by their ids, the last one first."""
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                started[name] = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        yield {name: psutil.Process(process.pid) for name, process in started.items()}
    finally:
        for process in reversed(started.values()):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def run(name: str, case: Case) -> None:
    """One case from a cold start, and what it took of the machine."""
    print(f"{name}: {len(case.symbols)} symbols, exchange {case.speed:g} times as fast; {machine()}")
    with tempfile.TemporaryDirectory() as at:
        folder, exchange, api = Path(at), free_port(LOOPBACK), free_port(LOOPBACK)
        environ = {**os.environ, **case.environ(folder, exchange, api)}
        commands = {
            "exchange": (sys.executable, "-c", EXCHANGE, case.play(exchange)),
            "API": API,
            "flow": FLOW,
        }
        seen = Seen(case)
        redis.connect(None, folder)
        try:
            with running(commands, environ, folder) as processes:
                wait_for(exchange, api)
                begun = time.time()
                asyncio.run(measure(case, seen, exchange, api))
                print(f"  every symbol spoke after {seen.ready - begun:.0f} s")
                seen.report()
                tell(processes, time.time() - begun)
        finally:
            redis.stop(folder)
    print(f"  {machine()}")


def wait_for(*ports: int, patience: float = 120.0) -> None:
    """Wait until somebody listens on each port; raises `TimeoutError`."""
    deadline = time.monotonic() + patience
    for port in ports:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, port)) == 0:
                    break
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody listens on port {port} after {patience:g} s")
            time.sleep(0.05)


def tell(processes: Mapping[str, psutil.Process], seconds: float) -> None:
    """Share of one core and memory of each process, over the whole run with its start."""
    for name, process in {**processes, "this benchmark": psutil.Process()}.items():
        spent = process.cpu_times()
        share = 100 * (spent.user + spent.system) / seconds
        print(f"  {name}: {share:.0f} % of a core, {resident(process.pid):.0f} MB")


def simulated(count: int) -> tuple[str, ...]:
    """The configured symbols and behind them invented ones."""
    known = settings().all_symbols
    return (*known, *(f"COIN{number:03}USDT" for number in range(count - len(known))))


def main() -> None:
    if quick_or_not(__doc__):
        run("17 symbols, quick", Case(simulated(17), 150, MIDNIGHT - 3_600_000, 10, 90))
        return
    run("17 symbols x 5 intervals", Case(simulated(17), 150, MIDNIGHT - 3 * 3_600_000, 60, 300))
    run("600 symbols", Case(simulated(600), 10, MIDNIGHT - 1_500_000, 6, 400))


if __name__ == "__main__":
    main()
