"""The way out: journal first, one order, and no more waiting than there is room for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance.outbox import Outbox


class SlowJournal:
    """Numbers what it is given, one batch per permission."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.permission = threading.Semaphore(0)

    def append(self, records: Sequence[Any]) -> list[int]:
        self.permission.acquire()
        first = 1 + sum(map(len, self.batches))
        self.batches.append(list(records))
        return list(range(first, first + len(records)))


async def test_what_comes_during_a_commit_shares_the_next_one() -> None:
    journal, mailbox = SlowJournal(), Mailbox()
    outbox = Outbox(journal, mailbox)
    task = asyncio.create_task(outbox.run())
    outbox.add(["a"])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    outbox.add(["b"])
    outbox.add(["c", "d"])

    assert mailbox.drain(10) == []
    journal.permission.release(2)
    await outbox.drained()
    assert journal.batches == [["a"], ["b", "c", "d"]]
    assert mailbox.drain(10) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert outbox.journaled == 4
    task.cancel()


async def test_it_is_full_until_the_worker_has_taken_what_waits() -> None:
    journal, mailbox = SlowJournal(), Mailbox()
    outbox = Outbox(journal, mailbox, most=3)
    task = asyncio.create_task(outbox.run())
    outbox.add("abc")

    assert outbox.full
    journal.permission.release(5)
    await outbox.drained()
    assert outbox.full
    mailbox.drain(1)
    await asyncio.wait_for(outbox.room(), 5)
    task.cancel()
