"""Many opinions of one moment, one Signal.

What the layers did not say is never made up: it lowers coverage, and `degraded` names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from math import erf, floor, inf, pi, sqrt
from types import MappingProxyType
from typing import Any, Final

from engine.errors import CorruptRecord, SettingsError
from engine.exits import EXITS, Exits, Levels
from engine.features import SCHEMA
from engine.models.view import calibrated, remarks, stated
from engine.records import (
    INTERVALS,
    Direction,
    Feed,
    LayerScore,
    LayerVote,
    Moment,
    Prediction,
    Signal,
)

RANGES: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "technical": (30.0, 45.0),
        "correlation": (10.0, 15.0),
        "onchain": (15.0, 25.0),
        "sentiment": (10.0, 15.0),
        "ml": (35.0, 35.0),
    }
)
"""The bounds a layer's raw weight moves in, in percent."""

WEIGHTS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "technical": {"trending": 45.0, "ranging": 30.0, "mixed": 37.0},
        "correlation": {"trending": 10.0, "ranging": 15.0, "mixed": 12.0},
        "ml": {"trending": 35.0, "ranging": 35.0, "mixed": 35.0},
    }
)
"""Of the layers that need nothing but candles; the settings have those of all."""

THRESHOLDS: Final[Mapping[str, float]] = MappingProxyType({"majors": 0.005, "alts": 0.008, "memes": 0.015})

LEARNT: Final = "ml"
"""The layer that speaks only with a calibrated prediction."""

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

COLUMNS: Final = ("atr_14", "support", "resistance")
SIDES: Final[Mapping[int, Direction]] = MappingProxyType({1: "LONG", 0: "NEUTRAL", -1: "SHORT"})
NOTHING_KNOWN: Final = 50.0
RANGE_OF_WALK: Final = sqrt(8 / pi)


def stillness(range_share: float, candles: int, threshold: float) -> float:
    """P(|move| < threshold) over `candles` of a driftless normal walk, 0..1.

    `range_share` is the average range of one candle and `threshold` the move, both as fractions of price.
    The range of a Brownian motion is sqrt(8/pi) = 1.596 of its standard deviation on average (Feller 1951).

    >>> round(stillness(0.002, 12, 0.005), 3)
    0.751
    """
    return erf(threshold * RANGE_OF_WALK / (range_share * sqrt(2 * candles)))


def uncalibrated(agreement: float, strength: float, coverage: float, most: float = 56.0) -> float:
    """A confidence while no calibrated model speaks: `NOTHING_KNOWN` plus a share of what is left to `most`.

    It is **no probability**: all that it promises is to grow with each of agreement, strength and coverage
    (all 0..1) and never to leave 50..`most`. The signal says "uncalibrated" in `degraded`.

    >>> uncalibrated(1.0, 0.5, 0.8), uncalibrated(1.0, 1.0, 0.0)
    (52.4, 50.0)
    """
    return round(NOTHING_KNOWN + (most - NOTHING_KNOWN) * agreement * strength * coverage, 4)


