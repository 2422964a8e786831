"""DefiLlama's answers that tell of chains: what is locked on each, and the stablecoins on each and in all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import fsum
from types import MappingProxyType
from typing import Any, Final

from engine.providers.fields import Found, number, rows, within

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chain:
    """A coin's own chain: by which of CoinGecko's ids it is known, and its names, today's first.

    An `alone` one is known by its name only: many chains carry the coin of Ethereum.
    """

    coin: str
    names: tuple[str, ...]
    alone: bool = False


CHAINS: Final[Mapping[str, Chain]] = MappingProxyType(
    {
        "BTC": Chain("bitcoin", ("Bitcoin",)),
        "ETH": Chain("ethereum", ("Ethereum",), alone=True),
        "BNB": Chain("binancecoin", ("BSC", "Binance")),
        "SOL": Chain("solana", ("Solana",)),
        "AVAX": Chain("avalanche-2", ("Avalanche",)),
        "POL": Chain("polygon-ecosystem-token", ("Polygon",)),
        "NEAR": Chain("near", ("Near",)),
        "ARB": Chain("arbitrum", ("Arbitrum",)),
        "OP": Chain("optimism", ("OP Mainnet", "Optimism")),
    }
)

PERIODS: Final[Mapping[str, str]] = MappingProxyType(
    {"1d": "circulatingPrevDay", "7d": "circulatingPrevWeek"}
)


def of_chains(at: int, body: Any) -> Iterator[Found]:
    """What is locked on the chains we know."""
    held = rows("defillama chains", body)
    for asset in CHAINS:
        value = locked(asset, held)
        if value is not None:
            yield "chain_tvl", asset, at, value


def locked(asset: str, held: Iterable[Row]) -> float | None:
    """What is locked on the chain of an asset: of several that carry its coin, on the one with its name.

    >>> locked("ETH", [{"gecko_id": "ethereum", "name": "Base", "tvl": 4.0}])
    >>> locked("OP", [{"gecko_id": "optimism", "name": "OP", "tvl": 4.0}])
    4.0
    """
    found = [
        (likeness(asset, row), value)
        for row in held
        if (value := number(row.get("tvl"))) is not None and value > 0 and likeness(asset, row)
    ]
    return max(found, default=(0, None))[1]


def likeness(asset: str, row: Row) -> int:
    """How surely a row is of an asset's chain: by name and coin, coin, ticker, or name; 0 = not."""
    chain = CHAINS[asset]
    named = row.get("name") in chain.names
    if chain.alone:
        return int(named)
    if row.get("gecko_id") == chain.coin:
        return 4 if named else 3
    # A row without an id, or with that of the coin's former self.
    return 2 if row.get("tokenSymbol") == asset else int(named)


def of_stablecoins(at: int, body: Any) -> Iterator[Found]:
    """Dollar stablecoins in all and by chain, and what came and went."""
    coins = [row for row in rows("defillama stablecoins", body, "peggedAssets") if in_dollars(row)]
    worth = [amount * price(row) for row in coins if (amount := dollars(row.get("circulating"))) is not None]
    if worth:
        yield "stablecoin_cap", "", at, fsum(worth)
    for period, key in PERIODS.items():
        now, then = moved([(row.get("circulating"), row.get(key)) for row in coins])
        if then > 0:
            yield f"stablecoin_change_{period}", "", at, now / then - 1
            if period == "1d":
                yield "stablecoin_flow_1d", "", at, now - then
    yield from on_chains(at, coins)


def on_chains(at: int, coins: Iterable[Row]) -> Iterator[Found]:
    """The same on each chain we know."""
    names = {name: asset for asset, chain in CHAINS.items() for name in chain.names}
    held: dict[str, list[Row]] = defaultdict(list)
    for row in coins:
        chains = row.get("chainCirculating")
        for name, told in chains.items() if isinstance(chains, Mapping) else ():
            if name in names and isinstance(told, Mapping):
                held[names[name]].append(told)
    for asset, told_of in held.items():
        amounts = [amount for told in told_of if (amount := dollars(told.get("current"))) is not None]
        if amounts:
            yield "chain_stablecoins", asset, at, fsum(amounts)
        for period, key in PERIODS.items():
            now, then = moved([(told.get("current"), told.get(key)) for told in told_of])
            if then > 0:
                yield f"chain_stablecoin_change_{period}", asset, at, now / then - 1


def moved(pairs: Iterable[tuple[Any, Any]]) -> tuple[float, float]:
    """The sums of two columns, of rows that have both: what is new in one has not flowed in.

    >>> moved([({"peggedUSD": 3}, {"peggedUSD": 2}), ({"peggedUSD": 9}, None)])
    (3.0, 2.0)
    """
    both = [
        (after, before)
        for now, then in pairs
        if (after := dollars(now)) is not None and (before := dollars(then)) is not None
    ]
    return fsum(after for after, _ in both), fsum(before for _, before in both)


def in_dollars(row: Row) -> bool:
    return row.get("pegType") == "peggedUSD"


def dollars(amount: Any) -> float | None:
    """What circulates of a coin that stands for dollars, None for less than none."""
    found = number(within(amount, "peggedUSD"))
    return found if found is not None and 0 <= found < 1e15 else None


def price(row: Row) -> float:
    """What a coin is worth; 1 where nobody says, and for a price that no dollar ever had."""
    told = number(row.get("price"))
    return told if told is not None and 0 < told < 2 else 1.0
