"""Whether a training beside the flow delays its signals: from the last due frame of a close to Redis.

`python -m tests.benchmarks.retraining [--quick] [--closes N]`. One run of the flow with a trained version, in
blocks of closes taken in turns: A nothing beside, B a training as the engine starts it (niced, one thread),
A' nothing beside again, which tells how far two arms differ by chance. B serves a version of the same trees
under another name. The model's interval is that of the decision: every close asks it, the dearest case.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import psutil
from bytewax.testing import run_main
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect

from dataflows.connectors import redis
from dataflows.connectors.inference import Shelved
from dataflows.connectors.journal import Journal
from dataflows.connectors.record import Record
from dataflows.replay.moments import milliseconds
from dataflows.replay.simulate import Simulated
from dataflows.signals import build
from dataflows.training.child import Order, Said, started, train_command
from dataflows.up import FLOW, free_port
from dataflows.world import World
from engine.models.boosted import Boosted
from engine.models.shelf import Shelf
from engine.records import INTERVALS, Activation, Signal
from engine.settings import Settings, load
from engine.signal_json import canonical
from tests.benchmarks.latency import CLOSED, DAY, EXCHANGE, LOOPBACK, MANY, MIDNIGHT, running, tell, wait_for
from tests.benchmarks.machine import machine, market, settings, spread
from tests.dataflows.plays import MODEL, heard, history, like
from tests.dataflows.test_flow import Listener, Script

MINUTE: Final = INTERVALS["1m"]
HOUR: Final = INTERVALS["1h"]
DUE: Final = ("1m", "5m", "15m", "1h", "4h")
"""Intervals that a moment of 1m waits for, where they close."""

ARMS: Final = ("A", "B", "A'")
SPEED: Final = 150
"""Exchange seconds per second: a close every 0.4 s."""

BLOCK: Final = 60
"""Closes: every block has one hour's end."""

WARM_UP: Final = 120
BEGIN: Final = MIDNIGHT - 3 * HOUR
TRAINED_DAYS: Final = 3
PATIENCE: Final = 1.5
"""How many times longer than the closes take it may last."""

BESIDE: Final = ("2023-03-05", "2024-09-10")
"""What the training beside learns from, where real candles are not at hand."""


