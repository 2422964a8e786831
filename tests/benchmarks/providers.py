"""Whether the data world delays signals: providers that hang against none, and all of it against none of it.

`python -m tests.benchmarks.providers [--quick] [--closes N]`. From the last due frame of a close to its
signals in Redis, decided every minute of a market at 150 times its speed. One run of the flow with fifteen
providers, futures and news, in blocks of closes taken in turns: A all answer, B five of them never answer, A'
all answer again, which tells how far two arms differ by chance. Before and after it, two runs with every
source switched off, O and O'. The companion is asked at the market's speed, so far more often than a live
engine asks.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import orjson
import psutil
from redis.asyncio import Redis

from dataflows.connectors import redis
from dataflows.replay.companion.server import Companion
from dataflows.replay.companion.server import environ as companion
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.limits import Limits
from dataflows.replay.simulate import Simulated
from dataflows.replay.traits import futures_name
from dataflows.up import FLOW, contracts, free_port
from tests.benchmarks.latency import LOOPBACK, MANY, running, tell, wait_for
from tests.benchmarks.machine import machine, settings, spread
from tests.benchmarks.retraining import ARMS, BEGIN, SPEED, Case, Seen, environ, listening

BLOCK: Final = 90
PLAY: Final = "from tests.benchmarks.providers import play; play()"
HANGING: Final = ("kaiko", "lunarcrush", "thetie", "coingecko", "alternative_me")
"""Those that are asked most often: while one block lasts each of them has a question without an answer."""

OFTEN: Final = {"SIGNAL_ENGINE_PROVIDERS__ALTERNATIVE_ME__EVERY": "900"}
TIMED_OUT: Final = 12.0
"""Wall seconds after which no question hangs any more: the connector's time-out and its next look."""

PATIENCE: Final = 60.0
START: Final = 120.0
"""Wall seconds that the sources may take until they hang, and the flow and they until they are well."""

SETTLED: Final = {False: 10.0, True: 45.0}
"""Wall seconds until a start is over, without sources and with them: all of the past is asked for then."""


def play() -> None:
    """The process of the world: exchange, futures and companion by one clock, as its last argument says."""
    told = orjson.loads(sys.argv[-1])
    futures, companion_port = told.pop("futures"), told.pop("companion")
    symbols = tuple(told.pop("symbols"))

    async def serve() -> None:
        exchange = ReplayExchange(
            "spot", Simulated(symbols), limits=Limits(weight=MANY, connects=MANY), prepare=0, **told
        )
        exchange.beside("um", Simulated(tuple(map(futures_name, symbols)), 0, "um"), futures)
        async with exchange, Companion(exchange.clock.now, companion_port):
            await asyncio.Event().wait()

    asyncio.run(serve())


@dataclass(frozen=True)
class World:
    """The ports of one run."""

    exchange: int
    futures: int
    companion: int

    @classmethod
    def free(cls) -> World:
        return cls(*(free_port(LOOPBACK) for _ in range(3)))

    def command(self, symbols: Sequence[str]) -> tuple[str, ...]:
        told = {
            "symbols": symbols,
            "start": BEGIN,
            "speed": SPEED,
            "forming": 2 * SPEED,
            "port": self.exchange,
            "futures": self.futures,
            "companion": self.companion,
        }
        return (sys.executable, "-c", PLAY, orjson.dumps(told).decode())

    def environ(self, folder: Path, *, sources: bool) -> dict[str, str]:
        """What points the flow at it, all sources on or all of them off."""
        own = environ(folder, self.exchange)
        if not sources:
            return own | switched_off()
        futures = contracts(f"{LOOPBACK}:{self.futures}")
        return own | futures | companion(f"http://{LOOPBACK}:{self.companion}") | OFTEN

    def hang(self, *providers: str) -> None:
        """From now on these never answer, and every other does."""
        faults = f"http://{LOOPBACK}:{self.companion}/companion/faults"
        httpx.delete(faults).raise_for_status()
        if providers:
            httpx.post(faults, json=[{"name": "hang", "of": name} for name in providers]).raise_for_status()

    def unanswered(self) -> dict[str, int]:
        """How many questions each provider left hanging so far."""
        found = httpx.get(f"http://{LOOPBACK}:{self.companion}/companion/state").json()["statuses"]
        return {name: found.get(name, {}).get("none", 0) for name in HANGING}


