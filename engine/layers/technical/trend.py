"""Where the price is going: averages, VWAP, ADX, and whether the higher intervals agree.

At most 40 points; half of what the averages say stands always, the other half as far as ADX says "trend".
"""

from __future__ import annotations

from math import tanh
from typing import Final

from engine.features import SCHEMA
from engine.layers.reasons import Reasons
from engine.layers.technical.sight import ADX, EMA_9, EMA_21, Sight, leaning

SMA_50: Final = SCHEMA.index["sma_50_distance"]
SMA_200: Final = SCHEMA.index["sma_200_distance"]
VWAP: Final = SCHEMA.index["vwap_distance"]
PLUS: Final = SCHEMA.index["plus_di_14"]
MINUS: Final = SCHEMA.index["minus_di_14"]

SHARE: Final = 40.0
HIGHER: Final = 6.0
"""The part of `SHARE` that the higher intervals have."""


def trend(sight: Sight, reasons: Reasons) -> None:
    """EMA 9/21 12, close over SMA 50 5, SMA 50/200 5, VWAP 5, ADX with DI 7, higher intervals 6."""
    now, trust = sight.now, sight.trust
    apart = now[EMA_21] - now[EMA_9]
    reasons.add("trend", 12.0, 12.0 * trust * leaning(now), "EMA 9 %+.2f ATR from EMA 21", apart)
    middle, long = now[SMA_50], now[SMA_200]
    points = 5.0 * trust * tanh(middle / 2.5)
    if long == long:
        points += 5.0 * trust * tanh((long - middle) / 4.0)
        text = "close %+.1f ATR from SMA 50, that %+.1f from SMA 200"
        reasons.add("trend", 10.0, points, text, middle, long - middle)
    else:
        reasons.add("trend", 5.0, points, "close %+.1f ATR from SMA 50", middle)
    vwap = now[VWAP]
    reasons.add("trend", 5.0, 5.0 * trust * tanh(vwap / 3.0), "close %+.1f ATR from VWAP", vwap)
    adx, plus, minus = now[ADX], now[PLUS], now[MINUS]
    strength = min(max((adx - 15.0) / 20.0, 0.0), 1.0)
    points = 7.0 * strength * ((plus - minus) / (plus + minus) if plus + minus else 0.0)
    reasons.add("trend", 7.0, points, "ADX %.0f, +DI %.0f against -DI %.0f", adx, plus, minus)
    higher(sight, reasons)


def higher(sight: Sight, reasons: Reasons) -> None:
    """Whether the higher intervals lean the same way: the mean of where their EMA 9 and 21 stand."""
    there = up = 0
    total = 0.0
    for values in sight.higher:
        side = leaning(values)
        if side == side:
            there += 1
            total += side
            up += side > 0
    if there:
        share = HIGHER / sight.expected
        reasons.add("trend", share * there, share * total, "%d of %d higher intervals lean up", up, there)
