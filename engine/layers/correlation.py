"""The correlation layer: what the others' moves say about this symbol.

It reads the market frame and the average range; without a frame it has nothing to say.
"""

from __future__ import annotations

from math import tanh
from typing import Final

from engine.features import SCHEMA
from engine.layers.reasons import Reasons
from engine.records import LayerScore, MarketFrame, Moment

UNIT: Final = SCHEMA.index["atr_ratio"]
STILL: Final = 1e-6
"""An average range below this share of the price is no unit to measure in."""


class Correlation:
    """BTC beta 25, lead 10, sector 25, divergence 25, decorrelation 15 points at most.

    beta           BTC's last move times the beta, in the symbol's average ranges: up pulls up, as far as
                   they correlate
    lead           the same move, as far as the symbol has been following BTC a candle later
    sector         the same with the mean move of the others in its segment
    divergence     a spread to BTC more than one deviation from its mean comes back, as far as they correlate
    decorrelation  where the correlation fell the symbol goes its own way, on along its spread; where it rose
                   the spread closes

    For BTC itself the others' mean stands in for BTC, as in its frame.
    """

    name = "correlation"

    def __call__(self, moment: Moment) -> LayerScore:
        """This layer's opinion of one moment."""
        reasons = Reasons()
        frame = moment.market
        if frame is not None:
            unit = moment.now.values[UNIT]
            if unit > STILL:
                followed(frame, unit, moment.listing.asset == "BTC", reasons)
                among_peers(frame, unit, reasons)
            apart(frame, reasons)
        return reasons.score(self.name, moment, 100.0)


def followed(frame: MarketFrame, unit: float, is_btc: bool, reasons: Reasons) -> None:
    """What BTC's last move pulls: at once by correlation, a candle later by lead."""
    who, move = ("market", frame.market_return) if is_btc else ("BTC", frame.btc_return)
    beta, correlation, lead = frame.beta, frame.btc_correlation, frame.lead
    points = 25.0 * abs(correlation) * tanh(move * beta / unit)
    text = who + " %+.2f%% x beta %.2f, correlation %.2f"
    reasons.add("beta", 25.0, points, text, 100.0 * move, beta, correlation)
    points = 10.0 * lead * tanh(move * abs(beta) / unit)
    text = who + " %+.2f%%, leading by a candle with correlation %.2f"
    reasons.add("lead", 10.0, points, text, 100.0 * move, lead)


def among_peers(frame: MarketFrame, unit: float, reasons: Reasons) -> None:
    """What the segment's last move pulls."""
    move, beta, correlation = frame.sector_return, frame.sector_beta, frame.sector_correlation
    points = 25.0 * abs(correlation) * tanh(move * beta / unit)
    text = "sector %+.2f%% x beta %.2f, correlation %.2f"
    reasons.add("sector", 25.0, points, text, 100.0 * move, beta, correlation)


def apart(frame: MarketFrame, reasons: Reasons) -> None:
    """What the distance to BTC says: coming back while they correlate, going on where that ends."""
    z, now, before = frame.spread_z, frame.btc_correlation, frame.btc_correlation_before
    stretched = min(max(abs(z) - 1.0, 0.0) / 2.0, 1.0)
    points = 25.0 * max(now, 0.0) * (-stretched if z > 0 else stretched)
    reasons.add("divergence", 25.0, points, "spread %+.1f deviations from its mean", z)
    change = min(max((now - before) / 0.5, -1.0), 1.0)
    text = "correlation %.2f, before %.2f, spread %+.1f deviations"
    reasons.add("decorrelation", 15.0, -15.0 * change * tanh(z / 2.0), text, now, before, z)
