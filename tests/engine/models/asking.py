"""Moments that a model may be asked about, and a small model that answers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.features import SCHEMA
from engine.records import (
    INTERVALS,
    Activation,
    Candle,
    Features,
    Listing,
    MarketFrame,
    Moment,
    Prediction,
)

HOUR = INTERVALS["1h"]
FIVE = INTERVALS["5m"]
NINE = 1_709_629_200_000
"""2024-03-05 09:00 UTC."""

ACTIVE = Activation(NINE - 2 * HOUR, "boosted", "v1", serves_from=NINE - HOUR, expires=NINE + 7 * 24 * HOUR)


def features(symbol: str, interval: str, time: int, close: float = 100.0, seen: int = 1000) -> Features:
    candle = Candle.of(close, time=time, symbol=symbol, interval=interval)
    return Features(symbol, interval, time, candle, (0.0,) * len(SCHEMA.names), seen)


def frame(symbol: str, time: int, filled: int = 96, interval: str = "1h") -> MarketFrame:
    return MarketFrame(symbol, time, 17, 17, *(0.0,) * 11, interval=interval, filled=filled)


def moment(
    time: int = NINE,
    symbol: str = "BTCUSDT",
    *,
    interval: str = "5m",
    seen: int = 1000,
    filled: int = 96,
    close: float = 100.0,
    activation: Activation | None = ACTIVE,
) -> Moment:
    """A moment with everything a model on 1h reads, where its candle closes then."""
    known = {interval: features(symbol, interval, time, close)}
    frames = {}
    hour = time - time % HOUR
    if interval != "1h":
        known["1h"] = features(symbol, "1h", hour, close, seen)
    if hour == time:
        frames["1h"] = frame(symbol, time, filled)
    return Moment(
        symbol,
        interval,
        time,
        Listing(symbol, symbol, symbol.removesuffix("USDT"), "majors"),
        known,
        market=frame(symbol, time, interval=""),
        frames=frames,
        activations={} if activation is None else {"boosted": activation},
    )


def said(moment: Moment, p_up: float | None = 0.56, **changed: Any) -> Prediction:
    """A prediction of a model that has skill."""
    chance = 0.5 if p_up is None else p_up
    made = Prediction(
        moment.symbol,
        moment.time,
        "boosted",
        moment.time,
        "v1",
        p_up,
        ((1 - chance) / 2, 0.5, chance / 2),
        skill=True,
        expected_move=0.02,
        novelty=0.5,
        quantile=0.7,
        contributions=(("rsi_14", 0.3), ("btc_return", -0.1)),
    )
    return replace(made, **changed)


class Simple:
    """A version whose answer is a function of the moment alone: its symbol, close and time."""

    def __init__(self, version: str = "v1") -> None:
        self.version = version
        self.batches: list[int] = []

    def predict(self, moments: Sequence[Moment], explain: bool = True) -> list[Prediction]:
        self.batches.append(len(moments))
        return [self._answer(moment, explain) for moment in moments]

    def _answer(self, moment: Moment, explain: bool) -> Prediction:
        place = round(moment.candle.close * 1e4) + moment.time // FIVE + len(moment.symbol)
        chance = 0.4 + 0.2 * (place % 97) / 96
        made = said(moment, chance, version=self.version)
        return made if explain else replace(made, contributions=())


class Traitor(Simple):
    """A version whose answers betray who else was asked."""

    def _answer(self, moment: Moment, explain: bool) -> Prediction:
        return replace(super()._answer(moment, explain), novelty=self.batches[-1] / 1000)
