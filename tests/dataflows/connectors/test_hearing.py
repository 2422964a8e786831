"""How sources beside the candles get into the journal, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.clock import StreamClock
from dataflows.connectors.hearing import Hearing, heard
from engine.errors import StorageError
from engine.records import Metric


class Numbered:
    """A journal that keeps nothing but the count."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def append(self, records: Any) -> list[int]:
        self.records += records
        return list(range(len(self.records) - len(records) + 1, len(self.records) + 1))


def hearing(heard: Callable[[], int], server_ms: int | None = None) -> tuple[Hearing, Outbox, Mailbox]:
    clock, mailbox = StreamClock(wall=lambda: 0.0, unix=lambda: 0.0), Mailbox()
    if server_ms is not None:
        clock.sample(0.0, 0.0, server_ms)
    outbox = Outbox(Numbered(), mailbox)
    return Hearing(clock, outbox, heard), outbox, mailbox


class Source:
    def __init__(self, *turns: BaseException | None) -> None:
        self.turns = list(turns)
        self.runs = 0

    async def run(self, hearing: Hearing) -> None:
        self.runs += 1
        turn = self.turns.pop(0) if self.turns else None
        if turn is not None:
            raise turn
        await asyncio.Event().wait()

    def told(self) -> Mapping[str, Mapping[str, Any]]:
        return {}


@pytest.mark.parametrize(("clock", "event", "learned"), [(1_000, 0, 1_000), (1_000, 1_700, 1_700)])
async def test_what_is_handed_on_was_learned_now_and_never_before_a_candle_that_was(
    clock: int, event: int, learned: int
) -> None:
    way, outbox, mailbox = hearing(lambda: event, clock)
    task = asyncio.create_task(outbox.run())
    way.hand([Metric("a.b", "", 5, 1.0)])
    await outbox.drained()
    task.cancel()

    assert mailbox.drain(9) == [(1, Metric("a.b", "", 5, 1.0, learned=learned))]


async def test_a_source_waits_until_the_exchange_has_told_the_time() -> None:
    way, _, _ = hearing(lambda: 0)
    waiting = asyncio.create_task(way.ready_wait())
    await asyncio.sleep(0.05)
    assert not waiting.done()

    way.clock.sample(0.0, 0.0, 5)
    await asyncio.wait_for(waiting, 1)


async def test_a_source_with_a_mistake_is_started_anew_and_its_words_are_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Source(ValueError("https://host/?api_key=canary"))
    way, _, _ = hearing(lambda: 0, 1)
    with caplog.at_level(logging.DEBUG):
        task = asyncio.create_task(heard(source, way, again=0.01))
        while source.runs < 2:
            await asyncio.sleep(0.005)
        task.cancel()

    assert "ValueError" in caplog.text
    assert "canary" not in caplog.text


async def test_a_disk_that_cannot_be_written_ends_the_feed() -> None:
    way, _, _ = hearing(lambda: 0, 1)
    with pytest.raises(StorageError):
        await heard(Source(StorageError("full")), way)
