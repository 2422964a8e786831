"""Every fault of the exchange over real sockets: nothing lost or doubled, and a name while it lasts."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from engine.errors import StorageError
from engine.records import Tick
from tests.dataflows.connectors.binance.exchange import MINUTE, START, Exchange, running
from tests.dataflows.connectors.binance.rig import STEP, Rig, rig, settings

BTC, ETH = "BTCUSDT", "ETHUSDT"
SHUTDOWN = orjson.dumps({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": START}})


def every(first: int, last: int) -> list[int]:
    return list(range(START + first * MINUTE, START + last * MINUTE + 1, MINUTE))


async def whole(one: Rig, symbol: str, last: int) -> None:
    """Wait for minute `last`, then check that every minute since the start came once and in order."""
    await one.has((symbol, "1m", START + last * MINUTE))
    assert one.closes(symbol)[-last:] == every(1, last)


async def test_a_silent_symbol_in_a_live_connection_is_named_repaired_and_subscribed_anew(
    tmp_path: Path,
) -> None:
    async with running(BTC, ETH) as exchange:
        async with rig(exchange, tmp_path, settings(exchange, BTC, ETH)) as one:
            await one.serving()
            exchange.frozen = {ETH}
            for seconds in range(20, 150, 10):
                await exchange.advance(seconds * 1000)
            await one.fault("ETHUSDT silent for 13")
            state = one.symbol(ETH)["state"], one.symbol(BTC)["state"]
            await one.until(lambda: exchange.connected == 2 and len(exchange.links) == 1, "a new connection")
            await exchange.advance(STEP + 6_000)
            await one.ticked(START + STEP)
            exchange.frozen = set()
            await exchange.advance(STEP + 10_000)
            await one.no_fault()

        assert state == ("silent", "ok")
        assert one.closes(ETH)[-5:] == every(1, 5)
        assert one.symbol(ETH)["repaired"] == 6
        assert one.records.index(Tick(START + STEP)) > one.candles().index((ETH, "5m", START + STEP))


async def test_an_announced_end_is_met_by_a_second_connection_before_the_first_is_closed(
    tmp_path: Path,
) -> None:
    async with running(BTC) as exchange:
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.serving()
            await exchange.write(exchange.links[0][0], SHUTDOWN)
            await one.until(lambda: exchange.connected == 2, "a second connection")
            await exchange.advance(MINUTE)
            await whole(one, BTC, 1)

        assert exchange.together == 2
        assert one.bodies["streams"]["connections"][0]["reconnects"] == 0


async def test_closes_heard_on_both_connections_are_handed_on_once(tmp_path: Path) -> None:
    async with running(BTC) as exchange:
        exchange.greet = False
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.until(lambda: exchange.links)
            await exchange.form()
            await one.serving()
            await exchange.write(exchange.links[0][0], SHUTDOWN)
            await one.until(lambda: len(exchange.links) == 2, "a second connection")
            await exchange.close(BTC, "1m", START + MINUTE)
            await one.until(lambda: len(exchange.links) == 1, "the end of the first connection")
            await one.until(lambda: one.symbol(BTC)["duplicates"] == 1)
            exchange.now = START + MINUTE
            await exchange.advance(2 * MINUTE)
            await whole(one, BTC, 2)


async def test_a_connection_that_grows_old_is_replaced_without_a_break(tmp_path: Path) -> None:
    async with running(BTC) as exchange:
        exchange.now = START + MINUTE
        async with rig(exchange, tmp_path, settings(exchange, BTC, rotate_after=0.3)) as one:
            await one.serving()
            await one.until(lambda: exchange.connected >= 3, "two rotations")
            await exchange.advance(3 * MINUTE)
            await one.has((BTC, "1m", START + 3 * MINUTE))

        assert exchange.together == 2
        assert one.bodies["streams"]["connections"][0]["reconnects"] == 0


async def test_a_connection_that_only_pings_is_replaced(tmp_path: Path) -> None:
    async with (
        running(BTC) as exchange,
        rig(exchange, tmp_path, settings(exchange, BTC, idle_timeout=0.3)) as one,
    ):
        await one.serving()
        await one.fault("stream 0 reconnecting: no frame for")
        await one.until(lambda: exchange.connected >= 2, "another connection")
        await exchange.advance(2 * MINUTE)
        await whole(one, BTC, 2)


async def test_garbage_and_monstrous_frames_lose_nothing(tmp_path: Path) -> None:
    async with running(BTC) as exchange, rig(exchange, tmp_path, settings(exchange, BTC)) as one:
        await one.serving()
        await exchange.send(BTC, "1m", b"]garbage[")
        await one.fault("corrupt: frame is not JSON")
        await exchange.send(BTC, "1m", b"x" * (2 << 20))
        await one.until(lambda: exchange.connected == 2 and exchange.links, "another connection")
        await exchange.advance(MINUTE)
        await whole(one, BTC, 1)


@pytest.mark.parametrize("close", ["NaN", "0", "-5", "1e12"])
async def test_a_corrupt_close_is_named_and_fetched_from_rest(tmp_path: Path, close: str) -> None:
    async with running(BTC) as exchange:
        exchange.lost = {(BTC, "1m", START + MINUTE)}
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.serving()
            raw = orjson.loads(exchange.frame(BTC, "1m", START + MINUTE, START + MINUTE + 40, closed=True))
            raw["data"]["k"] |= {"c": close, "h": "1e13"}
            exchange.now = START + MINUTE + 100
            await exchange.send(BTC, "1m", orjson.dumps(raw))
            if close != "1e12":
                await one.fault("corrupt: BTCUSDT 1m candle closing at 1710000060000: close was")
            await exchange.advance(MINUTE + 3_000)
            await whole(one, BTC, 1)
            await one.until(lambda: one.symbol(BTC)["repaired"] == 1)

        assert one.corrections == []


async def test_an_event_from_the_far_future_does_not_move_the_stream(tmp_path: Path) -> None:
    async with running(BTC) as exchange:
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.serving()
            far = START + 1_000 * STEP
            await exchange.send(BTC, "1m", exchange.frame(BTC, "1m", far, far, closed=True))
            await one.fault("ahead of the exchange's clock")
            await exchange.advance(STEP + 6_000)
            await one.ticked(START + STEP)
            await whole(one, BTC, 5)

        assert max(one.ticks) == START + STEP


def questions(exchange: Exchange) -> int:
    return sum("klines" in request for request in exchange.requests)


@pytest.mark.parametrize(("status", "wait", "state"), [(429, "1", "limited"), (418, "2", "banned")])
async def test_a_limit_is_kept_and_named_and_what_was_missed_comes_after_it(
    tmp_path: Path, status: int, wait: str, state: str
) -> None:
    async with running(BTC) as exchange:
        exchange.lost = {(BTC, "1m", START + MINUTE)}
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.serving()
            exchange.rest = lambda path, query: (status, {"Retry-After": wait}, b"{}")
            await exchange.advance(MINUTE + 3_000)
            await one.fault(f"rest {status}: {state}")
            found, before = one.bodies["streams"]["rest"], questions(exchange)
            for second in range(4, 20):
                await exchange.advance(MINUTE + second * 1_000)
            during = questions(exchange)
            exchange.rest = lambda path, query: None
            await one.until(lambda: one.bodies["streams"]["rest"]["state"] == "ok")
            await exchange.advance(MINUTE + 50_000)
            await whole(one, BTC, 1)
            await one.no_fault()

        assert (found["state"], during) == (state, before)
        assert found["retry_at"] is not None
        assert one.symbol(BTC)["gaps"] == 0


async def test_live_closes_go_on_while_rest_fails(tmp_path: Path) -> None:
    async with running(BTC, ETH) as exchange:
        exchange.lost = {(ETH, "5m", START + STEP)}
        async with rig(exchange, tmp_path, settings(exchange, BTC, ETH)) as one:
            await one.serving()
            exchange.rest = lambda path, query: (503, {}, b"<html>")
            await exchange.advance(STEP + 6_000)
            await one.ticked(START + STEP)
            await whole(one, BTC, 5)
            await one.fault("rest /api/v3/klines: 503")

        assert (ETH, "5m", START + STEP) not in one.candles()


async def test_a_full_disk_ends_the_feed_with_its_reason(tmp_path: Path) -> None:
    async with running(BTC) as exchange:
        async with rig(exchange, tmp_path, settings(exchange, BTC)) as one:
            await one.serving()

            def full(records: object) -> list[int]:
                raise StorageError("journal.db: cannot append: database or disk is full")

            one.journal.append = full  # type: ignore[method-assign]
            await exchange.advance(MINUTE)
            error = await one.error()

        assert isinstance(error, StorageError)
        assert "disk is full" in str(error)
