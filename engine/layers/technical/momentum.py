"""How the price moves: RSI, MACD, and where they disagree with the price.

At most 25 points; where ADX says "trend" a strong RSI goes on, where it does not an extreme one comes back.
"""

from __future__ import annotations

from math import tanh
from typing import Final

from engine.features import SCHEMA
from engine.layers.reasons import Reasons
from engine.layers.technical.sight import Sight, beyond

RSI_14: Final = SCHEMA.index["rsi_14"]
RSI_7: Final = SCHEMA.index["rsi_7"]
HISTOGRAM: Final = SCHEMA.index["macd_histogram_atr"]
FAST: Final = SCHEMA.index["ema_9_slope"]
SLOW: Final = SCHEMA.index["ema_21_slope"]
DIVERGENCE: Final = SCHEMA.index["rsi_divergence"]
RSI_SLOPE: Final = SCHEMA.index["rsi_slope"]
PRICE_SLOPE: Final = SCHEMA.index["price_slope"]

SHARE: Final = 25.0
HIGHER: Final = 4.0
"""The part of `SHARE` that the higher intervals have."""


def momentum(sight: Sight, reasons: Reasons) -> None:
    """RSI 14 6, RSI 7 3, MACD histogram 5, its slope 3, divergence here 4, above 2, between intervals 2."""
    now, follow = sight.now, sight.follow
    calm, quick = now[RSI_14], now[RSI_7]
    points = 6.0 * strength(calm, 15.0, follow) + 3.0 * strength(quick, 25.0, follow)
    reasons.add("momentum", 9.0, points, "RSI 14 at %.0f, RSI 7 at %.0f", calm, quick)
    # EMA 9 pulling away from EMA 21 is what raises a histogram, without a step back in time.
    histogram, slope = now[HISTOGRAM], now[FAST] - now[SLOW]
    points = 5.0 * tanh(histogram / 0.2) + 3.0 * tanh(slope / 0.1)
    text = "MACD histogram %+.2f ATR, averages part by %+.2f a candle"
    reasons.add("momentum", 8.0, points, text, histogram, slope)
    side = now[DIVERGENCE]
    reasons.add("momentum", 4.0, 4.0 * side, "RSI diverges %+.0f from swing to swing", side)
    between(sight, reasons)


def strength(rsi: float, edge: float, follow: float) -> float:
    """What an RSI means, -1..1: its side as far as the market trends, else the way back from +-`edge` on.

    >>> strength(80.0, 15.0, 1.0) > 0.8, strength(80.0, 15.0, 0.0), strength(60.0, 15.0, 0.0)
    (True, -0.75, 0.0)
    """
    side = rsi - 50.0
    return follow * tanh(side / 25.0) - (1.0 - follow) * beyond(side, edge, 20.0)


def between(sight: Sight, reasons: Reasons) -> None:
    """Divergence on the higher intervals, and of this one's RSI from their price."""
    if not sight.higher:
        return
    share = 2.0 / sight.expected
    sides = slopes = diverging = against = 0.0
    turn = tanh(sight.now[RSI_SLOPE] / 10.0)
    for values in sight.higher:
        side, slope = values[DIVERGENCE], values[PRICE_SLOPE]
        if side == side:
            sides += share
            diverging += side
        if slope * turn < 0:
            against += abs(tanh(slope / 1.5))
        if slope == slope and turn == turn:
            slopes += share
    reasons.add("momentum", sides, share * diverging, "RSI diverges %+.0f on the higher intervals", diverging)
    text = "RSI turns %+.0f points against the higher intervals' price"
    reasons.add("momentum", slopes, share * turn * against if against else 0.0, text, sight.now[RSI_SLOPE])
