"""CoinGecko of the replay world: the coins asked about, trending ones, the market; also without a key."""

from __future__ import annotations

from typing import Any, Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.feeds import iso_date
from dataflows.replay.companion.numbers import Numbers
from dataflows.replay.companion.stories import ASSETS
from engine.providers.coingecko import ASSETS as COINS
from engine.providers.coingecko import IDS, TRENDING

SUPPLY: Final = 1e9
"""Coins there are of each, in the replay world."""

OTHERS: Final = tuple(f"other-coin-{number}" for number in range(10))
"""Coins that nobody follows."""


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    match request.path:
        case "/ping":
            return Answer.of({"gecko_says": "(V3) To the Moon!"})
        case "/coins/markets":
            return coins(request, now, numbers)
        case "/search/trending":
            return Answer.of(trending(now, numbers))
        case "/global":
            return Answer.of({"data": market(now, numbers)})
        case "/global/decentralized_finance_defi":
            return Answer.of({"data": defi(now, numbers)})
    return Answer.of({"error": "Incorrect path. Please check the documentation"}, 404)


def cap(asset: str, now: int, numbers: Numbers) -> float:
    """The market cap of a coin, USD; those that are named first are large."""
    usual = 1.2e12 / (1 + list(COINS.values()).index(asset)) ** 2
    return numbers.amount("market_cap", asset, now, usual, 0.05)


def coins(request: Request, now: int, numbers: Numbers) -> Answer:
    """Rows of the coins that are known, the largest first; an id that is not known is left out."""
    if request.query.get("vs_currency") != "usd":
        return Answer.of({"error": "invalid vs_currency"}, 422)
    ids = request.query.get("ids")
    asked = COINS if ids is None else [coin for coin in ids.split(",") if coin in COINS]
    rows = [coin_row(COINS[coin], now, numbers) for coin in asked]
    return Answer.of(sorted(rows, key=lambda row: -float(row["market_cap"])))


def coin_row(asset: str, now: int, numbers: Numbers) -> dict[str, Any]:
    worth = cap(asset, now, numbers)
    before = cap(asset, now - 86_400_000, numbers)
    change = 100 * (worth / before - 1)
    price, highest = worth / SUPPLY, 2.5e12 / (1 + list(COINS.values()).index(asset)) ** 2 / SUPPLY
    made = now - 60_000
    return {
        "id": IDS[asset],
        "symbol": asset.lower(),
        "name": ASSETS[asset],
        "image": f"https://coins.example/{asset.lower()}.png",
        "current_price": price,
        "market_cap": round(worth),
        "market_cap_rank": 1 + list(COINS.values()).index(asset),
        "fully_diluted_valuation": round(worth),
        "total_volume": round(worth * numbers.amount("turnover", asset, now, 0.05)),
        "high_24h": price * 1.02,
        "low_24h": price * 0.98,
        "price_change_24h": (worth - before) / SUPPLY,
        "price_change_percentage_24h": change,
        "market_cap_change_24h": worth - before,
        "market_cap_change_percentage_24h": change,
        "circulating_supply": SUPPLY,
        "total_supply": SUPPLY,
        "max_supply": None,
        "ath": highest,
        "ath_change_percentage": 100 * (price / highest - 1),
        "ath_date": iso_date(made - 300 * 86_400_000),
        "atl": price / 100,
        "atl_change_percentage": 9900.0,
        "atl_date": iso_date(made - 3000 * 86_400_000),
        "roi": None,
        "last_updated": iso_date(made),
        "price_change_percentage_24h_in_currency": change,
    }


def trending(now: int, numbers: Numbers) -> dict[str, Any]:
    """Fifteen coins in their order, some of them ours; another order each six hours."""
    at = now // 21_600_000 * 21_600_000
    found = sorted((*IDS.values(), *OTHERS), key=lambda coin: numbers.level("trending", coin, at, 0, 1))
    rows = [
        {
            "item": {
                "id": coin,
                "coin_id": place + 1000,
                "name": coin.title(),
                "symbol": COINS.get(coin, coin.upper()),
                "market_cap_rank": place + 20,
                "slug": coin,
                "price_btc": 1e-9,
                "score": place,
                "data": {"price": 0.5, "price_btc": "0.000000001", "market_cap": "$500,000,000"},
            }
        }
        for place, coin in enumerate(found[:TRENDING])
    ]
    return {"coins": rows, "nfts": [], "categories": []}


def market(now: int, numbers: Numbers) -> dict[str, Any]:
    total = numbers.amount("total_market_cap", "", now, 2.6e12, 0.05)
    before = numbers.amount("total_market_cap", "", now - 86_400_000, 2.6e12, 0.05)
    volume = numbers.amount("total_volume", "", now, 1.1e11)
    yesterday = numbers.amount("total_volume", "", now - 86_400_000, 1.1e11)
    return {
        "active_cryptocurrencies": 17_000,
        "upcoming_icos": 0,
        "ongoing_icos": 49,
        "ended_icos": 3376,
        "markets": 1400,
        "total_market_cap": {"btc": total / 70_000, "usd": total},
        "total_volume": {"btc": volume / 70_000, "usd": volume},
        "market_cap_percentage": {
            "btc": numbers.level("btc_dominance", "", now, 56, 1.5),
            "eth": numbers.level("eth_dominance", "", now, 11, 0.7),
            "usdt": numbers.level("usdt_dominance", "", now, 6, 0.5),
        },
        "market_cap_change_percentage_24h_usd": 100 * (total / before - 1),
        "volume_change_percentage_24h_usd": 100 * (volume / yesterday - 1),
        "updated_at": now // 1000 - 30,
    }


def defi(now: int, numbers: Numbers) -> dict[str, Any]:
    worth = numbers.amount("defi_market_cap", "", now, 9e10, 0.05)
    return {
        "defi_market_cap": str(worth),
        "eth_market_cap": "290000000000.5",
        "defi_to_eth_ratio": str(100 * worth / 290_000_000_000.5),
        "trading_volume_24h": "3900000000.25",
        "defi_dominance": str(100 * worth / 2.6e12),
        "top_coin_name": "Staked Coin",
        "top_coin_defi_dominance": 19.5,
    }