def switched_off() -> dict[str, str]:
    """The variables that leave nothing beside the candles."""
    prefix = "SIGNAL_ENGINE_"
    names = [name for name in companion("http://localhost:1") if name.endswith("__ENABLED")]
    return {**dict.fromkeys(names, "false"), f"{prefix}FUTURES__ENABLED": "false",
            f"{prefix}NEWS__ENABLED": "false"}  # fmt: skip


@dataclass
class Arm:
    """What was measured of one arm: delays in ms, the load at each block's end, the flow's processor time."""

    delays: list[float] = field(default_factory=list)
    closes: int = 0
    loads: list[float] = field(default_factory=list)
    seconds: float = 0.0
    spent: float = 0.0
    hung: int = 0

    def told(self) -> str:
        return (
            f"{spread(self.delays)}, {self.closes} closes, load {statistics.mean(self.loads):.2f}, "
            f"flow {100 * self.spent / self.seconds:.0f} % of a core"
        )


Arms = dict[str, Arm]


async def block(seen: Seen, arm: Arm, closes: int, flow: psutil.Process) -> None:
    """Measure so many closes from now on."""
    since, began, spent = max(seen.whole()), time.monotonic(), processor(flow)
    while len(found := seen.whole(since)) < closes:
        await asyncio.sleep(0.05)
    arm.delays += [ms for close in found[:closes] for ms in seen.delays(close)]
    arm.closes += closes
    arm.loads.append(os.getloadavg()[0])
    arm.seconds += time.monotonic() - began
    arm.spent += processor(flow) - spent


def processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def in_turns(case: Case, seen: Seen, world: World, url: str, flow: psutil.Process) -> Arms:
    """A, B and A' block by block, once every source has answered."""
    arms, hanging = {name: Arm() for name in ARMS}, False
    await until_all_well(url)
    await asyncio.sleep(SETTLED[True])
    for name in case.order:
        before = await asyncio.to_thread(world.unanswered)
        if (name == "B") != hanging:
            hanging = not hanging
            await asyncio.to_thread(world.hang, *(HANGING if hanging else ()))
            await (all_hang(world, before) if hanging else asyncio.sleep(TIMED_OUT))
        await block(seen, arms[name], case.block, flow)
        after = await asyncio.to_thread(world.unanswered)
        arms[name].hung += sum(after.values()) - sum(before.values())
    return arms


