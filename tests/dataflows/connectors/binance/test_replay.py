"""The feed against the replay exchange: an accelerated market with faults arrives whole."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance.feed import BinanceFeed
from dataflows.connectors.journal import Journal
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.faults import Fault
from dataflows.replay.simulate import Simulated
from engine.records import INTERVALS, Candle, Live, Tick
from engine.settings import Settings

START = 1_760_000_400_000
STEP = INTERVALS["5m"]
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
SPAN = 50 * 60_000


def settings(exchange: ReplayExchange) -> Settings:
    spot = {"rest": exchange.url, "stream": exchange.stream_url, "weight_per_minute": 6000}
    return Settings.model_validate(
        {
            "symbols": {"majors": SYMBOLS},
            "segments": {"majors": {"threshold": 0.5}},
            "decide": {"warm_up": 50, "minimum": 20},
            "binance": {"spot": spot, "backoff": {"first": 0.02, "most": 0.1}},
        }
    )


def at(minute: int) -> int:
    return START // STEP * STEP + minute * 60_000


FAULTS = (
    Fault("missing_close", "BTCUSDT", "1m", at=at(21), until=at(24)),
    Fault("missing_close", "ETHUSDT", "5m", at=at(25)),
    Fault("duplicate", "SOLUSDT", "1m", at=at(26)),
    Fault("out_of_order", "SOLUSDT", "1m", at=at(28)),
    Fault("late", "BTCUSDT", "1m", at=at(30), by=30.0),
    Fault("bad_price", "ETHUSDT", "1m", at=at(31), value="NaN"),
    Fault("missing", "SOLUSDT", "1m", at=at(33)),
    Fault("drop", at=at(36)),
    Fault("garbage", at=at(38)),
    Fault("shutdown", at=at(40), by=5.0),
)


async def played(folder: Path, speed: float) -> tuple[list[Any], dict[str, Any]]:
    """Everything journaled until stream time has passed `SPAN`, and the last status of the streams."""
    records: list[Any] = []
    body: dict[str, Any] = {}
    end = time.monotonic() + 40
    source = Simulated(SYMBOLS)
    async with ReplayExchange("spot", source, START, speed=speed, faults=FAULTS) as exchange:
        mailbox, journal = Mailbox(), Journal(folder, synchronous="NORMAL")
        feed = BinanceFeed(settings(exchange), journal, mailbox, report_every=0.1)
        task = asyncio.create_task(feed.run())
        while not any(isinstance(one, Tick) and one.time >= START + SPAN for one in records[-1_000:]):
            assert time.monotonic() < end, f"{len(records)} records, {body}"
            await asyncio.sleep(0.01)
            if task.done():
                task.result()
            for number, record in mailbox.drain(1_000):
                if number is not None:
                    records.append(record)
                elif getattr(record, "topic", "") == "streams":
                    body = dict(record.body)
        task.cancel()
        await asyncio.wait({task})
        journal.close()
    return records, body


async def test_every_close_of_a_market_full_of_faults_comes_once_and_in_order(tmp_path: Path) -> None:
    records, body = await played(tmp_path, speed=900)

    last = max(record.time for record in records if isinstance(record, Tick))
    for symbol in SYMBOLS:
        for interval, step in INTERVALS.items():
            rows = [one for one in records if isinstance(one, Candle) and one.symbol == symbol]
            rows = [one for one in rows if one.interval == interval and one.time <= last]
            expected = list(range(rows[0].time, last + 1, step))
            if (symbol, interval) == ("SOLUSDT", "1m"):
                expected.remove(at(33))
            assert [one.time for one in rows] == expected
    ticks = [record.time for record in records if isinstance(record, Tick)]
    assert ticks == list(range(ticks[0], last + 1, STEP))
    assert next(record for record in records if isinstance(record, Live)).feed == "simulated"
    assert body["symbols"]["SOLUSDT"]["gaps"] == 1
    assert body["symbols"]["BTCUSDT"]["repaired"] >= 3