@dataclass(frozen=True)
class Case:
    """What is measured: how many closes an arm, in blocks of how many."""

    closes: int
    block: int

    @property
    def order(self) -> Iterator[str]:
        """The arms block by block; every other round runs backwards, so that no arm is always the first."""
        for turn in range(-(-self.closes // self.block)):
            yield from ARMS if turn % 2 == 0 else reversed(ARMS)


def environ(folder: Path, exchange: int) -> dict[str, str]:
    """What points the flow at the exchange; deadlines in stream time are some of ours."""
    own = {
        "DECIDE__INTERVAL": "1m",
        "DECIDE__WARM_UP": str(WARM_UP),
        "DECIDE__MINIMUM": str(WARM_UP),
        "MODELS__BOOSTED__INTERVAL": "1m",
        "MODELS__BOOSTED__WINDOW_DAYS": str(TRAINED_DAYS),
        "GATHER__GRACE": "40",
        "BINANCE__CROSS_CHECK_AFTER": "20",
        "BINANCE__INTERVALS": ",".join(DUE),
        "BINANCE__SPOT__REST": f"http://{LOOPBACK}:{exchange}",
        "BINANCE__SPOT__STREAM": f"ws://{LOOPBACK}:{exchange}",
        "BINANCE__SPOT__WEIGHT_PER_MINUTE": str(MANY),
        "STORAGE__FOLDER": str(folder),
        "STORAGE__JOURNAL_DAYS": "365",  # the warm-up of 4h is older than a week, and is replayed afterwards
    }
    return {f"SIGNAL_ENGINE_{name}": value for name, value in own.items()}


def versions(folder: Path, symbols: Sequence[str], told: Mapping[str, str]) -> dict[str, str]:
    """Train as a user does; on the flow's shelf then lie two versions of the same trees, by arm."""
    data, until = folder / "history", BEGIN - 3 * HOUR
    history(data, Simulated(symbols), "1m", until - TRAINED_DAYS * DAY - 1000 * MINUTE, until)
    trained = Shelf(folder / "trained", MODEL)
    command = train_command(Order(data, until, "1m", trained.folder.parent))
    subprocess.run(command, env={**os.environ, **told}, check=True, stdout=subprocess.DEVNULL)
    made = trained.manifest(trained.versions()[-1])
    model = heard(Boosted.load(trained.folder / made.version, made))
    shelf = Shelf(folder / "shelf", MODEL)
    names = [shelf.add(model.save, like(made, hours)).version for hours in (0, 1)]
    return {"A": names[0], "B": names[1], "A'": names[0]}


class Beside:
    """A training that is always under way, one after another; it stands still while it is not wanted."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.done: list[float] = []
        self.spent = 0.0
        self._wanted = False
        self._stack = ExitStack()
        self._begin()

    def _begin(self) -> None:
        popen = self._stack.enter_context(started(self.command, os.environ))
        assert popen.stdout is not None
        assert popen.stderr is not None
        self._said = Said(popen.stdout), Said(popen.stderr)
        self._popen, self._process = popen, psutil.Process(popen.pid)

    def turn(self, wanted: bool) -> None:
        """Let it go on, or have it stand still."""
        self._wanted = wanted
        if self._popen.poll() is None:
            (self._process.resume if wanted else self._process.suspend)()

    def look(self) -> None:
        """Begin anew where it has ended; raises `RuntimeError` where it failed."""
        code = self._popen.poll()
        if code is None:
            times = self._process.cpu_times()
            self.spent = times.user + times.system
            return
        if code:
            raise RuntimeError(f"the training beside ended with {code}: {self._said[1].last}")
        self.done.append(self.spent)
        self.spent = 0.0
        self._stack.close()
        self._begin()
        self.turn(self._wanted)

    @property
    def total(self) -> float:
        """Seconds of the processor, of all of them."""
        return sum(self.done) + self.spent

    def close(self) -> None:
        self.turn(True)
        self._stack.close()


@contextmanager
def training(folder: Path) -> Iterator[Beside]:
    """The training beside, on real hours where they are at hand, onto a shelf that nobody reads."""
    begin, end = map(milliseconds, BESIDE)
    with market(settings().all_symbols, begin, end) as (kind, data):
        print(f"the training beside learns from {kind} hours")
        beside = Beside(train_command(Order(data, end, "1h", folder / "unread")))
        try:
            yield beside
        finally:
            beside.close()


@dataclass
class Seen:
    """By close: wall times of its due frames, and of each symbol's signal with the version it names."""

    symbols: tuple[str, ...]
    frames: dict[int, list[float]] = field(default_factory=dict)
    signals: dict[int, dict[str, tuple[float, str | None]]] = field(default_factory=dict)

    def whole(self, after: int = 0) -> list[int]:
        """The closes after `after` of which every due frame and every symbol's signal was seen."""
        return [close for close in sorted(self.signals) if close > after and self._whole(close)]

    def _whole(self, close: int) -> bool:
        due = sum(close % INTERVALS[name] == 0 for name in DUE)
        return (
            len(self.signals[close]) == len(self.symbols)
            and len(self.frames.get(close, ())) == due * len(self.symbols)
        )  # fmt: skip

    def versions(self, close: int) -> set[str | None]:
        return {version for _, version in self.signals[close].values()}

    def delays(self, close: int) -> list[float]:
        """Ms from the last due frame to each symbol's signal."""
        last = max(self.frames[close])
        return [1e3 * (at - last) for at, _ in self.signals[close].values()]

    async def read(self, client: ClientConnection) -> None:
        """Note the closed candles that the exchange sends."""
        async for raw in client:
            now = time.time()
            if isinstance(raw, str) and CLOSED in raw:
                candle = orjson.loads(raw)["data"]["k"]
                self.frames.setdefault(candle["t"] + INTERVALS[candle["i"]], []).append(now)

    async def hear(self, client: Redis) -> None:
        """Note the signals that the flow publishes."""
        async with client.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe("signals")
            async for message in channel.listen():
                now = time.time()
                said = orjson.loads(message["data"])
                version = said["models"][MODEL]["version"] if said["p_up"] is not None else None
                self.signals.setdefault(said["time"], {})[said["symbol"]] = now, version


@dataclass
class Arm:
    """What was measured of one arm: its closes, the load at the end of each block, the training's share."""

    closes: list[int] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    seconds: float = 0.0
    trained: float = 0.0


async def conduct(
    case: Case, seen: Seen, shelf: Shelf, names: Mapping[str, str], beside: Beside
) -> dict[str, Arm]:
    """Go through the blocks; a close counts once its arm's version speaks for every symbol."""
    arms = {name: Arm() for name in ARMS}
    while not seen.whole():
        await asyncio.sleep(0.1)
    for name in case.order:
        arm = arms[name]
        await asyncio.to_thread(shelf.point, names[name])
        beside.turn(name == "B")
        since = await switched(seen, names[name], beside)
        began, spent = time.monotonic(), beside.total
        while len(found := seen.whole(since)) < case.block:
            beside.look()
            await asyncio.sleep(0.05)
        arm.closes += found[: case.block]
        arm.loads.append(os.getloadavg()[0])
        arm.seconds += time.monotonic() - began
        arm.trained += beside.total - spent
    return arms


async def switched(seen: Seen, version: str, beside: Beside) -> int:
    """The first close of which every signal names the version, two more behind it."""
    after = max(seen.whole())
    while len([close for close in seen.whole(after) if seen.versions(close) == {version}]) < 3:
        beside.look()
        await asyncio.sleep(0.05)
    return max(seen.whole())


@asynccontextmanager
async def listening(seen: Seen, exchange: int, url: str) -> AsyncIterator[None]:
    """Both ends of a delay, heard by one process."""
    streams = "/".join(f"{symbol.lower()}@kline_{name}" for symbol in seen.symbols for name in DUE)
    address = f"ws://{LOOPBACK}:{exchange}/stream?streams={streams}"
    async with (
        connect(address, compression=None, proxy=None, max_queue=None) as client,
        Redis.from_url(url) as channel,
    ):
        tasks = [asyncio.create_task(seen.read(client)), asyncio.create_task(seen.hear(channel))]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def measure(
    case: Case, seen: Seen, folder: Path, exchange: int, url: str, names: Mapping[str, str]
) -> dict[str, Arm]:
    patience = PATIENCE * (len(ARMS) * (case.closes + 10 * case.closes / case.block) * 60 / SPEED) + 120
    with training(folder) as beside:
        beside.turn(False)
        async with listening(seen, exchange, url):
            arms = await asyncio.wait_for(
                conduct(case, seen, Shelf(folder / "shelf", MODEL), names, beside), patience
            )
        each = ", ".join(f"{spent:.0f} s" for spent in beside.done) or "none"
        print(f"  trainings finished beside, by processor time: {each}; {beside.spent:.0f} s of one more")
    return arms


def report(seen: Seen, arms: Mapping[str, Arm]) -> None:
    """Delays by arm, and what the training makes of them."""
    found = {name: [ms for close in arm.closes for ms in seen.delays(close)] for name, arm in arms.items()}
    print("  last due frame to the signal in Redis")
    for name, arm in arms.items():
        load, share = statistics.mean(arm.loads), 100 * arm.trained / arm.seconds
        print(f"    {name:2} {spread(found[name])}, {len(arm.closes)} closes, load {load:.2f}, "
              f"training {share:.0f} % of a core")  # fmt: skip
    half = {name: float(np.percentile(delays, 50)) for name, delays in found.items()}
    most = {name: float(np.percentile(delays, 99)) for name, delays in found.items()}
    calm = found["A"] + found["A'"]
    print(f"  p50: A'/A {half[ARMS[2]] / half['A']:.3f}, B/A {half['B'] / half['A']:.3f}, "
          f"B/both {half['B'] / float(np.percentile(calm, 50)):.3f} (aim 1.2)")  # fmt: skip
    print(f"  p99: A'-A {most[ARMS[2]] - most['A']:+.1f} ms, B-A {most['B'] - most['A']:+.1f} ms, "
          f"B-both {most['B'] - float(np.percentile(calm, 99)):+.1f} ms (aim +50)")  # fmt: skip
    whole = seen.whole()
    mixed = sum(len(seen.versions(close)) > 1 for close in whole)
    moved = sum(seen.versions(a) != seen.versions(b) for a, b in pairwise(whole))
    print(f"  the version changed {moved} times while the clock ran; closes that name two versions: {mixed}")


def compare(folder: Path, knobs: Settings, arms: Mapping[str, Arm], names: Mapping[str, str]) -> None:
    """Whether the signals are those that the first version alone would have made of the same journal."""
    journal, record = Journal(folder, readonly=True), Record(folder, readonly=True)
    records = [one for _, one in journal.read(0, limit=10_000_000)]
    rows = [row for row in record.rows(0, 10_000_000) if row.kind == "signal"]
    journal.close()
    record.close()
    alone = [replace(one, version=names["A"]) if isinstance(one, Activation) else one for one in records]
    listener = Listener()
    run_main(build(World(Script(alone, 2_000), listener, Shelved(knobs.shelf)), knobs))  # type: ignore[no-untyped-call]
    wanted = {
        (one.symbol, one.time): masked(canonical(one)) for one in listener.said if isinstance(one, Signal)
    }
    said = {(row.symbol, row.time): row.body for row in rows}
    for name, arm in arms.items():
        mine = [key for key in said if key[1] in set(arm.closes)]
        same = sum(masked(said[key]) == wanted.get(key) for key in mine)
        named = sum(orjson.loads(said[key])["models"][MODEL]["version"] == names[name] for key in mine)
        print(
            f"  {name:2}: {len(mine)} signals, {named} name its version, {same} say what version A alone says"
        )
        if same < len(mine):
            fields = {at for key in mine for at in differing(said[key], wanted.get(key))}
            print(f"      what differs: {', '.join(sorted(fields))}")


def differing(said: bytes, wanted: bytes | None) -> set[str]:
    """The fields that are not as wanted, whatever the versions."""
    found, other = (orjson.loads(masked(said)), orjson.loads(wanted)) if wanted else ({"signal": 1}, {})
    return {name for name in found.keys() | other.keys() if found.get(name) != other.get(name)}


def masked(body: bytes) -> bytes:
    """The canonical bytes of a signal without the versions of its models."""
    found: dict[str, Any] = orjson.loads(body)
    models = {name: {**told, "version": None} for name, told in found["models"].items()}
    return canonical({**found, "models": models})


def run(case: Case) -> None:
    symbols = settings().all_symbols
    print(f"{len(symbols)} symbols, a close every {60 / SPEED:g} s, arms of {case.closes} closes in blocks "
          f"of {case.block}; {machine()}")  # fmt: skip
    with tempfile.TemporaryDirectory() as at:
        folder, exchange = Path(at), free_port(LOOPBACK)
        told = environ(folder, exchange)
        knobs = load("config.yaml", told)
        names = versions(folder, symbols, told)
        Shelf(folder / "shelf", MODEL).point(names["A"])
        play = {"symbols": symbols, "start": BEGIN, "speed": SPEED, "port": exchange, "forming": 2 * SPEED}
        commands = {"exchange": (sys.executable, "-c", EXCHANGE, orjson.dumps(play).decode()), "flow": FLOW}
        seen = Seen(symbols)
        url = redis.connect(None, folder).url
        try:
            with running(commands, {**os.environ, **told}, folder) as processes:
                wait_for(exchange)
                began = time.time()
                arms = asyncio.run(measure(case, seen, folder, exchange, url, names))
                tell(processes, time.time() - began)
        finally:
            redis.stop(folder)
        report(seen, arms)
        compare(folder, knobs, arms, names)
    print(f"  {machine()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--closes", type=int, default=540, help="of each arm")
    parser.add_argument("--quick", action="store_true", help="a look, not a measurement")
    given = parser.parse_args()
    run(Case(40, 20) if given.quick else Case(given.closes, BLOCK))


if __name__ == "__main__":
    main()
