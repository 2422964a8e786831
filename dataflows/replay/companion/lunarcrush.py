"""LunarCrush as the companion plays it: the list of coins, hours of one coin, creators of one topic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import Numbers
from engine.providers.lunarcrush import COINS, topic

HOUR: Final = 3_600_000
COIN: Final = re.compile(r"/coins/(?P<coin>[A-Za-z0-9]+)/time-series/v2")
CREATORS: Final = re.compile(r"/topic/(?P<topic>[^/]+)/creators/v1")
LEFT: Final = (("x-rate-limit-minute-remaining", "9"), ("x-rate-limit-day-remaining", "1900"))
HOURS: Final = 24
SUPPLY: Final = 21_000_000

UNTOLD: Final[Mapping[str, Any]] = {
    "price_btc": 1e-3,
    "volume_24h": 1e9,
    "volatility": 0.02,
    "circulating_supply": SUPPLY,
    "max_supply": SUPPLY,
    "percent_change_1h": 0.1,
    "percent_change_24h": -0.4,
    "percent_change_7d": 1.9,
    "percent_change_30d": 4.4,
    "market_dominance": 3.5,
    "market_dominance_prev": 3.5,
    "galaxy_score_previous": 50.0,
    "alt_rank_previous": 200,
    "categories": "layer-1",
    "blockchains": [{"type": "layer1", "network": "simulated", "address": None, "decimals": None}],
    "last_updated_price_by": "simulated",
    "logo": "https://example.com/logo.png",
}
"""What is in a row of the list beside the numbers that are read of it."""

HOURLY: Final[Mapping[str, float]] = {
    "contributors_active": 5e3,
    "contributors_created": 3e2,
    "interactions": 9e4,
    "posts_active": 9e3,
    "posts_created": 6e2,
    "sentiment": 78.0,
    "spam": 2e2,
    "alt_rank": 2e2,
    "galaxy_score": 50.0,
    "volume_24h": 1e9,
}
"""Counts of an hour, and what they usually are."""


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """What LunarCrush would say at `now`."""
    if not request.headers.get("authorization", "").startswith("Bearer "):
        return Answer.of({"error": "Missing or invalid API key"}, 401)
    coins = {asked: asset for asset, asked in COINS.items()} | {asset: asset for asset in COINS}
    topics = {topic(asset): asset for asset in COINS}
    if request.path == "/coins/list/v2":
        return told(list_of(request, now, numbers))
    if (found := COIN.fullmatch(request.path)) and found["coin"].upper() in coins:
        return told(hours(coins[found["coin"].upper()], now, numbers))
    if (found := CREATORS.fullmatch(request.path)) and found["topic"] in topics:
        return told({"data": creators(topics[found["topic"]], now, numbers)})
    return Answer.of({"error": "Not found"}, 404)


def told(body: Any) -> Answer:
    whole = Answer.of(body)
    return Answer(whole.status, whole.body, LEFT, whole.kind)


def list_of(request: Request, now: int, numbers: Numbers) -> dict[str, Any]:
    """All coins, and after them a namesake of a few that nobody means."""
    size = request.query.get("limit", "")
    limit = int(size) if size.isdecimal() else 10
    data = [coin(place, asset, now, numbers) for place, asset in enumerate(COINS, 1)]
    data += [{**coin(place, "BTC", now, numbers), "name": "Imitation"} for place in (4000, 5000)]
    return {
        "config": {
            "sort": "market_cap_rank",
            "desc": False,
            "limit": limit,
            "page": 0,
            "total_rows": len(data),
            "generated": now // 1000,
        },
        "data": data[:limit],
    }


def coin(place: int, asset: str, now: int, numbers: Numbers) -> dict[str, Any]:
    """One row of the list."""

    def amount(name: str, usual: float, spread: float = 0.3) -> float:
        return numbers.amount(f"lunarcrush.{name}", f"{asset}{place}", now, usual, spread)

    return {
        **UNTOLD,
        "id": place,
        "symbol": asset,
        "name": asset.title(),
        "price": amount("price", 100.0, 0.05),
        "market_cap": 1e12 / place,
        "market_cap_rank": place,
        "interactions_24h": round(amount("interactions", 2e6)),
        "social_volume_24h": round(amount("posts", 9e3)),
        "social_dominance": amount("dominance", 3.0),
        "galaxy_score": min(amount("galaxy", 50.0, 0.2), 100.0),
        "alt_rank": 1 + round(amount("alt_rank", 200.0, 0.8)),
        "sentiment": round(min(amount("sentiment", 78.0, 0.06), 100.0)),
        "last_updated_price": now // 1000,
        "topic": f"{asset.lower()} {asset.lower()}",
    }


def hours(asset: str, now: int, numbers: Numbers) -> dict[str, Any]:
    """The last day of one coin by the hour, the one that is still open with it."""
    last = now // HOUR * HOUR
    times = range(last - (HOURS - 1) * HOUR, last + 1, HOUR)
    config = {
        "coin": COINS[asset],
        "topic": topic(asset),
        "id": f"coins:{COINS[asset]}",
        "name": asset.title(),
        "symbol": asset,
        "interval": "1d",
        "start": times[0] // 1000,
        "end": now // 1000,
        "bucket": "hour",
        "metrics": [],
        "generated": now // 1000,
    }
    return {"config": config, "data": [hour(asset, time, numbers) for time in times]}


def hour(asset: str, time: int, numbers: Numbers) -> dict[str, Any]:
    """One hour of one coin."""

    def count(name: str, usual: float) -> int:
        return round(numbers.amount(f"lunarcrush.{name}", asset, time, usual))

    price = numbers.amount("lunarcrush.price", asset, time, 100.0, 0.05)
    counts = {name: count(name, usual) for name, usual in HOURLY.items()}
    return {
        "time": time // 1000,
        **counts,
        **dict.fromkeys(("open", "high", "low", "close"), price),
        "circulating_supply": SUPPLY,
        "market_cap": price * SUPPLY,
        "market_dominance": 3.5,
        "social_dominance": numbers.amount("lunarcrush.dominance", asset, time, 3.0),
    }


def creators(asset: str, now: int, numbers: Numbers) -> list[dict[str, Any]]:
    """The leading creators of a topic, the first first."""
    return [
        {
            "creator_id": f"twitter::{1000 + place}",
            "creator_name": f"simulated_{place}",
            "creator_avatar": "https://example.com/avatar.png",
            "creator_followers": 500_000 // place,
            "creator_rank": place,
            "interactions_24h": round(numbers.amount(f"lunarcrush.creator{place}", asset, now, 2e5 / place)),
        }
        for place in range(1, 6)
    ]
