"""Records on their way out of the feed: first into the journal, then to the worker.

One writer, one order: whatever came while a commit was under way shares the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from dataflows.connectors.background import Mailbox

MOST_WAITING: Final = 100_000
"""Records that may wait for the journal or the worker; beyond it the sockets are read more slowly."""

MOST_AT_ONCE: Final = 5_000


class Appending(Protocol):
    """What of the journal is needed here."""

    def append(self, records: Sequence[Any]) -> list[int]: ...


class Outbox:
    """Group commit: `add` never waits, `run` writes what has been added."""

    def __init__(self, journal: Appending, mailbox: Mailbox, *, most: int = MOST_WAITING) -> None:
        self._journal = journal
        self._mailbox = mailbox
        self._most = most
        self._waiting: list[Any] = []
        self._added = asyncio.Event()
        self._written = asyncio.Event()
        self.journaled = 0
        """The number of the newest journaled record."""

    @property
    def full(self) -> bool:
        return len(self._waiting) + len(self._mailbox) >= self._most

    def add(self, records: Iterable[Any]) -> None:
        """Queue records in their order."""
        self._waiting.extend(records)
        if self._waiting:
            self._added.set()

    async def room(self) -> None:
        """Return when more may be added; who adds from a source that can wait, waits here."""
        while self.full:
            await asyncio.sleep(0.01)

    async def drained(self) -> None:
        """Return when everything added has been handed on."""
        while self._waiting:
            self._written.clear()
            await self._written.wait()

    async def run(self) -> None:
        """Write until cancelled. Raises `StorageError` when the journal cannot be written."""
        # A thread of its own: the journal keeps one connection per thread.
        with ThreadPoolExecutor(1, "journal") as thread:
            while True:
                await self._added.wait()
                self._added.clear()
                while batch := self._waiting[:MOST_AT_ONCE]:
                    loop = asyncio.get_running_loop()
                    numbers = await loop.run_in_executor(thread, self._journal.append, batch)
                    del self._waiting[: len(batch)]
                    self._mailbox.put(zip(numbers, batch, strict=True))
                    self.journaled = numbers[-1]
                self._written.set()