class Composer:
    """Combines what layers and models say of one moment into one signal; keeps nothing between two moments.

    The score is the mean of the scores of those who speak, by effective weight. `score`, `position_size`,
    `risk_reward` and an uncalibrated confidence are rounded to 4 decimals, and what follows from the score
    follows from the rounded one. Prices are those of the grid, or unrounded where the grid is unknown.

    With a calibrated prediction the side is that of p_up, taken if it pays, |2 p_up - 1| * expected move >
    costs, if it is at least `least` sure, if the layers do not contradict it with a score of `bound` or more,
    and if there are levels. Where the model has no skill there is no side. Confidence is 100 times the
    probability of what is said, to the bit: of that side, or of no move beyond the threshold for NEUTRAL.

    Without one the side is that of a score of `bound` or more, and "uncalibrated" stands in `degraded`.
    Confidence of LONG and SHORT is `uncalibrated(share of weight on that side, |score| / 100, coverage)`, of
    NEUTRAL `uncalibrated(share of weight within the bound, (1 - |score| / bound) * stillness, coverage)`,
    with the coverage of all layers but the one that needs the model. 50 says that nothing is known, which is
    also so when no layer speaks.

    Position size = (confidence - 50) / (most - 50), at most 1, * min(1, risk_budget / risk), rounded down:
    the share of a full position, smaller the farther the stop, so that a stop costs at most `risk_budget` of
    the account.

    Parameters
    ----------
    interval, horizon
        The decision interval, and candles of it until a signal is judged.
    thresholds
        By segment, the move (a fraction) below which a symbol counts as having gone nowhere.
    weights
        Raw weights in percent by layer and market condition, inside the specification's ranges.
    config_hash
        Of everything that can change a signal; part of its id.
    bound
        |score| from which a signal takes a side without a model, or forbids the model's. Absolute: a market
        without opinions makes no signals rather than the least bad ones. A quarter of the scale: the
        technical layer alone needs 25, beside an undecided correlation layer 33, beside a contradicting one
        more.
    costs
        Fee and slippage of entry and exit, a fraction: two sides of 0.05 % + 0.02 %. A target that does not
        lie beyond them is no trade, whatever the score.
    most
        The cap of an uncalibrated confidence, from which on a position is a full one: on real candles the
        best tenth of a fitted model's calls comes true in 56 of 100 cases, and nothing unfitted may claim
        more.
    risk_budget
        The fraction of the account that a stop may cost.
    grace
        How long after the next close, in ms, a signal stays valid: what the next one may need to replace it.
    least
        The confidence, in percent, from which a model's side is a call. Absolute, as `bound` is.
    exits
        Where stop and target are put; a model's trade lasts the horizon, and has its stops as far out as
        prices wander in that time.
    index
        Where the features `COLUMNS` stand in `Features.values`.
    """

    def __init__(
        self,
        interval: str = "5m",
        horizon: int = 12,
        thresholds: Mapping[str, float] = THRESHOLDS,
        weights: Mapping[str, Mapping[str, float]] = WEIGHTS,
        config_hash: str = "",
        *,
        bound: float = 25.0,
        costs: float = 0.0014,
        most: float = 56.0,
        risk_budget: float = 0.01,
        grace: int = 10_000,
        least: float = 54.0,
        exits: Exits = EXITS,
        index: Mapping[str, int] = SCHEMA.index,
    ) -> None:
        self.interval = interval
        self.horizon = horizon
        self.thresholds = dict(thresholds)
        self.config_hash = config_hash
        self.bound = bound
        self.costs = costs
        self.most = most
        self.risk_budget = risk_budget
        self.grace = grace
        self.least = least
        self.exits = exits
        self._lasting = exits.over(horizon)
        self._raw = by_condition(weights)
        self._columns = tuple(index[name] for name in COLUMNS)

    def threshold(self, segment: str) -> float:
        """The move, a fraction, below which a symbol of this segment counts as having gone nowhere."""
        if segment not in self.thresholds:
            raise SettingsError(
                f"segments: no threshold for {segment!r}, only for {', '.join(self.thresholds)}"
            )
        return self.thresholds[segment]

    def compose(
        self,
        moment: Moment,
        scores: Mapping[str, LayerScore],
        condition: str,
        feed: Feed,
        sources: Mapping[str, int],
        predictions: Mapping[str, Prediction] = NOTHING,
        models: Mapping[str, Any] = NOTHING,
        missed: tuple[str, ...] = (),
    ) -> Signal:
        """One signal of one moment.

        `scores` is by layer, `condition` a key of the raw weights, `sources` names what the moment was made
        of with its as-of time in ms. `predictions` is by model, `models` what the signal tells of each,
        `missed` what the layers did not hear.
        Raises `SettingsError` for a layer, condition or segment that no setting knows, `CorruptRecord` for a
        score or probability that is out of bounds.
        """
        raw = self._weights(condition, scores)
        votes = weigh(raw, scores)
        score = (
            round(sum([vote.weight * vote.score for vote in votes.values()]), 4) + 0.0
        )  # -0.0 + 0.0 is 0.0
        view = calibrated(predictions)
        side, levels, faults = self._trade(
            moment, self._side(view, score), self.exits if view is None else self._lasting
        )
        confidence = self._confidence(moment, side, score, votes, raw) if view is None else stated(view, side)
        notes = ["uncalibrated"] if view is None else []
        notes += [note for said in predictions.values() for note in remarks(said)]
        silent = [f"layer {layer} silent" for layer in raw if layer not in votes or not votes[layer].coverage]
        time = moment.time
        length = INTERVALS[self.interval]
        return Signal(
            id=signal_id(moment.symbol, self.interval, time, self.config_hash),
            symbol=moment.symbol,
            interval=self.interval,
            time=time,
            horizon_end=time + self.horizon * length,
            valid_until=time + length + self.grace,
            direction=SIDES[side],
            confidence=confidence,
            score=score,
            p_up=view.p_up if view else None,
            p3=view.p3 if view else None,
            position_size=self._size(confidence, levels),
            entry=moment.candle.close,
            stop_loss=levels.stop if levels else None,
            take_profit=levels.target if levels else None,
            risk_reward=round(levels.reward / levels.risk, 4) if levels else None,
            layers=votes,
            degraded=(*moment.degraded, *notes, *silent, *missed, *faults),
            sources=dict(sources),
            feed=feed,
            models=dict(models),
        )

    def _weights(self, condition: str, scores: Mapping[str, LayerScore]) -> dict[str, float]:
        raw = self._raw.get(condition)
        if raw is None:
            raise SettingsError(f"layers: no condition {condition!r}, only {', '.join(self._raw)}")
        if not scores.keys() <= raw.keys():
            unknown = ", ".join(sorted(scores.keys() - raw.keys()))
            raise SettingsError(f"layers: no weights for {unknown}, only for {', '.join(raw)}")
        return raw

    def _side(self, view: Prediction | None, score: float) -> int:
        """Which side is wanted, 1 up, -1 down, 0 none; before it is known whether a trade can stand there."""
        if view is None or view.p_up is None:
            return 0 if abs(score) < self.bound else 1 if score > 0 else -1
        side = 1 if view.p_up > 0.5 else -1
        pays = abs(2 * view.p_up - 1) * (view.expected_move or 0.0) > self.costs
        sure = stated(view, side) >= self.least
        return side if view.skill and pays and sure and side * score > -self.bound else 0

    def _trade(self, moment: Moment, side: int, exits: Exits) -> tuple[int, Levels | None, tuple[str, ...]]:
        """The side that is left, its levels, and what was in the way."""
        values = moment.now.values
        atr, low, high = [values[column] for column in self._columns]
        if not atr > 0:
            return 0, None, ("no atr",)
        if not side:
            return 0, None, ()
        behind, ahead = (low, high) if side > 0 else (high, low)
        levels = exits.levels(side, moment.candle.close, atr, behind, ahead, moment.listing.price_step)
        if levels is None:
            return 0, None, ("no levels",)
        if levels.reward <= self.costs:
            return 0, None, ("target within costs",)
        return side, levels, ()

    def _confidence(
        self,
        moment: Moment,
        side: int,
        score: float,
        votes: Mapping[str, LayerVote],
        raw: Mapping[str, float],
    ) -> float:
        read = [layer for layer in raw if layer != LEARNT]
        spoken = [votes[layer].weight_raw * votes[layer].coverage for layer in read if layer in votes]
        coverage = sum(spoken) / (sum([raw[layer] for layer in read]) or inf)
        if side:
            agreement = sum([vote.weight for vote in votes.values() if side * vote.score > 0])
            return uncalibrated(agreement, abs(score) / 100, coverage, self.most)
        agreement = sum([vote.weight for vote in votes.values() if abs(vote.score) < self.bound])
        calm = max(0.0, 1 - abs(score) / self.bound) * self._stillness(moment)
        return uncalibrated(agreement, calm, coverage, self.most)

    def _stillness(self, moment: Moment) -> float:
        share = moment.now.values[self._columns[0]] / moment.candle.close
        return stillness(share, self.horizon, self.threshold(moment.listing.segment)) if share > 0 else 0.0

    def _size(self, confidence: float, levels: Levels | None) -> float:
        if levels is None:
            return 0.0
        belief = min(1.0, (confidence - NOTHING_KNOWN) / (self.most - NOTHING_KNOWN))
        return floor(1e4 * belief * min(1.0, self.risk_budget / levels.risk)) / 1e4


