"""Connections: symbols keep their place, and an old one is not replaced at a bad moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np

from dataflows.connectors.binance.backoff import Backoff, Connects
from dataflows.connectors.binance.shards import Shards
from dataflows.connectors.binance.stream import Shard
from engine.records import Listing
from tests.dataflows.connectors.binance.exchange import Exchange, running


def listing(symbol: str) -> Listing:
    return Listing(symbol, symbol, symbol[:-4], "alts")


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 8
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def deaf(shard: Shard, raw: bytes) -> None:
    return None


@asynccontextmanager
async def connected(exchange: Exchange, calm: list[bool], **knobs: float) -> AsyncIterator[Shard]:
    shard = Shard(
        "stream 0",
        f"ws://{exchange.url}",
        ["btcusdt@kline_1m"],
        deaf,
        backoff=Backoff(0.02, most=0.05, rng=np.random.default_rng(0)),
        connects=Connects(300),
        calm=lambda: calm[0],
        **knobs,  # type: ignore[arg-type]
    )
    task = asyncio.create_task(shard.run())
    try:
        yield shard
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_rotation_waits_for_a_calm_moment() -> None:
    calm = [False]
    async with running("BTCUSDT") as exchange, connected(exchange, calm, rotate_after=0.05) as shard:
        await until(lambda: shard.state == "open")
        opened = time.monotonic()
        await until(lambda: time.monotonic() - opened > 0.5)
        before = exchange.connected
        calm[0] = True
        await until(lambda: exchange.connected > before)

        assert before == 1
        assert shard.reconnects == 0


async def test_a_refused_connection_is_tried_again_and_named() -> None:
    async with running("BTCUSDT") as exchange:
        port, exchange.url = exchange.url, "127.0.0.1:9"
        async with connected(exchange, [True]) as shard:
            await until(lambda: shard.reconnects >= 3)
            fault, shard.base = shard.fault, f"ws://{port}"
            await until(lambda: shard.state == "open")

    assert "ConnectionRefusedError" in fault or "OSError" in fault
    assert shard.fault == ""


async def test_who_makes_a_socket_wait_does_not_find_it_idle() -> None:
    gate = asyncio.Event()
    async with running("BTCUSDT") as exchange, connected(exchange, [True], idle_timeout=0.2) as shard:

        async def slow(shard: Shard, raw: bytes) -> None:
            await gate.wait()

        shard._hear = slow
        await until(lambda: shard.state == "open")
        opened = time.monotonic()
        await until(lambda: time.monotonic() - opened > 0.6)
        reconnects = shard.reconnects
        gate.set()
        await until(lambda: shard.reconnects > 0)

    assert reconnects == 0


async def test_symbols_share_connections_up_to_the_limit_and_keep_their_place() -> None:
    made: list[Shard] = []

    def new(name: str, streams: Sequence[str]) -> Shard:
        rng = np.random.default_rng(0)
        shard = Shard(name, "ws://127.0.0.1:9", streams, deaf, backoff=Backoff(rng=rng), connects=Connects(0))
        made.append(shard)
        return shard

    symbols = [listing(f"S{number}USDT") for number in range(7)]
    async with asyncio.TaskGroup() as group:
        shards = Shards(new, group, ["1m", "5m"], per_connection=9)
        shards.read(symbols)
        first = [len(shard.streams) for shard in shards.all]
        places = {one.symbol: shards.of(one.symbol) for one in symbols}
        shards.read([*symbols[:2], *symbols[3:], listing("NEWUSDT")])
        second = [len(shard.streams) for shard in shards.all]
        kept = all(shards.of(one.symbol) is places[one.symbol] for one in symbols if one is not symbols[2])
        shards.read(symbols[:1])
        last = [shard.name for shard in shards.all]
        shards.read([])

    assert first == [9, 9, 3]
    assert second == [9, 9, 3]
    assert kept
    assert last == ["stream 0"]
    assert shards.all == []
    assert shards.of("S0USDT") is None
    assert len(made) == 3
