"""Kaiko as the companion plays it: VWAP and order book aggregations of a few pairs, newest first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import Numbers
from engine.providers.fields import instant, stamp
from engine.providers.kaiko import ASSETS, EXCHANGES

PATH: Final = re.compile(
    r"/v2/data/(?P<commodity>trades|order_book_snapshots)\.v1/exchanges/(?P<exchange>[a-z]+)/spot/"
    r"(?P<asset>[a-z0-9]+)-(?P<quote>[a-z]+)/(?P<kind>aggregations/vwap|ob_aggregations/full)"
)
SPANS: Final = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}
MOST: Final = 100
BANDS: Final = {"0_1": 30.0, "0_2": 55.0, "1": 200.0}
"""How many coins lie this near to the best price."""

PREMIUM: Final = {"bnce": 0.0, "cbse": 2e-4, "krkn": 1e-4}


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """What Kaiko would say at `now`."""
    if not request.headers.get("x-api-key"):
        return refused(401, "Missing or invalid API key.")
    found = PATH.fullmatch(request.path)
    if found is None:
        return refused(404, "Not found.")
    kind, exchange, asset = found["kind"], found["exchange"], found["asset"].upper()
    if (found["commodity"] == "trades") != (kind == "aggregations/vwap"):
        return refused(404, "Not found.")
    if EXCHANGES.get(exchange) != found["quote"] or asset not in ASSETS:
        return refused(404, "Instrument not found.")
    interval = request.query.get("interval", "1h")
    if interval not in SPANS:
        return refused(400, "Invalid interval.")
    data = [
        price(numbers, exchange, asset, time)
        if found["commodity"] == "trades"
        else book(numbers, asset, time)
        for time in times(request, SPANS[interval], now)
    ]
    return Answer.of(envelope(request, now, data))


def times(request: Request, span: int, now: int) -> Iterator[int]:
    """When the intervals asked for begin, newest first, with the one that is still open."""
    begin = instant(request.query.get("start_time")) or now - 10 * span
    end = min(instant(request.query.get("end_time")) or now, now)
    size = request.query.get("page_size", "")
    most = min(int(size), MOST) if size.isdecimal() else 10
    first = -(-begin // span) * span
    return iter(range((end - 1) // span * span, first - 1, -span)[:most])


def price_of(numbers: Numbers, exchange: str, asset: str, time: int) -> float:
    """A simulated price of 100, a little apart on each exchange."""
    common = numbers.amount("kaiko.price", asset, time, 100.0, 0.05)
    return common * (1.0 + numbers.level(f"kaiko.{exchange}", asset, time, PREMIUM[exchange], 2e-4))


def price(numbers: Numbers, exchange: str, asset: str, time: int) -> dict[str, Any]:
    """One row of `vwap`."""
    return {"timestamp": time, "price": str(price_of(numbers, exchange, asset, time))}


def book(numbers: Numbers, asset: str, time: int) -> dict[str, Any]:
    """One row of `full`; a few values are null, as where a book is too thin."""
    row: dict[str, Any] = {"poll_timestamp": time}
    for band, coins in BANDS.items():
        for side in ("bid", "ask"):
            row[f"{side}_volume{band}"] = str(numbers.amount(f"kaiko.{side}", asset, time, coins, 0.2))
    for side in ("ask", "bid"):
        slippage = numbers.amount(f"kaiko.slippage.{side}", asset, time, 4e-4, 0.3)
        row[f"{side}_slippage"] = None if time % 3_600_000 == 0 else str(slippage)
    middle = price_of(numbers, "bnce", asset, time)
    row["spread"] = str(middle * numbers.amount("kaiko.gap", asset, time, 1e-4, 0.3))
    row["mid_price"] = str(middle)
    return row


def envelope(request: Request, now: int, data: list[dict[str, Any]]) -> dict[str, Any]:
    """What Kaiko wraps its rows in."""
    span = {"start_timestamp": None, "end_timestamp": None}
    return {
        "query": dict(request.query),
        "time": stamp(now).replace("Z", ".000Z"),
        "timestamp": now,
        "data": data,
        "result": "success",
        "access": {"access_range": span, "data_range": span},
    }


def refused(status: int, message: str) -> Answer:
    return Answer.of({"message": message, "result": "error"}, status)
