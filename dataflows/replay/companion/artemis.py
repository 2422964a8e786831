"""Artemis of the replay world: daily series of chains; one it lacks is a sentence, and any key will do."""

from __future__ import annotations

from typing import Any, Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import DAY, Numbers
from engine.providers.artemis import SYMBOLS, WEEKLY
from engine.providers.fields import day, instant

USUAL: Final = {
    "DAU": 1e6,
    "TXNS": 5e6,
    "FEES": 8e5,
    "REVENUE": 3e5,
    "DEX_VOLUMES": 1.5e9,
    "TVL": 6e9,
    "WEEKLY_COMMITS_CORE_ECOSYSTEM": 900.0,
    "WEEKLY_DEVELOPERS_CORE_ECOSYSTEM": 150.0,
    "PRICE": 100.0,
    "MC": 5e10,
}
MOST: Final = 60
"""Days in an answer."""

PREFIX: Final = "/data/api/"
NO_ASSET: Final = "Metric not available for asset."
NO_METRIC: Final = "Metric not found."


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    if not (request.query.get("APIKey") or request.headers.get("x-api-key")):
        return Answer.of({"detail": "Invalid API key"}, 401)
    if request.path == "/asset/symbols/":
        return Answer.of({"assets": [described(symbol) for symbol in SYMBOLS.values()]})
    names = request.path.removeprefix(PREFIX)
    if not request.path.startswith(PREFIX) or not names.endswith("/"):
        return Answer.of({"detail": "Not Found"}, 404)
    begin, end = (instant(request.query.get(name)) for name in ("startDate", "endDate"))
    symbols = request.query.get("symbols", "")
    if begin is None or end is None or not symbols:
        return Answer.of({"detail": "symbols, startDate and endDate are required"}, 422)
    days = [at for at in range(begin // DAY * DAY, end + 1, DAY) if at + DAY <= now][-MOST:]
    found = {
        symbol: {name.lower(): series(name, symbol, days, numbers) for name in names.strip("/").split(",")}
        for symbol in symbols.split(",")
    }
    return Answer.of({"data": {"symbols": found}})


def described(symbol: str) -> dict[str, str]:
    return {
        "artemis_id": symbol,
        "symbol": symbol,
        "title": symbol.upper(),
        "coingecko_id": symbol,
        "color": "#000000",
    }


def series(name: str, symbol: str, days: list[int], numbers: Numbers) -> list[dict[str, Any]] | str:
    """The days of one series, those that are over; of a weekly one each seventh, a Monday."""
    if name not in USUAL:
        return NO_METRIC
    if symbol not in SYMBOLS.values() or (symbol in ("btc", "doge") and name == "DEX_VOLUMES"):
        return NO_ASSET
    weekly = name in WEEKLY.values()
    return [
        {"date": day(at), "val": numbers.amount(name, symbol, at, USUAL[name])}
        for at in days
        # 1970-01-01 was a Thursday.
        if not weekly or at // DAY % 7 == 4
    ]
