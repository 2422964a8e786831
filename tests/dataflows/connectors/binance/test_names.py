"""Names of the exchange end at the door: a renamed coin goes on, a thousandfold contract is told per coin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.connectors.binance.universe import asked, listed
from engine.errors import SourceError
from engine.records import Candle, Universe
from engine.symbols import instant
from tests.dataflows.connectors.binance.exchange import MINUTE, START, running
from tests.dataflows.connectors.binance.rig import rig, settings
from tests.dataflows.connectors.binance.test_parse import market

END = instant("2024-09-10T03:00+00:00")
BEGIN = instant("2024-09-13T10:00+00:00")


async def test_a_renamed_coin_leaves_and_comes_back_under_its_new_name_with_a_gap(tmp_path: Path) -> None:
    async with running("BTCUSDT", "MATICUSDT") as exchange:
        exchange.now = END - 10 * MINUTE + 10_000
        one_settings = settings(exchange, "BTCUSDT", "POLUSDT", check_every=60.0)
        async with rig(exchange, tmp_path, one_settings) as one:
            await one.serving()
            await exchange.advance(END - START)
            exchange.status["MATICUSDT"] = "BREAK"
            await exchange.advance(END - START + 3 * MINUTE)
            await one.fault("POLUSDT absent: POLUSDT did not trade on spot at 2024-09-10T03:03")
            exchange.status["POLUSDT"] = "TRADING"
            exchange.listed["POLUSDT"] = BEGIN
            exchange.now = BEGIN + 3 * MINUTE + 10_000
            await exchange.form()
            await one.until(lambda: exchange.subscribed and "polusdt@kline_1m" in exchange.subscribed)
            await exchange.advance(BEGIN - START + 12 * MINUTE)
            await one.has(("POLUSDT", "1m", BEGIN + 12 * MINUTE), ("POLUSDT", "5m", BEGIN + 10 * MINUTE))

        names = [
            [listing.exchange_symbol for listing in record.listings]
            for record in one.records
            if isinstance(record, Universe)
        ]
        minutes = one.closes("POLUSDT")
        assert names == [["BTCUSDT", "MATICUSDT"], ["BTCUSDT"], ["BTCUSDT", "POLUSDT"]]
        assert minutes[minutes.index(END) + 1 :] == [BEGIN + n * MINUTE for n in range(1, 13)]


async def test_a_start_after_a_renaming_fetches_both_names(tmp_path: Path) -> None:
    async with running("MATICUSDT", "POLUSDT") as exchange:
        exchange.status["MATICUSDT"] = "BREAK"
        exchange.listed["POLUSDT"] = BEGIN
        exchange.now = BEGIN + 10 * 3_600_000 + 10_000
        async with rig(exchange, tmp_path, settings(exchange, "POLUSDT", warm_up=30)) as one:
            await one.serving()
            await one.has(("POLUSDT", "5m", BEGIN + 10 * 3_600_000))

        step = 14_400_000
        newest = exchange.now // step * step
        grid = range(newest - 29 * step, newest + 1, step)
        assert one.closes("POLUSDT", "4h") == [time for time in grid if time <= END or time > BEGIN]
        assert one.closes("POLUSDT", "4h")[0] < END


async def test_a_thousandfold_contract_is_told_per_coin_by_frames_and_rest_alike(tmp_path: Path) -> None:
    async with running("1000PEPEUSDT") as exchange:
        exchange.lost = {("1000PEPEUSDT", "1m", START + MINUTE)}
        async with rig(exchange, tmp_path, settings(exchange, "PEPEUSDT", market="um")) as one:
            await one.serving()
            await exchange.advance(3 * MINUTE)
            await one.has(("PEPEUSDT", "1m", START + 3 * MINUTE))

        (universe,) = [record for record in one.records if isinstance(record, Universe)]
        candles = {one.time: one for one in one.records if isinstance(one, Candle) and one.interval == "1m"}
        assert universe.listings[0].exchange_symbol == "1000PEPEUSDT"
        assert universe.listings[0].price_step == 0.01 / 1000
        for time in (START, START + MINUTE, START + 2 * MINUTE):
            assert candles[time].close == exchange.price("1000PEPEUSDT", time) / 1000
            assert candles[time].volume == 5_000
        assert set(exchange.paths) == {"/market/stream"}
        assert one.prices["PEPEUSDT"].price < 1


def test_a_coin_between_two_names_is_not_asked_about() -> None:
    assert asked(["BTCUSDT", "POLUSDT"], "spot", END + 1) == ["BTCUSDT"]
    assert asked(["POLUSDT"], "spot", BEGIN + 1) == ["POLUSDT"]


def test_an_answer_that_is_no_exchange_info_is_the_sources_fault() -> None:
    empties: tuple[Any, ...] = ({}, [], {"symbols": 3}, {"symbols": [{}]})
    for body in empties:
        with pytest.raises(SourceError, match="exchangeInfo"):
            listed(body, {"BTCUSDT": "majors"}, "spot", START)


@pytest.mark.market
def test_the_real_list_of_futures_is_read() -> None:
    body = orjson.loads(
        (market() / "binance_rest" / "fapi-v1-exchangeInfo_20260703T051738Z.json").read_bytes()
    )
    segments = {"BTCUSDT": "majors", "PEPEUSDT": "memes", "POLUSDT": "alts", "NOPEUSDT": "alts"}

    found = listed(body, segments, "um", body["serverTime"])

    assert [one.exchange_symbol for one in found.listings] == ["BTCUSDT", "1000PEPEUSDT", "POLUSDT"]
    assert found.listings[1].price_step == pytest.approx(1e-10)
    assert found.absent == {"NOPEUSDT": ("absent", "NOPEUSDT is not listed on um")}


@pytest.mark.market
def test_the_real_list_of_halted_pairs_is_read() -> None:
    name = "api-v3-exchangeInfo-symbols_20260718T042314Z.json"
    body: Any = orjson.loads((market() / "binance_rest" / name).read_bytes())

    found = listed(body, {"XMRUSDT": "alts"}, "spot", body["serverTime"])

    assert found.listings == ()
    assert found.absent["XMRUSDT"] == ("halted", "XMRUSDT is in status BREAK on spot")
