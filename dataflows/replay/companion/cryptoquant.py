"""CryptoQuant's side: a status and a result in every answer, rows newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import DAY, Numbers
from engine.providers.cryptoquant import SERIES, TOKENS, Series
from engine.providers.fields import day, number

MOST: Final = 60
"""Rows that one answer holds."""

COINS: Final[Mapping[str, float]] = {"btc": 2.4e6, "eth": 1.6e7, "link": 1.4e8, "shib": 1e14}
PRICES: Final[Mapping[str, float]] = {"btc": 95_000.0, "eth": 3_300.0, "link": 18.0, "shib": 2e-5}

HABITS: Final[Mapping[str, tuple[float, float, float, float]]] = {
    "exchange-flows": (1.0, 0.0015, 0.01, 0.2),
    "miner-flows": (0.7, 0.0004, 0.003, 0.1),
}
"""What is held as a share of the coins on exchanges, what of it moves in a day, and the spread of each."""

PATHS: Final[Mapping[str, Series]] = {series.path: series for series in SERIES}

REASONS: Final[Mapping[int, str]] = {400: "bad_request", 401: "unauthorized", 404: "not_found"}


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """What the real one answers to `request` at `now`, with simulated values."""
    if not request.headers.get("authorization", "").startswith("Bearer "):
        return refusal(401, "No access token, or one that is not valid.")
    place, _, path = request.path.lstrip("/").partition("/")
    series = PATHS.get(path)
    coin = request.query.get("token", "") if place == "erc20" else place
    if series is None or coin not in coins(series):
        return refusal(404, "There is no such path.")
    missing = [name for name in series.params if name not in request.query]
    if missing or request.query.get("window") != "day":
        return refusal(400, f"Parameter {(missing or ['window'])[0]} is required.")
    count = min(int(number(request.query.get("limit")) or 100), MOST)
    days = [now // DAY - back for back in range(count)]
    found = [
        {"date": day(one * DAY), **values(series, path.partition("/")[0], coin, one, numbers)} for one in days
    ]
    return said({"status": {"code": 200, "message": "success"}, "result": {"window": "day", "data": found}})


def coins(series: Series) -> list[str]:
    """What a path is served of."""
    return [TOKENS.get(asset, asset.lower()) for asset in series.assets]


def values(series: Series, owner: str, coin: str, at: int, numbers: Numbers) -> dict[str, Any]:
    """The columns of one row."""
    found = {column: level(column, owner, coin, at * DAY, numbers) for column in series.columns}
    kind = series.path.rpartition("/")[2]
    if kind in ("inflow", "outflow"):
        whole = found[f"{kind}_total"]
        found[f"{kind}_top10"] = 0.4 * whole
        found |= {f"{kind}_mean": whole / 35_000, f"{kind}_mean_ma7": whole / 34_000}
    if kind == "reserve":
        found["reserve_usd"] = found["reserve"] * PRICES[coin]
    return found


def level(column: str, owner: str, coin: str, time: int, numbers: Numbers) -> float:
    """One number; miners hold less than exchanges, the net is what comes minus what goes."""
    if column == "stablecoin_supply_ratio":
        return numbers.amount(column, coin, time, 9.8, 0.03)
    if column == "estimated_leverage_ratio":
        return numbers.amount(column, coin, time, 0.25, 0.03)
    if column == "netflow_total":
        came, went = (level(f"{way}flow_total", owner, coin, time, numbers) for way in ("in", "out"))
        return came - went
    share, spread, moved, hurry = HABITS[owner]
    held = share * COINS[coin]
    if column.startswith("reserve"):
        return numbers.amount(f"{owner} reserve", coin, time, held, spread)
    return numbers.amount(f"{owner} {column}", coin, time, moved * held, hurry)


def refusal(status: int, text: str) -> Answer:
    """An error in its own shape."""
    return Answer.of({"status": {"code": status, "message": REASONS[status], "description": text}}, status)


def said(body: Any) -> Answer:
    """An answer with what is left of the minute's quota."""
    told = Answer.of(body)
    return Answer(200, told.body, (("x-ratelimit-limit", "60"), ("x-ratelimit-remaining", "59")))
