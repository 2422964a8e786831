"""Candles in, numbers out: every indicator, and the set that features are made of.

A new one is a class in its family's file and one line in `standard`; nothing is discovered.
"""

from __future__ import annotations

from engine.indicators.base import Column, Indicator, Panel, names_of
from engine.indicators.derived import BandPosition, Clock, Divergence, EMACross
from engine.indicators.momentum import MACD, RSI, Impulse, Returns
from engine.indicators.past import Past
from engine.indicators.patterns import Patterns, Shape
from engine.indicators.structure import Levels, Swings
from engine.indicators.trend import ADX, EMA, SMA, Distances, Slopes
from engine.indicators.volatility import ATR, Bollinger, Channel, Ranges, Volatility
from engine.indicators.volume import OBV, VWAP, VolumeRatio, VWAPDistance
from engine.indicators.zones import FairValueGaps, OrderBlocks

__all__ = [
    "ADX",
    "ATR",
    "EMA",
    "MACD",
    "OBV",
    "RSI",
    "SMA",
    "VWAP",
    "BandPosition",
    "Bollinger",
    "Channel",
    "Clock",
    "Column",
    "Distances",
    "Divergence",
    "EMACross",
    "FairValueGaps",
    "Impulse",
    "Indicator",
    "Levels",
    "OrderBlocks",
    "Panel",
    "Past",
    "Patterns",
    "Ranges",
    "Returns",
    "Shape",
    "Slopes",
    "Swings",
    "VWAPDistance",
    "Volatility",
    "VolumeRatio",
    "names_of",
    "standard",
]


def standard() -> tuple[Indicator, ...]:
    """A new set of every indicator in the feature schema, in its order.

    Those that others read are made first and handed to them, so that each is computed once.
    """
    rsi, macd, atr, bands = RSI(14), MACD(), ATR(14), Bollinger()
    fast, slow, middle, long = EMA(9), EMA(21), SMA(50), SMA(200)
    vwap, channel, shape = VWAP(), Channel(20), Shape()
    swings = Swings(channel=channel)
    return (
        rsi,
        RSI(7),
        macd,
        fast,
        slow,
        middle,
        long,
        ADX(14),
        bands,
        atr,
        OBV(by_session=True),
        vwap,
        VolumeRatio(20),
        channel,
        swings,
        Levels(swings, atr),
        OrderBlocks(swings=swings, atr=atr),
        FairValueGaps(atr=atr),
        shape,
        Patterns(shape),
        BandPosition(bands),
        EMACross(fast, slow),
        Divergence(rsi, swings, atr),
        Returns(),
        Impulse(macd, atr),
        Distances((fast, slow, middle, long), atr),
        Slopes((fast, slow), atr),
        VWAPDistance(vwap, atr),
        Ranges(atr),
        Volatility(),
        Clock(),
    )
