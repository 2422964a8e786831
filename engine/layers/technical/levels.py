"""Where the price may turn: support and resistance, order blocks, fair value gaps, bands.

At most 20 points; a level turns a price that does not trend, and holds a trend less.
"""

from __future__ import annotations

from math import tanh
from typing import Final

from engine.features import SCHEMA
from engine.layers.reasons import Reasons
from engine.layers.technical.sight import Sight, beyond, near

SUPPORT: Final = SCHEMA.index["support_distance"]
RESISTANCE: Final = SCHEMA.index["resistance_distance"]
BULL_BLOCK: Final = SCHEMA.index["order_block_bull_distance"]
BEAR_BLOCK: Final = SCHEMA.index["order_block_bear_distance"]
BULL_GAP: Final = SCHEMA.index["fvg_bull_distance"]
BEAR_GAP: Final = SCHEMA.index["fvg_bear_distance"]
FILLED: Final = SCHEMA.index["fvg_filled"]
BAND: Final = SCHEMA.index["bb_position"]

SHARE: Final = 20.0


def levels(sight: Sight, reasons: Reasons) -> None:
    """Support against resistance 7, order blocks 4, fair value gaps 4, Bollinger position 5."""
    now, hold, follow = sight.now, sight.hold, sight.follow
    under, over = now[SUPPORT], now[RESISTANCE]
    points = 7.0 * hold * (near(under) - near(over))
    reasons.add("levels", 7.0, points, "support %.1f ATR below, resistance %.1f above", under, over)
    under, over = now[BULL_BLOCK], now[BEAR_BLOCK]
    points = 4.0 * hold * (near(under) - near(over))
    text = "order blocks: bullish %.1f ATR below, bearish %.1f above"
    reasons.add("levels", 4.0, points, text, under, over)
    # An open gap draws a floor (bullish) or a roof (bearish); one that was filled no longer holds.
    under, over, filled = now[BULL_GAP], now[BEAR_GAP], now[FILLED]
    points = 3.0 * (near(under) - near(over)) - filled
    text = "fair value gaps: bullish %.1f ATR below, bearish %.1f above, filled %+.0f"
    reasons.add("levels", 4.0, points, text, under, over, filled)
    band = now[BAND]
    side = 2.0 * band - 1.0
    points = 5.0 * (follow * tanh(side) - (1.0 - follow) * beyond(side, 0.6, 0.6))
    reasons.add("levels", 5.0, points, "at %.0f%% of the Bollinger bands", 100.0 * band)
