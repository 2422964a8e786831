"""A web site on loopback, as hostile as the web: whatever a test puts on a path is sent as it is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Site:
    """`pages` are by path; `asked` holds (path, headers in lower case) of every question."""

    pages: dict[str, Reply] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    gone: int = 0
    """Connections that the other side has left while an answer was under way."""
    port: int = 0

    def url(self, path: str = "/feed") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def times(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.asked)

    async def asked_for(self, path: str, times: int) -> None:
        """Return when this path has been asked for so often, or fail."""
        async with asyncio.timeout(5):
            while self.times(path) < times:
                await asyncio.sleep(0.002)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            self.asked.append((path, headers))
            await self.pages.get(path, page(b"nothing", 404))(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone += 1
        finally:
            writer.close()


def page(body: bytes, status: int = 200, /, **headers: str) -> Reply:
    """An ordinary answer; header names are given with underscores."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, {"content-length": str(len(body)), **headers}) + body)
        await writer.drain()

    return reply


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} so",
        *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def redirect(to: str, status: int = 302) -> Reply:
    return page(b"", status, location=to)


def raw(text: bytes) -> Reply:
    """Bytes as they are, then the end of the connection."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await writer.drain()

    return reply


def pouring(part: bytes, pause: float = 0.0, first: bytes = b"", **headers: str) -> Reply:
    """An answer without end: the same part again and again, `pause` seconds apart."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, headers) + first)
        while True:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return reply


def hanging(after: bytes = b"") -> Reply:
    """Says `after`, then nothing, and keeps the line."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await asyncio.sleep(60)

    return reply


@asynccontextmanager
async def site(tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """A site that is there inside the block."""
    one = Site()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(one.answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
