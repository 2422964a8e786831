"""DefiLlama of the replay world: chains, stablecoins, volumes, three protocols, two pools. No key."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.feeds import iso_date
from dataflows.replay.companion.numbers import DAY, Numbers
from engine.providers.defillama import POOLS, PROTOCOLS
from engine.providers.defillama_chains import CHAINS

MOST: Final = 40
"""Days in a history."""

USUAL: Final = {"ETH": 6.5e10, "SOL": 9e9, "BNB": 7e9, "BTC": 6e9}
OTHERS: Final = {"Base": "ethereum", "Tron": "tron", "Polygon zkEVM": "polygon-ecosystem-token"}
"""Chains that nobody follows, one with a coin of ours."""

COINS: Final = (("Tether", "USDT", "tether", 1.6e11), ("USD Coin", "USDC", "usd-coin", 7e10))
ON_CHAIN: Final = 0.03
"""Share of a stablecoin on each chain."""

HISTORY: Final = "/v2/historicalChainTvl"
NOT_FOUND: Final = Answer.of({"message": "Not Found"}, 404)


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    path = unquote(request.path)
    if path == "/v2/chains":
        return Answer.of(chains(now, numbers))
    if path == HISTORY or path.startswith(HISTORY + "/"):
        return history(path.removeprefix(HISTORY).strip("/"), now, numbers)
    if path == "/@stablecoins/stablecoins":
        return Answer.of(stablecoins(now, numbers))
    if path.startswith("/@yields/chart/"):
        return chart(path.rpartition("/")[2], now, numbers)
    if path.startswith("/overview/"):
        return overview(path.rpartition("/")[2], now, numbers)
    slug = path.removeprefix("/tvl/")
    if slug in PROTOCOLS:
        return Answer.of(numbers.amount("tvl", slug, now, 2e10, 0.1))
    # An unknown protocol is told so with status 400, in plain words.
    return Answer(400, b"Protocol not found", kind="text/plain") if slug != path else NOT_FOUND


def tvl(chain: str, at: int, numbers: Numbers) -> float:
    """What is locked on a chain, by the asset it belongs to, or by its name."""
    return numbers.amount("tvl", chain, at, USUAL.get(chain, 1.5e9), 0.1)


def chains(now: int, numbers: Numbers) -> list[dict[str, Any]]:
    ours = [(asset, chain.coin, chain.names[0]) for asset, chain in CHAINS.items()]
    others = [(name, coin, name) for name, coin in OTHERS.items()]
    return [
        {
            "gecko_id": coin,
            "tvl": tvl(mark, now, numbers) * (1.0 if mark in CHAINS else 0.2),
            "tokenSymbol": mark if mark in CHAINS else None,
            "cmcId": str(place + 1),
            "name": name,
            "chainId": place + 1,
        }
        for place, (mark, coin, name) in enumerate([*ours, *others])
    ]


def history(name: str, now: int, numbers: Numbers) -> Answer:
    """A row a day, stamped with its beginning, and how it stands now; of all chains where none is named."""
    found = [asset for asset, chain in CHAINS.items() if name in chain.names]
    if name and not found:
        return Answer(400, b"Chain not found", kind="text/plain")
    times = [*days(now), now]
    rows = [
        {"date": at // 1000, "tvl": sum(tvl(one, at, numbers) for one in found or CHAINS)} for at in times
    ]
    return Answer.of(rows)


def days(now: int) -> list[int]:
    """The beginnings of the last days, oldest first."""
    return [(now // DAY - back) * DAY for back in reversed(range(MOST))]


def stablecoins(now: int, numbers: Numbers) -> dict[str, Any]:
    coins = [stablecoin(place, now, numbers) for place in range(len(COINS))]
    on_chains = [
        {
            "name": chain.names[0],
            "gecko_id": chain.coin,
            "tokenSymbol": asset,
            "totalCirculatingUSD": {"peggedUSD": ON_CHAIN * sum(one[3] for one in COINS)},
        }
        for asset, chain in CHAINS.items()
    ]
    return {"peggedAssets": coins, "chains": on_chains}


def stablecoin(place: int, now: int, numbers: Numbers) -> dict[str, Any]:
    name, symbol, coin, usual = COINS[place]
    spans = {"": 0, "PrevDay": DAY, "PrevWeek": 7 * DAY, "PrevMonth": 30 * DAY}

    def amounts(mark: str, share: float) -> dict[str, Any]:
        return {
            f"circulating{past}": {
                "peggedUSD": share * numbers.amount("stablecoin", mark, now - span, usual, 0.01)
            }
            for past, span in spans.items()
        }

    on_chains = {
        chain.names[0]: {
            key if key != "circulating" else "current": value
            for key, value in amounts(symbol + asset, ON_CHAIN).items()
        }
        for asset, chain in CHAINS.items()
    }
    return {
        "id": str(place + 1),
        "name": name,
        "symbol": symbol,
        "gecko_id": coin,
        "pegType": "peggedUSD",
        "priceSource": "defillama",
        "pegMechanism": "fiat-backed",
        **amounts(symbol, 1.0),
        "chainCirculating": on_chains,
        "chains": list(on_chains),
        "price": 1.0005,
    }


def overview(kind: str, now: int, numbers: Numbers) -> Answer:
    """What all protocols did in a day; the charts are left out, as always asked for."""
    if kind not in ("dexs", "fees"):
        return NOT_FOUND
    usual = 9e9 if kind == "dexs" else 6e7
    total, before = (numbers.amount(kind, "", now - back, usual) for back in (0, DAY))
    largest = {
        "name": "Uniswap",
        "displayName": "Uniswap V3",
        "total24h": total / 5,
        "total7d": 7 * total / 5,
        "change_1d": 1.5,
        "change_7d": -2.5,
        "chains": ["Ethereum"],
    }
    return Answer.of(
        {
            "totalDataChart": [],
            "allChains": [chain.names[0] for chain in CHAINS.values()],
            "protocols": [largest],
            "total24h": total,
            "total7d": 7 * total,
            "change_1d": round(100 * (total / before - 1), 2),
        }
    )


def chart(pool: str, now: int, numbers: Numbers) -> Answer:
    if pool not in {known for _, known in POOLS.values()}:
        return NOT_FOUND
    rows = [
        {
            "timestamp": iso_date(at),
            "tvlUsd": round(numbers.amount("pool", pool, at, 2e9, 0.1)),
            "apy": numbers.amount("apy", pool, at, 4.0, 0.2),
            "apyBase": numbers.amount("apy", pool, at, 4.0, 0.2),
            "apyReward": None,
        }
        for at in [*days(now), now]
    ]
    return Answer.of({"status": "success", "data": rows})
