"""The futures data on a simulated exchange: everything promised comes, and nothing that fails ends it."""

from __future__ import annotations

import asyncio
import json
from math import isfinite

import pytest

from dataflows.connectors.futures.tape import BUCKET
from dataflows.replay.candles import DAY, HOUR
from dataflows.replay.faults import Fault
from dataflows.replay.simulate import Simulated
from engine.providers.binance import METRICS
from tests.dataflows.connectors.futures.rig import CONTRACTS, START, running

SYMBOLS = ("BTCUSDT", "PEPEUSDT", "WIFUSDT", "NOSUCHUSDT")
STORMY = 4
"""A seed whose WIFUSDT has forced orders soon after `START`."""


async def test_every_promised_metric_comes_of_every_coin_with_a_contract_and_of_no_other() -> None:
    async with running(*SYMBOLS) as rig:
        whose = {"asset": ("BTC", "PEPE", "WIF"), "market": ("",)}
        wanted = {(f"binance.{name}", asset) for name, one in METRICS.items() for asset in whose[one.of]}
        await rig.until(
            lambda: {(one.name, one.asset) for one in rig.metrics} == wanted and rig.body["state"] == "ok",
            "everything",
        )
        market, body, now = Simulated(CONTRACTS, 1, "um"), rig.body, rig.hearing.now()
        asked = dict(rig.exchange.gate.statuses)

    pepe = {time: amount for time, amount, _ in market.open_interest("1000PEPEUSDT", START - DAY, now)}
    mine = rig.of("open_interest", "PEPE")
    settled = {time: rate for time, rate, _ in market.funding("BTCUSDT", START - 8 * DAY, now)}
    assert len(mine) > 24
    assert all(value == pytest.approx(pepe[time] * 1000) for time, value in mine.items() if time in pepe)
    assert len(rig.of("funding", "BTC")) >= 21
    assert rig.of("funding", "BTC").items() <= settled.items()
    assert rig.of("funding_8h", "BTC") == pytest.approx(rig.of("funding", "BTC"))
    assert set(asked) == {"200"}
    assert set(body["metrics"]) == set(METRICS)
    assert all(START - 9 * DAY < one.time <= one.learned and isfinite(one.value) for one in rig.metrics)
    assert json.loads(json.dumps(body)) == body
    assert (body["contracts"], body["breaker"], body["stream"][0]["streams"]) == (3, "closed", 8)


async def test_the_past_is_handed_on_by_the_hour_and_nothing_twice() -> None:
    async with running("BTCUSDT", liquidations=False) as rig:
        await rig.until(lambda: len(rig.of("taker_ratio", "BTC")) > 42, "news after the past")
        found = [(one.name, one.asset, one.time) for one in rig.metrics]
        times = sorted(rig.of("account_ratio", "BTC"))

    assert len(found) == len(set(found))
    assert {time % HOUR for time in times[:40]} == {0}
    assert times[39] - times[0] == 39 * HOUR


async def test_the_buckets_hold_the_forced_orders_of_their_five_minutes() -> None:
    market = Simulated(CONTRACTS, STORMY, "um")
    orders = market.liquidations("WIFUSDT", START, START + DAY)
    begin = orders[0][0] // BUCKET * BUCKET - 2 * BUCKET
    async with running("WIFUSDT", "BTCUSDT", start=begin, seed=STORMY) as rig:
        await rig.until(lambda: sum(rig.of("liquidations", "WIF").values()) > 0, "a forced order")
        counts, longs, shorts = (
            rig.of(name, "WIF") for name in ("liquidations", "liquidated_long_usd", "liquidated_short_usd")
        )

    for end, count in counts.items():
        mine = market.liquidations("WIFUSDT", end - BUCKET, end)
        sums = {
            side: sum(amount * price for _, by, amount, price in mine if by == side)
            for side in ("SELL", "BUY")
        }
        assert count == len(mine)
        # The exchange writes amounts and prices with so many digits.
        assert longs[end] == pytest.approx(sums["SELL"], rel=1e-2)
        assert shorts[end] == pytest.approx(sums["BUY"], rel=1e-2)