def weigh(raw: Mapping[str, float], scores: Mapping[str, LayerScore]) -> dict[str, LayerVote]:
    """The layers' votes in the order of `raw`: effective weight = raw x coverage / sum over those who speak.

    Raises `CorruptRecord` for a score outside -100..100 or a coverage outside 0..1, nan included.
    """
    answered = [(layer, scores[layer], raw[layer]) for layer in raw if layer in scores]
    for layer, said, _ in answered:
        if not (-100 <= said.score <= 100 and 0 <= said.coverage <= 1):
            found = f"score was {said.score}, coverage {said.coverage}"
            raise CorruptRecord(f"{said.symbol} layer {layer} at {said.time}: {found}")
    # Summed in the order of `raw`, not of arrival: floats would remember it.
    spoken = sum([weight * said.coverage for _, said, weight in answered]) or inf
    return {
        layer: LayerVote(said.score, weight, weight * said.coverage / spoken, said.coverage, said.reasons)
        for layer, said, weight in answered
    }


def by_condition(weights: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The raw weights turned around: condition -> layer -> percent.

    Raises `SettingsError` for a weight outside its layer's range, or a layer that leaves out a condition.
    """
    turned: dict[str, dict[str, float]] = {}
    for layer, conditions in weights.items():
        least, most = RANGES.get(layer, (0.0, 100.0))
        for condition, weight in conditions.items():
            if not least <= weight <= most:
                raise SettingsError(f"layers.{layer}.{condition}: {weight} is not within {least:g}..{most:g}")
            turned.setdefault(condition, {})[layer] = weight
    for condition, raw in turned.items():
        if missing := weights.keys() - raw.keys():
            raise SettingsError(f"layers.{', '.join(sorted(missing))}: no weight for condition {condition!r}")
    return turned


def signal_id(symbol: str, interval: str, time: int, config_hash: str) -> str:
    """A signal's name: 24 hex digits of sha256 over symbol, interval, close and configuration."""
    return sha256(f"{symbol}|{interval}|{time}|{config_hash}".encode()).hexdigest()[:24]
