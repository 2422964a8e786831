"""A server on loopback that answers as badly as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import orjson


@dataclass(frozen=True)
class Asked:
    """One request as it came; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}


Act = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


def raw(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """An answer as bytes, with its true length unless `headers` tells another."""
    told = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
    return f"HTTP/1.1 {status} Told\r\n{head}\r\n".encode() + body


def reply(status: int, body: object = b"", headers: Mapping[str, str] | None = None) -> Act:
    """Always this answer; anything but bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    async def act(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(raw(status, content, headers))

    return act


async def hang(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Say nothing for as long as the asker waits."""
    await asyncio.sleep(3600)


async def reset(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Close without a word."""
    writer.transport.abort()


async def drip(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A letter at a time, each soon enough for a time-out between two of them."""
    writer.write(raw(200, b"", {"content-length": "100000"}))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def cut(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Close in the middle of the body."""
    writer.write(raw(200, b'{"rows": [1, 2', {"content-length": "900"}))
    await writer.drain()
    writer.close()


@dataclass
class Hostile:
    """What was asked, and what is answered from now on."""

    url: str = ""
    act: Act = field(default_factory=lambda: reply(200, {}))
    asked: list[Asked] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while asked := await request(reader):
                self.asked.append(asked)
                await self.act(asked, writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def request(reader: asyncio.StreamReader) -> Asked | None:
    """The next request of a connection, None at its end."""
    line = (await reader.readline()).decode()
    if not line:
        return None
    method, target, _ = line.split()
    headers = {}
    while (header := (await reader.readline()).decode().strip()) != "":
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, target, headers, body)


@asynccontextmanager
async def hostile(act: Act | None = None) -> AsyncIterator[Hostile]:
    """A server while the block runs; its open connections are dropped at the end."""
    one = Hostile()
    if act is not None:
        one.act = act
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await one.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield one
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