async def test_a_lost_connection_leaves_a_hole_and_comes_back() -> None:
    async with running("BTCUSDT") as rig:
        await rig.until(lambda: rig.of("mark_price", "BTC"), "a mark price")
        lost = rig.hearing.now()
        rig.exchange.add(Fault("drop"))
        await rig.until(lambda: rig.body["stream"][0]["reconnects"] == 1, "the loss")
        await rig.until(lambda: max(rig.of("liquidations", "BTC"), default=0) > lost, "a bucket after it")
        ends = set(rig.of("liquidations", "BTC"))
        await rig.until(lambda: rig.body["state"] == "ok", "health")

    assert lost // BUCKET * BUCKET + BUCKET not in ends


async def test_a_location_that_is_not_served_is_named_asked_once_and_the_stream_goes_on() -> None:
    async with running("BTCUSDT", faults=[Fault("status", status=451)]) as rig:
        await rig.until(lambda: rig.of("mark_price", "BTC"), "a mark price")
        body, asked = rig.body, rig.exchange.gate.requests["/fapi/v1/premiumIndex"]

    assert (body["state"], body["breaker"], asked) == ("stale", "open", 1)
    assert "location" in body["reason"]
    assert (body["error"]["class"], body["last_success"]) == ("Refused", None)
    assert body["retry_at"] > body["error"]["at"]


async def test_with_rest_and_stream_refused_it_is_down() -> None:
    faults = [Fault("status", status=403), Fault("refuse")]
    async with running("BTCUSDT", faults=faults) as rig:
        await rig.until(lambda: rig.body["breaker"] == "open", "the refusal")
        await rig.until(lambda: "503" in rig.body["reason"], "the refused connection")
        body = rig.body

    assert body["state"] == "down"
    assert "firewall" in body["reason"]
    assert rig.metrics == []


async def test_it_waits_for_as_long_as_it_is_asked_to_and_goes_on() -> None:
    limited = Fault("status", status=429, retry_after=1, times=1, path="/fapi/v1/premiumIndex")
    async with running("BTCUSDT", faults=[limited], liquidations=False) as rig:
        await rig.until(lambda: rig.body["breaker"] == "open", "the pause")
        paused = rig.body
        await rig.until(lambda: rig.of("open_interest", "BTC"), "numbers after it")
        body = rig.body

    assert paused["error"]["class"] == "RateLimited"
    assert "429" in paused["reason"]
    assert (body["state"], body["breaker"], body["reason"]) == ("ok", "closed", None)


async def test_what_one_question_meets_ends_no_round() -> None:
    faults = [
        Fault("truncated", times=1, path="/futures/data/openInterestHist"),
        Fault("status", status=503, times=1, path="/futures/data/topLongShortPositionRatio"),
        Fault("status", status=400, times=1, path="/futures/data/topLongShortAccountRatio"),
    ]
    async with running("BTCUSDT", faults=faults, liquidations=False) as rig:
        await rig.until(lambda: rig.of("taker_ratio", "BTC"), "the last of the round")
        first, names = rig.body, {one.name.partition(".")[2] for one in rig.metrics}
        failed = {"open_interest", "top_position_ratio", "top_account_ratio"}
        await rig.until(lambda: all(rig.of(name, "BTC") for name in failed), "what had failed")

    assert not names & failed
    assert (first["state"], first["error"]["class"]) == ("ok", "NotServed")


async def test_the_retired_address_is_told_and_not_tried() -> None:
    async with running("BTCUSDT", stream="wss://fstream.binance.com") as rig:
        await rig.until(lambda: rig.of("open_interest", "BTC"), "statistics")
        body = rig.body

    assert (body["state"], body["stream"]) == ("stale", [])
    assert "withholds" in body["reason"]


async def test_switched_off_it_asks_nothing_and_goes_on_for_ever() -> None:
    async with running("BTCUSDT", enabled=False) as rig:
        await asyncio.sleep(0.1)

        assert not rig.task.done()
        assert rig.exchange.gate.requests["/fapi/v1/premiumIndex"] == 0
        assert (rig.body["state"], rig.body["reason"]) == ("disabled", "futures.enabled is false")
