"""What the newest candles look like, and whether volume stands behind them.

At most 15 points; a pattern on thin volume counts half.
"""

from __future__ import annotations

from math import tanh
from typing import Final

from engine.features import SCHEMA
from engine.layers.reasons import Reasons
from engine.layers.technical.sight import Sight

NAMES: Final = ("engulfing", "pin bar", "three-line", "star")
ENGULFING: Final = SCHEMA.index["engulfing"]
PIN_BAR: Final = SCHEMA.index["pin_bar"]
THREE_LINE: Final = SCHEMA.index["three_line"]
STAR: Final = SCHEMA.index["star"]
BODY: Final = SCHEMA.index["body"]
RANGE: Final = SCHEMA.index["true_range_atr"]
VOLUME: Final = SCHEMA.index["volume_ratio"]
FLOW: Final = SCHEMA.index["obv_ratio_20"]

SHARE: Final = 15.0


def patterns(sight: Sight, reasons: Reasons) -> None:
    """Candlesticks 9, the candle's own push with its volume 3, on-balance volume 3."""
    now = sight.now
    volume, body, flow = now[VOLUME], now[BODY], now[FLOW]
    candlesticks(now, volume, reasons)
    behind = min(max((volume - 1.0) / 1.5, 0.0), 1.0)
    points = 3.0 * body * min(now[RANGE] / 1.5, 1.0) * behind
    reasons.add("patterns", 3.0, points, "body %+.0f%% of its range on %.1f x volume", 100.0 * body, volume)
    text = "on-balance volume %+.0f%% of 20 candles"
    reasons.add("patterns", 3.0, 3.0 * tanh(2.0 * flow), text, 100.0 * flow)


def candlesticks(now: tuple[float, ...], volume: float, reasons: Reasons) -> None:
    """The named patterns that are there, together: a star counts more than a body or a shadow alone."""
    flags = engulfing, pin_bar, three_line, star = now[ENGULFING], now[PIN_BAR], now[THREE_LINE], now[STAR]
    total = 0.5 * engulfing + 0.4 * pin_bar + 0.4 * three_line + 0.6 * star
    points = 9.0 * min(max(0.25 + 0.5 * volume, 0.5), 1.0) * min(max(total, -1.0), 1.0)
    named = [name for name, flag in zip(NAMES, flags, strict=True) if flag * total > 0] if total else []
    reasons.add("patterns", 9.0, points, ", ".join(named) + " on %.1f x volume", volume)
