"""The feed over real sockets: what comes in becomes one journal, whatever the exchange does on the way."""

from __future__ import annotations

from pathlib import Path

from engine.records import INTERVALS, Candle, Live, Tick, Universe
from tests.dataflows.connectors.binance.exchange import MINUTE, START, running
from tests.dataflows.connectors.binance.rig import STEP, rig, settings

BTC, ETH = "BTCUSDT", "ETHUSDT"


def every(first: int, last: int, step: int = MINUTE) -> list[int]:
    return list(range(first, last + 1, step))


async def test_history_comes_first_in_one_order_with_a_tick_behind_each_close(tmp_path: Path) -> None:
    async with running(BTC, ETH) as exchange:
        exchange.now = START + 90_000
        async with rig(exchange, tmp_path, settings(exchange, BTC, ETH)) as one:
            await one.serving()
            await one.until(lambda: len(one.records) >= 2 + 2 * 5 * 12 + 12)

        universe, live, *history = one.records
        assert isinstance(universe, Universe)
        assert universe.symbols == (BTC, ETH)
        assert universe.listings[0].price_step == 0.01
        assert live == Live((exchange.now - 120_000) // MINUTE * MINUTE, "replay")
        assert one.numbers == list(range(1, len(one.records) + 1))
        assert universe.time < min(record.time for record in history)
        candles = [record for record in history if isinstance(record, Candle)]
        assert candles == sorted(candles, key=lambda it: (it.time, INTERVALS[it.interval], it.symbol))
        assert one.closes(BTC, "1m") == every(START - 10 * MINUTE, START + MINUTE)
        assert one.closes(ETH, "4h") == every(START - 11 * INTERVALS["4h"], START, INTERVALS["4h"])
        assert one.ticks == every(START - 11 * STEP, START, STEP)
        for place, record in enumerate(history):
            if isinstance(record, Tick):
                assert all(before.time <= record.time for before in history[:place])
                assert all(after.time > record.time for after in history[place + 1 :])


async def test_the_open_candle_of_rest_is_not_taken_for_a_closed_one(tmp_path: Path) -> None:
    async with running(BTC) as exchange:
        exchange.now = START + 30_000
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.serving()
            await one.has((BTC, "1m", START))

        assert max(one.closes(BTC)) == START


async def test_live_closes_follow_history_and_ticks_follow_stream_time(tmp_path: Path) -> None:
    async with running(BTC, ETH) as exchange:
        async with rig(exchange, tmp_path, settings(exchange, BTC, ETH)) as one:
            await one.serving()
            await exchange.advance(7 * MINUTE)
            await one.ticked(START + STEP)
            await one.has((ETH, "1m", START + 7 * MINUTE))
            await one.until(lambda: one.prices[BTC].time >= exchange.now)
            await one.no_fault()

        assert one.closes(BTC)[-7:] == every(START + MINUTE, START + 7 * MINUTE)
        assert one.closes(BTC, "5m")[-1] == START + STEP
        assert one.symbol(BTC)["state"] == "ok"
        assert one.symbol(BTC)["gaps"] == 0
        place = one.records.index(Tick(START + STEP))
        assert (BTC, "5m", START + STEP) in one.candles()[:place]


async def test_a_tick_is_not_early(tmp_path: Path) -> None:
    async with running(BTC) as exchange:
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.serving()
            await exchange.advance(STEP + 4_900)
            await one.has((BTC, "5m", START + STEP))
            await one.until(lambda: one.prices[BTC].time >= exchange.now)
            early = START + STEP in one.ticks
            await exchange.advance(STEP + 5_000)
            await one.ticked(START + STEP)

        assert not early


async def test_a_close_that_no_frame_brought_is_asked_for_before_the_tick(tmp_path: Path) -> None:
    async with running(BTC, ETH) as exchange:
        exchange.lost = {(BTC, "5m", START + STEP), (ETH, "1m", START + 2 * MINUTE)}
        async with rig(exchange, tmp_path, settings(exchange, BTC, ETH)) as one:
            await one.serving()
            await exchange.advance(STEP + 6_000)
            await one.ticked(START + STEP)
            await one.until(lambda: one.symbol(BTC)["repaired"] == 1)

        assert one.records.index(Tick(START + STEP)) > one.candles().index((BTC, "5m", START + STEP))
        assert one.closes(ETH)[-5:] == every(START + MINUTE, START + 5 * MINUTE)
        assert one.symbol(BTC)["gaps"] == one.symbol(ETH)["gaps"] == 0


async def test_late_out_of_order_and_double_closes_come_once_and_in_order(tmp_path: Path) -> None:
    async with running(BTC) as exchange:
        exchange.lost = {(BTC, "1m", START + minute * MINUTE) for minute in (1, 2, 3)}
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.serving()
            exchange.rest = lambda path, query: (500, {}, b"{}")
            await exchange.advance(3 * MINUTE)
            for minute in (3, 2, 2, 1, 3, 1):
                await exchange.close(BTC, "1m", START + minute * MINUTE)
            await exchange.advance(4 * MINUTE)
            await one.has((BTC, "1m", START + 4 * MINUTE))
            await one.until(lambda: one.symbol(BTC)["duplicates"] >= 2)

        assert one.closes(BTC)[-4:] == every(START + MINUTE, START + 4 * MINUTE)
        assert one.corrections == []


async def test_a_hole_of_the_exchange_is_marked_and_not_invented(tmp_path: Path) -> None:
    async with running(BTC) as exchange:
        exchange.absent = {(BTC, "1m", START + minute * MINUTE) for minute in (2, 3)}
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.serving()
            await exchange.advance(4 * MINUTE)
            await one.has((BTC, "1m", START + 4 * MINUTE))
            await one.until(lambda: one.symbol(BTC)["gaps"] == 2)

        assert one.closes(BTC)[-2:] == [START + MINUTE, START + 4 * MINUTE]


async def test_a_closed_candle_that_arrives_different_is_a_correction_once(tmp_path: Path) -> None:
    async with running(BTC) as exchange:
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.serving()
            await exchange.advance(MINUTE)
            await one.has((BTC, "1m", START + MINUTE))
            exchange.other[BTC, "1m", START + MINUTE] = 104.5
            for _ in range(3):
                await exchange.close(BTC, "1m", START + MINUTE)
            await one.until(lambda: one.corrections)
            await one.until(lambda: one.symbol(BTC)["duplicates"] == 2)

        assert [correction.candle.close for correction in one.corrections] == [104.5]
        assert one.closes(BTC).count(START + MINUTE) == 1


async def test_what_was_missed_while_cut_off_is_repaired(tmp_path: Path) -> None:
    async with running(BTC, ETH) as exchange:
        async with rig(exchange, tmp_path, settings(exchange, BTC, ETH)) as one:
            await one.serving()
            await exchange.advance(MINUTE)
            await one.has((BTC, "1m", START + MINUTE))
            await exchange.drop()
            exchange.now = START + 7 * MINUTE
            await one.until(lambda: exchange.links)
            await exchange.advance(7 * MINUTE + 1_000)
            await one.ticked(START + STEP)
            await exchange.advance(8 * MINUTE)
            await one.has((BTC, "1m", START + 8 * MINUTE), (ETH, "1m", START + 8 * MINUTE))
            await one.no_fault()

        assert one.closes(BTC)[-8:] == every(START + MINUTE, START + 8 * MINUTE)
        assert one.closes(ETH)[-8:] == every(START + MINUTE, START + 8 * MINUTE)
        assert one.records.index(Tick(START + STEP)) > one.candles().index((BTC, "5m", START + STEP))
        assert one.bodies["streams"]["connections"][0]["reconnects"] >= 1
