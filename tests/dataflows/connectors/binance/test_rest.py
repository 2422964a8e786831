"""REST within its limits: what is asked again, what is not, and what a refusal says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import numpy as np
import pytest

from dataflows.connectors.binance.backoff import Backoff, Connects
from dataflows.connectors.binance.history import History, Span
from dataflows.connectors.binance.market import Ask
from dataflows.connectors.binance.rest import Rest
from dataflows.connectors.binance.weights import Weights
from engine.errors import CorruptRecord, RateLimited, Refused, SourceError, UnknownSymbol
from tests.dataflows.connectors.binance.exchange import MINUTE, START, Exchange, running

BTC = "BTCUSDT"


@asynccontextmanager
async def asking(*, unix: float = 1_000.0, timeout: float = 2.0) -> AsyncIterator[tuple[Exchange, Rest]]:
    """An exchange, and a client whose minute of weight stands still."""
    rng = np.random.default_rng(0)
    async with running(BTC) as exchange:
        weights = Weights(6_000, 0.5, unix=lambda: unix)
        backoff = Backoff(first=0.01, most=0.02, rng=rng)
        url = f"http://{exchange.url}"
        async with Rest(url, "spot", weights, backoff, timeout=timeout, unix=lambda: unix) as rest:
            yield exchange, rest


@pytest.mark.parametrize(
    "answer", [(500, b"{}"), (503, b"<html>busy"), (200, b'{"serverTime":17'), (200, b""), (502, b"")]
)
async def test_a_passing_failure_is_asked_again_until_the_answer_comes(answer: tuple[int, bytes]) -> None:
    async with asking() as (exchange, rest):
        tries = count()
        exchange.rest = lambda path, query: (answer[0], {}, answer[1]) if next(tries) < 3 else None

        assert await rest.time() == exchange.now
        assert rest.fault == ""
        assert len(exchange.requests) == 4


async def test_a_lasting_failure_is_given_up_and_named() -> None:
    async with asking() as (exchange, rest):
        exchange.rest = lambda path, query: (500, {}, b'{"code":-1000,"msg":"oops"}')

        with pytest.raises(SourceError, match="/api/v3/time: 500 oops"):
            await rest.time()
        assert len(exchange.requests) == 4
        assert "oops" in rest.fault


@pytest.mark.parametrize(
    ("status", "headers", "wait", "state"),
    [
        (429, {"Retry-After": "17"}, 17, "limited"),
        (429, {}, 60, "limited"),
        (418, {"Retry-After": "120"}, 120, "banned"),
    ],
)
async def test_a_limit_is_never_asked_against(
    status: int, headers: dict[str, str], wait: float, state: str
) -> None:
    async with asking() as (exchange, rest):
        exchange.rest = lambda path, query: (status, headers, b'{"code":-1003,"msg":"Too much"}')

        for _ in range(3):
            with pytest.raises(RateLimited) as limited:
                await rest.time()
        assert (limited.value.retry_after, limited.value.banned) == (wait, state == "banned")
        assert (rest.state, rest.retry_at_ms) == (state, int((1_000 + wait) * 1_000))
        assert len(exchange.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (
            451,
            b'{"code":0,"msg":"Service unavailable from a restricted location"}',
            "does not serve this location",
        ),
        (403, b"<html><head><title>403 Forbidden</title></head></html>", "firewall"),
        (400, b'{"code":-1102,"msg":"Mandatory parameter"}', "400 Mandatory parameter"),
    ],
)
async def test_a_refusal_is_not_repeated_and_says_why(status: int, body: bytes, text: str) -> None:
    async with asking() as (exchange, rest):
        exchange.rest = lambda path, query: (status, {}, body)

        with pytest.raises(Refused, match=text) as refused:
            await rest.time()
        assert refused.value.status == status
        assert len(exchange.requests) == 1


async def test_an_unknown_symbol_is_told_from_a_refusal() -> None:
    async with asking() as (_, rest):
        with pytest.raises(UnknownSymbol, match="NOPEUSDT: Invalid symbol"):
            await rest.klines("NOPEUSDT", "1m", START, START)


async def test_one_unknown_symbol_does_not_hide_the_others() -> None:
    async with asking() as (_, rest):
        body = await rest.exchange_info([BTC, "NOPEUSDT"])

        assert [row["symbol"] for row in body["symbols"]] == [BTC]


async def test_an_exchange_that_is_not_there_is_a_fault_of_the_source() -> None:
    async with asking() as (_, rest):
        rng = np.random.default_rng(0)
        quick = Backoff(first=0.001, most=0.001, rng=rng)
        async with Rest("http://127.0.0.1:9", "spot", rest.weights, quick) as nobody:
            with pytest.raises(SourceError, match="/api/v3/time: ConnectError"):
                await nobody.time()


async def test_a_slow_answer_is_given_up() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            for _ in range(1_000):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    quick = Backoff(first=0.001, most=0.001, rng=np.random.default_rng(0))
    async with (
        server,
        Rest(f"http://127.0.0.1:{port}", "spot", Weights(), quick, timeout=0.1, attempts=2) as rest,
    ):
        with pytest.raises(SourceError, match="TimeoutError"):
            await rest.time()


async def test_the_exchanges_own_count_of_weight_is_taken_over() -> None:
    async with asking() as (exchange, rest):
        exchange.rest = lambda path, query: (200, {"X-MBX-USED-WEIGHT-1M": "2990"}, b'{"serverTime":5}')
        await rest.time()

        assert rest.weights.used == 2_990
        assert rest.weights.wait(10) == 0
        assert rest.weights.wait(11) == 60 - 1_000 % 60


def test_a_new_minute_brings_a_new_budget() -> None:
    now = [30.0]
    weights = Weights(100, 0.5, unix=lambda: now[0])
    asyncio.run(weights.take(50))

    assert weights.wait(1) == 30
    now[0] = 60.0
    assert weights.wait(50) == 0


def test_connection_attempts_are_bounded_in_any_window() -> None:
    now = [0.0]
    connects = Connects(3, 300.0, wall=lambda: now[0])
    for now[0] in (0.0, 100.0, 200.0):
        asyncio.run(connects.take())
    now[0] = 250.0

    assert connects._wait() == 50
    now[0] = 300.0
    assert connects._wait() == 0


def test_delays_grow_to_their_cap_and_differ() -> None:
    backoff = Backoff(0.5, 2, 30, 0.5, rng=np.random.default_rng(0))
    delays = [backoff.delay(attempt) for attempt in range(12)]

    assert all(low <= delay <= high for delay, low, high in zip(delays, LOWS, HIGHS, strict=True))
    assert len(set(delays)) == 12


HIGHS = [min(30, 0.5 * 2**attempt) for attempt in range(12)]
LOWS = [high / 2 for high in HIGHS]


async def test_long_history_is_fetched_page_by_page_and_bad_rows_are_left_out() -> None:
    async with asking() as (exchange, rest):
        exchange.now = START
        exchange.absent = {(BTC, "1m", START - minute * MINUTE) for minute in (5, 1_500, 1_501)}
        exchange.other[BTC, "1m", START - 7 * MINUTE] = float("nan")
        corrupt: list[CorruptRecord] = []
        history = History(rest, lambda symbol, interval, error: corrupt.append(error))

        candles = await history.fetch(Ask(BTC, "1m", START - 2_499 * MINUTE, START))

        minutes = [(START - candle.time) // MINUTE for candle in candles]
        assert minutes == [n for n in range(2_499, -1, -1) if n not in (5, 7, 1_500, 1_501)]
        assert len(corrupt) == 1
        assert sum("klines" in request for request in exchange.requests) == 3


def test_a_market_that_missed_too_much_starts_afresh() -> None:
    newest = {(BTC, "1m"): START - 10_000 * MINUTE}

    assert Span(100, START, newest).ask(BTC, "1m") == Ask(BTC, "1m", START - 99 * MINUTE, START)
    assert Span(1_000, START, newest).ask(BTC, "1m") == Ask(BTC, "1m", START - 9_999 * MINUTE, START)
    assert Span(100, START, {(BTC, "1m"): START}).ask(BTC, "1m") is None
