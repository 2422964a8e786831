"""A thousand WebSocket clients, a hundred of them stalled: `python -m tests.benchmarks.clients`.

Nobody who reads loses or repeats a signal, or waits for those who do not; every figure is from this run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson
import psutil
from websockets.asyncio.client import ClientConnection, connect

from tests.api.conftest import CLOSE, FIVE, Publisher, Valkey, signal

SYMBOLS = 17
PREFIX = "signal_engine_api_"


@dataclass
class Reader:
    """One client that reads: what came, and how long each was on its way, in ms."""

    numbers: list[int] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    async def read(self, client: ClientConnection, upto: int) -> None:
        while not self.numbers or self.numbers[-1] < upto:
            found = orjson.loads(await client.recv())
            if found["type"] == "signal":
                self.numbers.append(found["seq"])
                self.delays.append(1000 * (time.time() - found["entry"]))


async def attach(stack: AsyncExitStack, port: int, *, stalled: bool) -> ClientConnection:
    address = f"ws://127.0.0.1:{port}/ws/signals"
    if not stalled:
        return await stack.enter_async_context(
            connect(address, compression=None, proxy=None, max_queue=None, close_timeout=0.1)
        )
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    return await stack.enter_async_context(
        connect(address, sock=raw, compression=None, proxy=None, max_queue=1, close_timeout=0.1)
    )


def publish(publisher: Publisher, number: int) -> None:
    """One close: a signal of every symbol, 3 kB each, with the moment it is sent as its entry."""
    at = CLOSE + number * FIVE
    long = "a reason in words " * 120
    publisher.publish(*(signal(f"S{n}USDT", at, entry=time.time(), degraded=(long,)) for n in range(SYMBOLS)))
    publisher.sent.clear()


async def measure(port: int, publisher: Publisher, asked: argparse.Namespace) -> None:
    readers = [Reader() for _ in range(asked.clients - asked.stalled)]
    end = asked.closes * SYMBOLS
    async with AsyncExitStack() as stack:
        for _ in range(asked.stalled):
            await attach(stack, port, stalled=True)
        open_ones = [await attach(stack, port, stalled=False) for _ in readers]
        tasks = [asyncio.create_task(r.read(c, end)) for r, c in zip(readers, open_ones, strict=True)]
        for number in range(asked.closes):
            due = time.monotonic() + asked.every
            await asyncio.to_thread(publish, publisher, number)
            await asyncio.sleep(max(due - time.monotonic(), 0))
        await asyncio.wait_for(asyncio.gather(*tasks), 120)
        report(readers, end, await asyncio.to_thread(figures, port))


def figures(port: int) -> dict[str, float]:
    """The relay's own metrics."""
    with socket.create_connection(("127.0.0.1", port)) as asked:
        asked.sendall(b"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        text = b"".join(iter(lambda: asked.recv(65536), b"")).decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(PREFIX)]
    return {name: float(value) for name, _, value in lines}


def report(readers: list[Reader], end: int, relay: dict[str, float]) -> None:
    exact = sum(reader.numbers == list(range(1, end + 1)) for reader in readers)
    delays = np.concatenate([reader.delays for reader in readers])
    half, most = np.percentile(delays, [50, 99])
    print(f"clients that read: {len(readers)}, with every signal exactly once and in order: {exact}")
    print(f"signals: {end}, messages delivered: {len(delays)}")
    print(f"publish to client: p50 {half:.1f} ms, p99 {most:.1f} ms, worst {delays.max():.1f} ms")
    slow = relay.get(PREFIX + 'closed_total{code="1013"}', 0)
    print(f"closed as too slow (1013): {slow:.0f}, still connected: {relay[PREFIX + 'clients']:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--stalled", type=int, default=100)
    parser.add_argument("--closes", type=int, default=60)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two closes")
    asked = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    valkey = Valkey()
    valkey.start()
    with tempfile.TemporaryDirectory() as folder, Publisher(valkey.url) as publisher:
        config = Path(folder) / "config.yaml"
        config.write_text(
            f"storage: {{folder: {folder}}}\nlogging: {{level: ERROR}}\n"
            f"api: {{port: 0, clients: {asked.clients}, clients_per_address: {asked.clients}}}\n"
        )
        command = [sys.executable, "-m", "api.server", "--config", str(config)]
        environ = {**os.environ, "SIGNAL_ENGINE_REDIS__URL": valkey.url}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as server:
            assert server.stderr is not None
            port = int(server.stderr.readline().split("127.0.0.1:")[1].split()[0])
            seen = psutil.Process(server.pid)
            try:
                asyncio.run(measure(port, publisher, asked))
                spent = seen.cpu_times()
                print(f"relay: {seen.memory_info().rss / 1e6:.0f} MB, {spent.user + spent.system:.1f} s CPU")
            finally:
                server.terminate()
                valkey.kill()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; clients and relay share them")


if __name__ == "__main__":
    main()
