"""What the exchange says about one market: its assets, its price step, its quantity step.

An instrument is a fact sheet; prices live elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Market = Literal["spot", "um"]

QUOTES: Final = ("USDT", "USDC", "FDUSD", "BUSD", "BTC", "ETH", "BNB")
MOST_DECIMALS: Final = 8


@dataclass(frozen=True, slots=True)
class Instrument:
    """One market: `price_decimals` and `quantity_decimals` are the digits after the point it trades in."""

    symbol: str
    base: str
    quote: str
    price_decimals: int
    quantity_decimals: int

    @property
    def price_step(self) -> str:
        return step(self.price_decimals)

    @property
    def quantity_step(self) -> str:
        return step(self.quantity_decimals)


def step(decimals: int) -> str:
    """The smallest step of that many digits.

    >>> step(2), step(0)
    ('0.01', '1')
    """
    return f"{10.0**-decimals:.{decimals}f}"


def split(symbol: str) -> tuple[str, str]:
    """Base and quote asset of a symbol.

    >>> split("1000PEPEUSDT")
    ('1000PEPE', 'USDT')
    """
    for quote in QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote), quote
    return symbol, ""


def decimals_of(values: NDArray[np.float64]) -> int:
    """How many digits after the point all of `values` need, at most 8.

    >>> decimals_of(np.array([0.12, 7.5]))
    2
    """
    scale = np.maximum(np.abs(values), 1e-12)
    for digits in range(MOST_DECIMALS):
        if np.all(np.abs(np.round(values, digits) - values) <= 1e-10 * scale):
            return digits
    return MOST_DECIMALS
