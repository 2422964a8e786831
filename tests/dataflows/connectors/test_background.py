"""The asyncio thread and its mailboxes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dataflows.connectors.background import Background, Mailbox


async def test_close_cancels_what_runs_and_lets_it_clean_up() -> None:
    background = Background()
    started, cleaned = threading.Event(), threading.Event()

    async def forever() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    future = background.spawn(forever())
    assert started.wait(5)
    background.close()
    background.close()

    assert cleaned.is_set()
    assert future.cancelled()


def test_an_error_on_the_loop_is_the_futures() -> None:
    background = Background()

    async def broken() -> None:
        raise ValueError("seen")

    future = background.spawn(broken())

    with pytest.raises(ValueError, match="seen"):
        future.result(timeout=5)
    background.close()


def test_a_closed_thread_refuses_work() -> None:
    background = Background()
    background.close()

    async def nothing() -> None:
        return None

    with pytest.raises(RuntimeError, match="closed"):
        background.spawn(nothing())


def test_numbered_records_all_arrive_in_order_from_many_threads() -> None:
    box = Mailbox()
    out: list[tuple[int, int]] = []
    done = threading.Event()

    def fill(thread: int) -> None:
        for number in range(2_000):
            box.put([(number, thread)])

    def read() -> None:
        while not (done.is_set() and not len(box)):
            out.extend((seq, thread) for seq, thread in box.drain(100) if seq is not None)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=fill, args=(thread,)) for thread in range(4)]
    for thread in [reader, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()

    assert [[seq for seq, thread in out if thread == writer] for writer in range(4)] == [
        list(range(2_000))
    ] * 4


def test_conflated_records_keep_only_the_newest_and_do_not_starve() -> None:
    box = Mailbox()
    box.put((number, "candle") for number in range(5))
    for price in range(100):
        box.put_latest("BTCUSDT", price)
    box.put_latest("ETHUSDT", 1)

    first = box.drain(2)

    assert first == [(0, "candle"), (1, "candle"), (None, 99), (None, 1)]
    assert [seq for seq, _ in box.drain(10)] == [2, 3, 4]
    assert box.drain(10) == []
