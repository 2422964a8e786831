"""The hub: every published record, serialised once, to every WebSocket client that wants it.

Handing on never waits: a client that does not keep up is closed, and nobody else notices.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, Final

import orjson

from api.board import Board, Entry

logger = logging.getLogger("api.stream")

PATIENCE: Final = 2.0
"""Seconds a client may have more than `queue` messages waiting: one burst is nobody's fault."""
BREATH: Final = 32
"""Messages to one client after which the others have their turn."""
GOING_AWAY: Final = 1001
TOO_SLOW: Final = 1013
"""WebSocket close codes."""

Send = Callable[[str], Awaitable[None]]


class Client:
    """One WebSocket: what it wants and what waits for it.

    `symbols` None = all. `since` is the number after which it wants everything; None = only what is new.
    `queue` messages may wait for `PATIENCE`, `most` never.
    """

    def __init__(
        self,
        symbols: Iterable[str] | None = None,
        *,
        outcomes: bool = False,
        since: int | None = None,
        queue: int = 256,
        most: int = 5256,
    ) -> None:
        self.symbols = None if symbols is None else set(symbols)
        self.outcomes = outcomes
        self.since = since
        self.queue = queue
        self.most = most
        self.waiting: deque[str] = deque()
        self.allowance = 0
        self.wake = asyncio.Event()
        self.behind_since: float | None = None
        self.joined = self.welcomed = False
        self.sent = 0
        self.ending: tuple[int, str] | None = None
        self.delivery: asyncio.Task[None] | None = None

    def wants(self, entry: Entry) -> bool:
        if entry.kind == "outcome" and not self.outcomes:
            return False
        return self.symbols is None or entry.symbol in self.symbols

    def say(self, message: Mapping[str, Any]) -> None:
        self.offer(orjson.dumps(message).decode())

    def offer(self, text: str) -> None:
        """Let `text` wait its turn; a client too far behind is closed instead."""
        if self.ending is None:
            self.waiting.append(text)
            self.wake.set()
            self.check()

    def catch_up(self, texts: Sequence[str]) -> None:
        """Let what it missed wait too; that much is not held against it."""
        self.waiting.extend(texts)
        self.allowance = len(self.waiting)
        self.wake.set()

    def check(self) -> None:
        """Close the client if it has been behind for too long."""
        behind = len(self.waiting) - self.allowance
        if behind <= self.queue:
            self.behind_since = None
        elif behind > self.most or monotonic() - (self.behind_since or monotonic()) > PATIENCE:
            self.cut(TOO_SLOW, f"too slow: {behind} messages were waiting")
        elif self.behind_since is None:
            self.behind_since = monotonic()

    def cut(self, code: int, reason: str) -> None:
        """End it with this close code; whatever waits is dropped."""
        if self.ending is None:
            self.ending = (code, reason)
            self.waiting.clear()
            self.wake.set()
            if self.delivery is not None:
                self.delivery.cancel()

    async def deliver(self, send: Send) -> None:
        """Send what waits, in order, until the client is cut."""
        while self.ending is None:
            while self.waiting:
                self.allowance = max(self.allowance - 1, 0)
                await send(self.waiting.popleft())
                self.sent += 1
                if self.sent % BREATH == 0:
                    await asyncio.sleep(0)
            self.behind_since = None
            self.wake.clear()
            await self.wake.wait()


class Hub:
    """All clients of this process.

    `heartbeat` is in seconds; `queue` and `resume` as in config.yaml.
    """

    def __init__(
        self, board: Board, *, queue: int = 256, resume: int = 5000, heartbeat: float = 15.0
    ) -> None:
        self.board = board
        self.queue = queue
        self.resume = resume
        self.heartbeat = heartbeat
        self.clients: dict[Client, str] = {}
        self.closed: Counter[int] = Counter()
        self.sent_before = 0

    @property
    def sent(self) -> int:
        """Messages sent to clients since the start."""
        return self.sent_before + sum(client.sent for client in self.clients)

    def at(self, address: str) -> int:
        """How many clients come from `address`."""
        return sum(known == address for known in self.clients.values())

    def admit(self, address: str) -> Client:
        """Count a client in; it gets nothing before `join`."""
        client = Client(queue=self.queue, most=self.queue + self.resume)
        self.clients[client] = address
        return client

    def join(self, client: Client) -> None:
        """From now on it gets everything it wants: first the state, then what it missed, then what is new."""
        client.joined = True
        if self.board.loaded:
            self.welcome(client)
        else:
            client.say({"type": "status", "redis": "down", "message": self.board.redis_fault or "loading"})

    def leave(self, client: Client) -> None:
        if self.clients.pop(client, None) is not None:
            self.sent_before += client.sent
            self.closed[client.ending[0] if client.ending else 1000] += 1

    def publish(self, entry: Entry) -> None:
        for client in tuple(self.clients):
            if client.welcomed and client.wants(entry):
                client.offer(entry.text)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Say the same to every client."""
        text = orjson.dumps(message).decode()
        for client in tuple(self.clients):
            if client.joined:
                client.offer(text)

    def welcome_all(self) -> None:
        for client in tuple(self.clients):
            if client.joined and not client.welcomed:
                self.welcome(client)

    def start_over(self) -> None:
        """The engine began another record: numbers start anew, and so does every client."""
        self.tell({"type": "reset", "seq": self.board.head, "message": "a new record began"})
        for client in tuple(self.clients):
            if client.welcomed:
                self.snapshot(client)

    def welcome(self, client: Client) -> None:
        """The snapshot and, asked by `since`, everything after it; nothing can come between the two."""
        client.welcomed = True
        self.snapshot(client)
        if client.since is None:
            return
        if client.since > self.board.head:
            text = (
                f"since={client.since} is beyond the newest, {self.board.head}: the engine began a new record"
            )
            client.say({"type": "reset", "seq": self.board.head, "message": text})
            return
        gap, missed = self.board.missed(client.since, client.outcomes)
        if gap is not None:
            client.say({"type": "gap", "from": gap[0], "to": gap[1]})
        client.catch_up([entry.text for entry in missed if client.wants(entry)])

    def snapshot(self, client: Client, symbols: Iterable[str] | None = None) -> None:
        """The newest signal of every symbol it wants, or of `symbols`, as of the board's head."""
        board = self.board
        wanted = client.symbols if symbols is None else set(symbols)
        bodies = [s.body for name, s in sorted(board.latest.items()) if wanted is None or name in wanted]
        head = orjson.dumps({"type": "snapshot", "seq": board.head, "redis": board.redis})
        client.offer((head[:-1] + b',"signals":[' + b",".join(bodies) + b"]}").decode())

    async def beat(self) -> None:
        """A heartbeat to everyone, and a look at who is behind, until cancelled."""
        due = monotonic() + self.heartbeat
        while True:
            await asyncio.sleep(min(1.0, self.heartbeat))
            for client in tuple(self.clients):
                client.check()
            if monotonic() >= due:
                due = monotonic() + self.heartbeat
                time = self.board.serving.get("stream_time")
                self.tell({"type": "heartbeat", "seq": self.board.head, "stream_time": time})

    async def close(self, reason: str, within: float = 2.0) -> None:
        """End every client with 1001 and wait until they are gone, or `within` seconds."""
        for client in tuple(self.clients):
            client.cut(GOING_AWAY, reason)
        deadline = monotonic() + within
        while self.clients and monotonic() < deadline:
            await asyncio.sleep(0.01)
