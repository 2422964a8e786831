"""What a simulated market looks like from afar: price levels, liveliness, sectors, regimes.

Rough figures of our own, near what such assets traded at; nothing here is a record of a real price.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from zlib import crc32

from dataflows.replay.instruments import Instrument, Market, split

SECTORS: Final = ("majors", "alts", "memes")


@dataclass(frozen=True, slots=True)
class Trait:
    """One simulated asset.

    `price` in quote currency; `beta` to the market factor; `own` its own daily volatility (log return);
    `turnover` a day's volume in quote currency.
    """

    price: float
    price_decimals: int
    quantity_decimals: int
    sector: str
    beta: float
    own: float
    turnover: float


@dataclass(frozen=True, slots=True)
class Regime:
    """A phase of the market: `drift` a day (log), `liveliness` times normal volatility, `days` it lasts."""

    name: str
    drift: float
    liveliness: float
    days: float


REGIMES: Final = (
    Regime("rise", 0.006, 0.9, 9.0),
    Regime("range", 0.0, 0.6, 12.0),
    Regime("fall", -0.006, 1.1, 7.0),
    Regime("storm", -0.004, 2.2, 2.5),
)
"""Which follows which is drawn: the longer it has lasted on average, the likelier it stays."""

NEXT: Final = ((0.0, 0.7, 0.2, 0.1), (0.45, 0.0, 0.4, 0.15), (0.25, 0.45, 0.0, 0.3), (0.35, 0.4, 0.25, 0.0))
"""Probability of the next regime, by row, once one ends."""

MARKET_VOL: Final = 0.021
SECTOR_VOL: Final[Mapping[str, float]] = MappingProxyType({"majors": 0.004, "alts": 0.016, "memes": 0.028})

TRAITS: Final[Mapping[str, Trait]] = MappingProxyType(
    {
        "BTCUSDT": Trait(67_000.0, 2, 5, "majors", 1.0, 0.004, 1.6e9),
        "ETHUSDT": Trait(3_300.0, 2, 4, "majors", 1.2, 0.012, 9.0e8),
        "BNBUSDT": Trait(590.0, 1, 3, "majors", 0.8, 0.012, 1.8e8),
        "SOLUSDT": Trait(155.0, 2, 3, "alts", 1.4, 0.020, 5.0e8),
        "AVAXUSDT": Trait(31.0, 2, 2, "alts", 1.4, 0.018, 5.0e7),
        "LINKUSDT": Trait(15.2, 2, 2, "alts", 1.3, 0.018, 5.5e7),
        "DOTUSDT": Trait(6.6, 3, 2, "alts", 1.2, 0.015, 2.6e7),
        "POLUSDT": Trait(0.52, 4, 1, "alts", 1.3, 0.017, 2.2e7),
        "NEARUSDT": Trait(5.6, 3, 1, "alts", 1.4, 0.022, 5.0e7),
        "ARBUSDT": Trait(0.82, 4, 1, "alts", 1.4, 0.020, 4.2e7),
        "OPUSDT": Trait(1.9, 3, 2, "alts", 1.5, 0.022, 3.8e7),
        "PEPEUSDT": Trait(0.0000125, 8, 0, "memes", 1.6, 0.034, 2.6e8),
        "DOGEUSDT": Trait(0.135, 5, 0, "memes", 1.3, 0.021, 2.2e8),
        "SHIBUSDT": Trait(0.0000188, 8, 0, "memes", 1.3, 0.020, 8.0e7),
        "FLOKIUSDT": Trait(0.00018, 8, 0, "memes", 1.5, 0.030, 4.5e7),
        "BONKUSDT": Trait(0.0000246, 8, 0, "memes", 1.6, 0.033, 7.0e7),
        "WIFUSDT": Trait(2.3, 3, 2, "memes", 1.7, 0.042, 1.6e8),
    }
)


def spot_name(symbol: str) -> tuple[str, int]:
    """The spot symbol behind a futures symbol, and how many coins a contract holds.

    >>> spot_name("1000PEPEUSDT")
    ('PEPEUSDT', 1000)
    """
    return (symbol.removeprefix("1000"), 1000) if symbol.startswith("1000") else (symbol, 1)


def futures_name(symbol: str) -> str:
    """The USDT-M contract of a spot symbol: coins below a tenth of a cent trade in thousands."""
    trait = TRAITS.get(symbol)
    return f"1000{symbol}" if trait is not None and trait.price < 0.001 else symbol


def default_symbols(market: Market) -> tuple[str, ...]:
    return tuple(TRAITS) if market == "spot" else tuple(futures_name(symbol) for symbol in TRAITS)


def seed_of(symbol: str) -> int:
    """A number that is the same for a symbol in every run and beside every other symbol."""
    return crc32(spot_name(symbol)[0].encode())


def trait_of(symbol: str) -> Trait:
    """The listed trait, scaled for a contract of a thousand; an invented one for a name not listed."""
    name, multiplier = spot_name(symbol)
    trait = TRAITS.get(name) or invented(name)
    if multiplier == 1:
        return trait
    return Trait(
        trait.price * multiplier,
        max(0, trait.price_decimals - 3) + 2,
        0,
        trait.sector,
        trait.beta,
        trait.own,
        trait.turnover,
    )


def invented(symbol: str) -> Trait:
    """A trait drawn from the letters of a name."""
    seed = seed_of(symbol)
    price = 10.0 ** (seed % 700 / 200 - 1.0)
    return Trait(
        price,
        4 if price < 10 else 2,
        2,
        SECTORS[1 + seed % 2],
        1.0 + seed % 9 / 10,
        0.015 + seed % 5 / 200,
        1e7 + seed % 90 * 1e6,
    )


def instrument_of(symbol: str) -> Instrument:
    trait = trait_of(symbol)
    return Instrument(symbol, *split(symbol), trait.price_decimals, trait.quantity_decimals)
