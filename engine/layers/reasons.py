"""The addends of a layer's score: a score is the sum of its reasons and nothing else.

What is too small to matter is not told one by one: it stands together in one last reason.
"""

from __future__ import annotations

from typing import Final

from engine.records import LayerScore, Moment, Reason

LEAST: Final = 1.0
"""Points below which an addend gets no reason of its own."""


class Reasons:
    """Collects what a layer found and answers its score.

    >>> from engine.records import Listing
    >>> reasons = Reasons()
    >>> reasons.add("trend", 12.0, 4.0, "EMA 9 %+.1f ATR from EMA 21", 0.5)
    >>> reasons.add("trend", 5.0, -0.25, "close %+.1f ATR from VWAP", -0.1)
    >>> moment = Moment("BTCUSDT", "5m", 300_000, Listing("BTCUSDT", "BTCUSDT", "BTC", "majors"), {})
    >>> score = reasons.score("technical", moment, whole=34.0)
    >>> score.score, score.coverage
    (3.75, 0.5)
    >>> [(reason.component, reason.text) for reason in score.reasons]
    [('trend', 'EMA 9 +0.5 ATR from EMA 21'), ('rest', 'small addends together')]
    """

    __slots__ = ("covered", "found", "rest")

    def __init__(self) -> None:
        self.found: list[Reason] = []
        self.covered = 0.0
        self.rest = 0.0

    def add(self, component: str, share: float, points: float, text: str, *numbers: float) -> None:
        """One addend: `share` of the layer was there to read, it moves the score by `points`.

        Points of nan say that something of it was missing: they add neither points nor coverage.
        `text` is a %-format of `numbers`.
        """
        if -LEAST < points < LEAST:
            self.covered += share
            self.rest += points
        elif points == points:
            self.covered += share
            self.found.append(Reason(component, points, text % numbers))

    def score(self, layer: str, moment: Moment, whole: float) -> LayerScore:
        """The sum of everything added; coverage is what was read of `whole`."""
        found = self.found
        if self.rest:
            found.append(Reason("rest", self.rest, "small addends together"))
        total = 0.0
        for reason in found:
            total += reason.points
        return LayerScore(
            layer, moment.symbol, moment.time, total, min(self.covered / whole, 1.0), tuple(found)
        )
