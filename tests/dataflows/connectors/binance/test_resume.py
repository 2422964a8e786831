"""A start is a restart: the journal goes on where it ended; and the universe changes without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflows.connectors.journal import Journal
from engine.errors import StorageError
from engine.records import Candle, Live, Tick, Universe
from tests.dataflows.connectors.binance.exchange import MINUTE, START, Exchange, running
from tests.dataflows.connectors.binance.rig import STEP, Rig, rig, settings

BTC, ETH, SOL = "BTCUSDT", "ETHUSDT", "SOLUSDT"


def check_whole(records: list[Any], symbols: tuple[str, ...], last: int) -> None:
    """Every market without a repetition or a hole, every Tick once, and none overtaken."""
    candles = [record for record in records if isinstance(record, Candle)]
    for symbol in symbols:
        minutes = [one.time for one in candles if (one.symbol, one.interval) == (symbol, "1m")]
        assert minutes == list(range(minutes[0], last + 1, MINUTE))
        fives = [one.time for one in candles if (one.symbol, one.interval) == (symbol, "5m")]
        assert fives == list(range(fives[0], last // STEP * STEP + 1, STEP))
    ticks = [record.time for record in records if isinstance(record, Tick)]
    assert ticks == list(range(ticks[0], ticks[-1] + 1, STEP))
    newest = 0
    for record in records:
        newest = record.time if isinstance(record, Tick) else newest
        assert not newest or not isinstance(record, Candle) or record.time < newest + 2 * STEP


async def first_run(exchange: Exchange, folder: Path) -> list[Any]:
    async with rig(exchange, folder, settings(exchange, BTC, ETH)) as one:
        await one.serving()
        await exchange.advance(6 * MINUTE)
        await one.has((BTC, "1m", START + 6 * MINUTE), (ETH, "1m", START + 6 * MINUTE))
        await one.ticked(START + STEP)
    return one.records


async def test_after_a_crash_the_journal_goes_on_where_it_ended(tmp_path: Path) -> None:
    async with running(BTC, ETH) as exchange:
        before = await first_run(exchange, tmp_path)
        exchange.now = START + 23 * MINUTE + 10_000
        async with rig(exchange, tmp_path, settings(exchange, BTC, ETH)) as one:
            await one.serving()
            await one.ticked(START + 4 * STEP)
            await exchange.advance(26 * MINUTE)
            await one.has((BTC, "1m", START + 26 * MINUTE), (ETH, "1m", START + 26 * MINUTE))
            await one.ticked(START + 5 * STEP)

        assert one.records[0] == Live(START + 21 * MINUTE, "replay")
        assert one.numbers[0] == len(before) + 1
        assert not any(isinstance(record, Universe) for record in one.records)
        check_whole(before + one.records, (BTC, ETH), START + 26 * MINUTE)


async def test_a_close_repeated_after_a_restart_is_still_known(tmp_path: Path) -> None:
    async with running(BTC, ETH) as exchange:
        await first_run(exchange, tmp_path)
        async with rig(exchange, tmp_path, settings(exchange, BTC, ETH)) as one:
            await one.serving()
            await exchange.close(BTC, "1m", START + 6 * MINUTE)
            await one.until(lambda: one.symbol(BTC)["duplicates"] == 1)

        assert one.closes(BTC) == []
        assert one.corrections == []


@pytest.mark.parametrize("share", [0.0, 0.03, 0.4, 0.9])
async def test_a_start_that_was_cut_short_is_finished_by_the_next(tmp_path: Path, share: float) -> None:
    async with running(BTC, ETH) as exchange:
        complete = await first_run(exchange, tmp_path / "whole")
        kept = complete[: int(share * len(complete)) + 2]
        journal = Journal(tmp_path / "cut", synchronous="NORMAL")
        journal.append(kept)
        journal.close()
        async with rig(exchange, tmp_path / "cut", settings(exchange, BTC, ETH)) as one:
            await one.serving()
            await one.until(lambda: one.feed.clock.ready)
            await exchange.form()
            await exchange.advance(6 * MINUTE + 3_000)
            last = START + 6 * MINUTE
            await one.until(lambda: {(BTC, "1m", last), (ETH, "1m", last)} <= {*keys(kept), *one.candles()})
            await one.until(
                lambda: START + STEP in [*one.ticks, *(r.time for r in kept if isinstance(r, Tick))]
            )

        assert isinstance(one.records[0], Live)
        check_whole([*kept, *one.records], (BTC, ETH), START + 6 * MINUTE)


def keys(records: list[Any]) -> list[tuple[str, str, int]]:
    return [(one.symbol, one.interval, one.time) for one in records if isinstance(one, Candle)]


async def test_a_journal_of_another_time_is_refused_by_name(tmp_path: Path) -> None:
    async with running(BTC, ETH) as exchange:
        await first_run(exchange, tmp_path)
        exchange.now = START - 100 * STEP
        async with rig(exchange, tmp_path, settings(exchange, BTC, ETH)) as one:
            error = await one.error()

        assert isinstance(error, StorageError)
        assert "knows 2024-03-09T16:05:00+00:00, the exchange's clock says 2024-03-09T07:40" in str(error)


def universes(one: Rig) -> list[Universe]:
    return [record for record in one.records if isinstance(record, Universe)]


async def test_a_halted_symbol_leaves_at_a_close_and_comes_back_with_what_it_missed(tmp_path: Path) -> None:
    async with running(BTC, ETH) as exchange:
        async with rig(exchange, tmp_path, settings(exchange, BTC, ETH, check_every=60.0)) as one:
            await one.serving()
            await exchange.advance(2 * MINUTE)
            exchange.status[ETH] = "BREAK"
            await one.until(lambda: len(universes(one)) == 2, "another universe")
            left = universes(one)[1]
            await one.fault("ETHUSDT halted: ETHUSDT is in status BREAK")
            await exchange.advance(STEP + 6_000)
            await one.ticked(START + STEP)
            await one.until(lambda: "ethusdt" not in "".join(exchange.subscribed), "its streams to go")
            exchange.status[ETH] = "TRADING"
            await exchange.advance(8 * MINUTE)
            await one.until(lambda: len(universes(one)) == 3, "its return")
            back = universes(one)[2]
            await exchange.advance(16 * MINUTE)
            await one.has((ETH, "1m", START + 16 * MINUTE), (BTC, "1m", START + 16 * MINUTE))
            await one.ticked(START + 3 * STEP)
            await one.no_fault()

        assert (left.time, left.symbols) == (START + STEP, (BTC,))
        assert (back.time, back.symbols) == (START + 2 * STEP, (BTC, ETH))
        check_whole(one.records, (BTC, ETH), START + 16 * MINUTE)


async def test_a_symbol_listed_today_joins_with_the_candles_it_has(tmp_path: Path) -> None:
    async with running(BTC) as exchange:
        async with rig(exchange, tmp_path, settings(exchange, BTC, SOL, check_every=60.0)) as one:
            await one.serving()
            await one.fault("SOLUSDT absent: SOLUSDT is not listed on spot")
            await exchange.advance(3 * MINUTE)
            exchange.status[SOL] = "TRADING"
            exchange.listed[SOL] = START
            await exchange.advance(4 * MINUTE)
            await one.until(lambda: len(universes(one)) == 2, "it to join")
            await exchange.advance(12 * MINUTE)
            await one.has((SOL, "1m", START + 12 * MINUTE), (SOL, "5m", START + 2 * STEP))
            await one.has((BTC, "1m", START + 12 * MINUTE), (BTC, "5m", START + 2 * STEP))
            await one.no_fault()

        joined = universes(one)[1]
        assert joined.symbols == (BTC, SOL)
        assert one.closes(SOL)[:4] == [START + minute * MINUTE for minute in (1, 2, 3, 4)]
        assert one.records.index(joined) > one.records.index(
            next(record for record in one.records if isinstance(record, Candle) and record.symbol == SOL)
        )
        check_whole(one.records, (BTC, SOL), START + 12 * MINUTE)
