"""Futures beside a spot exchange: another port, the same clock, the same coins."""

from __future__ import annotations

import socket

import pytest

from dataflows.cli import addresses, spoken
from dataflows.replay.candles import DAY, HOUR, MINUTE
from dataflows.replay.clock import Follower, ReplayClock
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.faults import Fault
from dataflows.replay.serve import open_contracts, serve
from dataflows.replay.simulate import Simulated
from engine.errors import SettingsError
from tests.dataflows.replay.clients import closes, eventually, get, klines, receive, streams
from tests.dataflows.replay.conftest import START

COINS = ("BTCUSDT", "PEPEUSDT")


def pair(speed: float = 600.0) -> tuple[ReplayExchange, ReplayExchange]:
    spot = ReplayExchange("spot", Simulated(COINS, 3), START, START + 20 * DAY, speed, prepare=0)
    contracts = open_contracts("spot", None, simulate=True, seed=3, symbols=COINS)
    return spot, spot.beside("um", contracts, prepare=0)


async def test_both_answer_on_ports_of_their_own_by_one_clock() -> None:
    spot, futures = pair()
    async with spot:
        before = spot.clock.now()
        told = (await get(futures, "/fapi/v1/time")).json()["serverTime"]
        after = spot.clock.now()
        listed = (await get(futures, "/fapi/v1/exchangeInfo")).json()["symbols"]
        absent = await get(spot, "/fapi/v1/time")

    assert spot.port != futures.port
    assert before <= told <= after
    assert [one["symbol"] for one in listed] == ["BTCUSDT", "1000PEPEUSDT"]
    assert absent.status_code == 404


async def test_both_play_the_same_market_in_their_own_units() -> None:
    spot, futures = pair()
    async with spot:
        mine = await klines(spot, "PEPEUSDT", "1h", startTime=START - DAY, limit=5)
        theirs = await klines(futures, "1000PEPEUSDT", "1h", startTime=START - DAY, limit=5)

    assert [row[0] for row in theirs] == [row[0] for row in mine]
    for coin, contract in zip(mine, theirs, strict=True):
        assert float(contract[4]) / 1000 == pytest.approx(float(coin[4]), rel=2e-3)


async def test_marks_come_by_stream_with_the_premium_that_rest_tells() -> None:
    spot, futures = pair()
    async with spot, streams(futures, "btcusdt@markPrice@1s", "btcusdt@forceOrder") as ws:
        mark = (await receive(ws))["data"]
        premium = (await get(futures, "/fapi/v1/premiumIndex", symbol="BTCUSDT")).json()

    bases = [
        float(mark["p"]) / float(mark["i"]) - 1,
        float(premium["markPrice"]) / float(premium["indexPrice"]) - 1,
    ]
    assert START < mark["E"] <= spot.clock.now()
    assert bases[0] == pytest.approx(bases[1], abs=1e-4)
    assert all(0 < abs(basis) < 0.002 for basis in bases)


async def test_faults_of_one_are_not_faults_of_the_other() -> None:
    spot, futures = pair()
    async with spot:
        futures.add(Fault("status", status=451))
        refused, served = await get(futures, "/fapi/v1/time"), await get(spot, "/api/v3/time")

    assert (refused.status_code, served.status_code) == (451, 200)


async def test_at_full_speed_the_follower_goes_where_the_clients_of_the_first_have_come() -> None:
    spot, futures = pair(float("inf"))
    async with spot:
        still = (await get(futures, "/fapi/v1/time")).json()["serverTime"]
        async with streams(spot, "btcusdt@kline_1m") as ws:
            await closes(ws, 30)
        moved = (await get(futures, "/fapi/v1/time")).json()["serverTime"]

    assert still == START
    assert moved >= START + 30 * MINUTE


async def test_the_second_ends_with_the_first_and_a_taken_port_ends_both() -> None:
    spot, futures = pair()
    async with spot:
        await eventually(lambda: futures.player.phase == "running")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other, _ = pair()
        other.beside("um", Simulated(("BTCUSDT",), 1, "um"), taken.getsockname()[1])
        with pytest.raises(SettingsError, match="cannot listen"):
            await other.start()

    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", futures.port), timeout=1)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", other.port), timeout=1)


def test_a_follower_reads_and_never_moves_the_clock() -> None:
    lead = ReplayClock(START, START + HOUR, float("inf"))
    follower = Follower(lead)
    follower.run()
    follower.pause()
    follower.move(START + MINUTE)
    before = lead.now()
    lead.move(START + 2 * HOUR)

    assert (before, follower.now(), follower.ended) == (START, START + HOUR, True)


def test_futures_are_served_beside_spot_only() -> None:
    with pytest.raises(SettingsError, match="beside spot only; market is um"):
        serve(market="um", simulate=True, start=START, futures_port=0)


def test_the_command_prints_where_both_are() -> None:
    spot, futures = pair()

    assert addresses(spot)["um"] == {"rest": futures.url, "stream": futures.stream_url}
    assert addresses(futures) == {"rest": futures.url, "stream": futures.stream_url}
    assert spoken(spot, None) == [f"{spot.url}  {spot.stream_url}", f"{futures.url}  {futures.stream_url}"]