async def all_hang(world: World, before: Mapping[str, int]) -> None:
    """Wait until each of them has left a question hanging."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = await asyncio.to_thread(world.unanswered)
        idle = [name for name in HANGING if found[name] <= before[name]]
        if not idle:
            return
        if time.monotonic() > deadline:
            print(f"  not asked within {PATIENCE:g} s: {', '.join(idle)}")
            return
        await asyncio.sleep(0.5)


async def until_all_well(url: str) -> None:
    """Wait until each source says that it is ok."""
    deadline = time.monotonic() + START
    async with Redis.from_url(url) as client:
        while True:
            states = await told(client)
            ill = sorted(name for name, state in states.items() if state != "ok")
            if states and not ill:
                print(f"  all {len(states)} sources are ok")
                return
            if time.monotonic() > deadline:
                print(f"  not ok after {START:g} s: {', '.join(ill)}")
                return
            await asyncio.sleep(0.5)


async def told(client: Redis) -> dict[str, str]:
    """The state of every source by its name, feeds apart."""
    body: Any = await client.hget("status:providers", "json")
    found = orjson.loads(body)["providers"] if body else {}
    return {name: one["state"] for name, one in found.items() if "." not in name}


@asynccontextmanager
async def heard(seen: Seen, world: World, url: str) -> AsyncIterator[None]:
    """Both ends of a delay, from the first close of which every symbol has spoken."""
    async with listening(seen, world.exchange, url):
        deadline = time.monotonic() + START
        while len(seen.whole()) < 3 and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        yield


Measure = Callable[[Seen, World, str, psutil.Process], Any]


def run(symbols: tuple[str, ...], measure: Measure, *, sources: bool) -> Arms:
    """One run of the flow, and what was measured of it."""
    with tempfile.TemporaryDirectory() as at:
        folder, world, seen = Path(at), World.free(), Seen(symbols)
        knobs = {**os.environ, **world.environ(folder, sources=sources)}
        url = redis.connect(None, folder).url

        async def measured(flow: psutil.Process) -> Arms:
            async with heard(seen, world, url):
                found: Arms = await measure(seen, world, url, flow)
                return found

        try:
            with running({"world": world.command(symbols), "flow": FLOW}, knobs, folder) as processes:
                wait_for(world.exchange, world.companion)
                began = time.time()
                arms = asyncio.run(measured(processes["flow"]))
                tell(processes, time.time() - began)
        finally:
            redis.stop(folder)
    return arms


def alone(name: str, closes: int) -> Measure:
    """One arm, without anything beside the candles."""

    async def measure(seen: Seen, world: World, url: str, flow: psutil.Process) -> Arms:
        arm = Arm()
        await asyncio.sleep(SETTLED[False])
        await block(seen, arm, closes, flow)
        return {name: arm}

    return measure


def compare(
    one: Sequence[float], other: Sequence[float], again: Sequence[float], names: str, aims: str = ""
) -> None:
    """How `other` differs from `one` and `again`, beside how those two differ by chance."""
    calm = [*one, *again]
    half, most = (np.percentile(delays, [50, 99]) for delays in (calm, other))
    p50 = [float(np.percentile(delays, 50)) for delays in (one, again)]
    p99 = [float(np.percentile(delays, 99)) for delays in (one, again)]
    print(f"  {names}: p50 ratio {most[0] / half[0]:.3f} (by chance {p50[1] / p50[0]:.3f}), "
          f"p99 {most[1] - half[1]:+.1f} ms (by chance {p99[1] - p99[0]:+.1f} ms){aims}")  # fmt: skip


def report(arms: Arms) -> None:
    print("  last due frame to the signal in Redis")
    for name, arm in arms.items():
        print(f"    {name:2} {arm.told()}")
    delays = {name: arm.delays for name, arm in arms.items()}
    print(f"  questions left hanging: {', '.join(f'{name} {arms[name].hung}' for name in ARMS)}")
    compare(delays["A"], delays["B"], delays[ARMS[2]], "five of fifteen hang against none",
            "; aims 1.2 and +50 ms")  # fmt: skip
    compare(delays["O"], [*delays["A"], *delays[ARMS[2]]], delays["O'"], "every source against none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--closes", type=int, default=540, help="of each arm")
    parser.add_argument("--quick", action="store_true", help="a look, not a measurement")
    given = parser.parse_args()
    case = Case(40, 20) if given.quick else Case(given.closes, BLOCK)
    symbols = settings().all_symbols
    print(f"{len(symbols)} symbols, a close every {60 / SPEED:g} s, arms of {case.closes} closes in blocks "
          f"of {case.block}; {machine()}")  # fmt: skip

    async def turns(seen: Seen, world: World, url: str, flow: psutil.Process) -> Arms:
        return await in_turns(case, seen, world, url, flow)

    print("every source off")
    arms = run(symbols, alone("O", case.closes // 2), sources=False)
    print(f"every source on, then without {', '.join(HANGING)}")
    arms |= run(symbols, turns, sources=True)
    print("every source off")
    arms |= run(symbols, alone("O'", case.closes // 2), sources=False)
    report(arms)
    print(f"  {machine()}")


if __name__ == "__main__":
    main()
