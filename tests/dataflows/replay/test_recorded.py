"""Our frames and answers beside real ones: the same keys, the same kinds of values, the same prices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dataflows.replay.candles import DAY, HOUR, SPANS
from dataflows.replay.history import History
from dataflows.replay.instruments import Market
from tests.dataflows.replay.clients import everything, get, klines, streams
from tests.dataflows.replay.conftest import Opener

pytestmark = pytest.mark.market

SPOT_RECORDING = "spot_2021-10-12_nkn_blz_lrc_rune.jsonl"
FUTURES_RECORDING = "usdm_2021-07-22_sushi_akro_keep_ctk.jsonl"
MAY = 1_714_521_600_000  # 2024-05-01


def shape(value: Any, path: str = "") -> set[tuple[str, str]]:
    """Every key path of a JSON value with the kind of what is there."""
    if isinstance(value, dict):
        return {entry for key, inner in value.items() for entry in shape(inner, f"{path}.{key}")}
    if isinstance(value, list):
        return {entry for inner in value for entry in shape(inner, f"{path}[]")}
    return {(path, type(value).__name__)}


def recorded_klines(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / "raw" / "binance_ws" / name).read_text().splitlines()
    frames = [json.loads(json.loads(line)["raw"]) for line in lines]
    return [frame for frame in frames if "@kline_" in frame["stream"]]


@pytest.mark.parametrize(("market", "name"), [("spot", SPOT_RECORDING), ("um", FUTURES_RECORDING)])
async def test_kline_frames_have_the_keys_and_kinds_of_recorded_ones(
    opened: Opener, market_data: Path, market: Market, name: str
) -> None:
    exchange = await opened(market)
    async with streams(exchange, "btcusdt@kline_1m") as ws:
        ours = (await everything(ws, exchange))[-1]
    real = recorded_klines(market_data, name)

    assert real
    for frame in real:
        assert shape(frame) == shape(ours)
        k = frame["data"]["k"]
        assert k["T"] == k["t"] + 60_000 - 1
        assert list(frame["data"]) == list(ours["data"])
        assert list(k) == list(ours["data"]["k"])


async def test_kline_rows_have_the_kinds_of_recorded_ones(opened: Opener, market_data: Path) -> None:
    file = market_data / "raw" / "binance_rest" / "api_v3_klines_BTCUSDT_1h_2023-03-01.json"
    real = json.loads(file.read_text())[0]
    exchange = await opened(source=History(market_data, "spot", ("BTCUSDT",)), start=real[0] + DAY, end=None)
    ours = (await klines(exchange, "BTCUSDT", "1h", startTime=real[0], limit=1))[0]

    assert [type(value) for value in ours] == [type(value) for value in real]
    # The archive rounds some last digits of the sums; every figure is the same number.
    assert [float(value) for value in ours] == pytest.approx([float(value) for value in real], rel=1e-9)


@pytest.mark.parametrize(
    ("market", "path", "name"),
    [
        ("spot", "/api/v3/exchangeInfo", "api-v3-exchangeInfo-curated-BTCETHXVG_20260703T051738Z.json"),
        ("um", "/fapi/v1/exchangeInfo", "fapi-v1-exchangeInfo_20260703T051738Z.json"),
        ("um", "/fapi/v1/premiumIndex", "fapi-v1-premiumIndex_20260703T051738Z.json"),
    ],
)
async def test_answers_use_no_key_or_kind_that_recorded_ones_lack(
    opened: Opener, market_data: Path, market: Market, path: str, name: str
) -> None:
    real = json.loads((market_data / "raw" / "binance_rest" / name).read_text())
    ours = (await get(await opened(market), path)).json()

    assert shape(ours) - shape(real) - {(".simulated", "bool")} == set()


async def test_funding_rows_have_the_keys_of_recorded_ones(opened: Opener, market_data: Path) -> None:
    name = "fapi-v1-fundingRate-BTCUSDT-limit20_20260704T155543Z.json"
    real = json.loads((market_data / "raw" / "binance_rest" / name).read_text())
    ours = (await get(await opened("um"), "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=20)).json()

    assert shape(real) <= shape(ours)
    assert shape(ours) - shape(real) == {("[].rateType", "str")}  # new since July 2026


@pytest.mark.parametrize("interval", ["5m", "1h"])
async def test_every_real_close_is_pushed_once_with_the_real_prices(
    opened: Opener, market_data: Path, interval: str
) -> None:
    history = History(market_data, "spot")
    end = MAY + 12 * HOUR
    exchange = await opened(source=history, start=MAY, end=end)
    names = [f"{symbol.lower()}@kline_{interval}" for symbol in history.symbols]
    async with streams(exchange, *names) as ws:
        pushed = [frame["data"]["k"] for frame in await everything(ws, exchange)]

    for symbol in history.symbols:
        file = market_data / "klines" / "spot" / interval / f"{symbol}.parquet"
        opened_ = pl.col("open_time")
        rows = (
            pl.read_parquet(file)
            .filter((opened_ >= MAY - SPANS[interval]) & (opened_ < end))
            .sort("open_time")
        )
        mine = [k for k in pushed if k["s"] == symbol]

        assert [k["t"] for k in mine] == rows["open_time"].to_list()
        for key, column in (("o", "open"), ("h", "high"), ("l", "low"), ("c", "close")):
            assert [float(k[key]) for k in mine] == rows[column].to_list()
        assert [float(k["v"]) for k in mine] == pytest.approx(rows["volume"].to_list(), rel=1e-12)


async def test_real_futures_are_played_with_their_digits(opened: Opener, market_data: Path) -> None:
    history = History(market_data, "um", ("1000PEPEUSDT", "BTCUSDT"))
    exchange = await opened("um", source=history, start=MAY, end=MAY + DAY)
    async with streams(exchange, "1000pepeusdt@kline_1h", "btcusdt@kline_4h") as ws:
        pushed = [frame["data"]["k"] for frame in await everything(ws, exchange)]
    rows = history.candles("1000PEPEUSDT", "1h", MAY - HOUR, MAY + DAY).values[:, 3].tolist()
    funding = (await get(exchange, "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=2)).json()

    assert [float(k["c"]) for k in pushed if k["s"] == "1000PEPEUSDT"] == rows
    assert len([k for k in pushed if k["s"] == "BTCUSDT"]) == 7
    assert len(funding) == 2
