"""One segment of the boosted model: a line and trees for the side, trees for the size, and their worth.

Answers rows of `engine.research.rows.INPUTS`; a row's answer has the same bits alone and in any batch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
import xgboost
from numpy.typing import NDArray

from engine.errors import StorageError
from engine.extras import EXTRAS
from engine.models.linear import Linear
from engine.research import Array
from engine.research.calibration import Platt, Thirds, parted
from engine.research.metrics import SUREST
from engine.research.novelty import Novelty, shrink
from engine.research.rows import INPUTS

VOLATILITY: Final = tuple(INPUTS.index(name) for name in ("volatility_24", "volatility_96"))
Singles = NDArray[np.float32]


def volatility(rows: Singles) -> Array:
    """What an expected move is measured in: the mean of the day's and four days' volatility a candle."""
    wide = np.asarray(rows[:, VOLATILITY], np.float64)
    return np.asarray(wide.mean(axis=1), np.float64)


@dataclass(frozen=True, slots=True)
class Calibration:
    """From log-odds to what is published, for signals that are judged 12 candles of one interval later.

    `side` makes p_up of the side's log-odds, `thirds` p3 of both, `move` the expected |move| of a volatility;
    `quantile` bounds 1 - p of the classes of a 90 % set.
    """

    side: Platt
    thirds: Thirds
    move: float
    quantile: float

    def to_json(self) -> dict[str, Any]:
        return {
            "side": self.side.to_json(),
            "thirds": self.thirds.to_json(),
            "move": self.move,
            "quantile": self.quantile,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Raises `StorageError` for what cannot be read or meant."""
        try:
            side, thirds = Platt.from_json(kept["side"]), Thirds.from_json(kept["thirds"])
            made = cls(side, thirds, float(kept["move"]), float(kept["quantile"]))
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            raise StorageError(f"a calibration cannot be read: {fault!r}") from fault
        if not (0 <= made.move < inf and 0 <= made.quantile <= 1):
            raise StorageError(f"a calibration had a move of {made.move} and a quantile of {made.quantile}")
        return made


class Answer(NamedTuple):
    """What a segment says of rows: `p_up` (n,), `p3` (n, 3), `move` (n,) as a fraction, `novelty` (n,)."""

    p_up: Array
    p3: Array
    move: Array
    novelty: Array


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A fitted segment; `calibrations` is by decision interval, `skill` what unseen data said.

    A row holds `INPUTS` and behind them the `optional` ones that it was offered; the side and the size each
    read as many of its first columns as they were fitted on.
    """

    line: Linear
    side: xgboost.Booster
    size: xgboost.Booster
    calibrations: Mapping[str, Calibration]
    novelty: Novelty
    skill: bool
    optional: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of a row's columns."""
        return (*INPUTS, *self.optional)

    @property
    def read(self) -> tuple[str, ...]:
        """The optional inputs that side or size were fitted on."""
        width = max(len(self.line.centre), self.size.num_features())
        return self.optional if width > len(INPUTS) else ()

    def side_margin(self, rows: Singles) -> Array:
        """Log-odds of a move up, uncalibrated."""
        rows = first(rows, len(self.line.centre))
        start = self.line.margin(rows.astype(np.float64)).astype(np.float32)
        return margin(self.side, rows, start)

    def answer(self, rows: Singles, interval: str) -> Answer:
        """What is published for signals of `interval`; raises `KeyError` without a calibration for it.

        What lies farther out than usual is believed less: its side moves towards 1/2. Nothing is certain.
        """
        calibration = self.calibrations[interval]
        novelty = self.novelty.ratio(first(rows, len(INPUTS)).astype(np.float64))
        belief = shrink(novelty)
        side, size = self.side_margin(rows), margin(self.size, first(rows, self.size.num_features()))
        p_up = 0.5 + (np.clip(calibration.side.of_logit(side), SUREST, 1 - SUREST) - 0.5) * belief
        moved = calibration.thirds.size.of_logit(size)
        up = 0.5 + (calibration.thirds.side.of_logit(side) - 0.5) * belief
        return Answer(p_up, parted(moved, up), calibration.move * volatility(rows), novelty)

    def explain(self, rows: Singles) -> Array:
        """What each input adds to the side's log-odds, (n, its inputs): the line's parts and SHAP values.

        Lundberg et al. (2020), as XGBoost computes them; with what no input brings they sum to the margin.
        """
        rows = first(rows, len(self.line.centre))
        trees = self.side.predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True)
        return self.line.parts(rows.astype(np.float64)) + np.asarray(trees, np.float64)[:, :-1]

    def save(self, folder: Path, name: str) -> None:
        """Write `<name>.json`, `<name>.side.json` and `<name>.size.json` into a folder."""
        self.side.save_model(folder / f"{name}.side.json")
        self.size.save_model(folder / f"{name}.size.json")
        kept = {
            "line": self.line.to_json(),
            "calibrations": {interval: known.to_json() for interval, known in self.calibrations.items()},
            "novelty": self.novelty.to_json(),
            "skill": self.skill,
            **({"optional": list(self.optional)} if self.optional else {}),
        }
        (folder / f"{name}.json").write_text(json.dumps(kept, sort_keys=True, allow_nan=False))

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read them back; raises `StorageError` naming the file that cannot be used."""
        try:
            kept = json.loads((folder / f"{name}.json").read_text())
            line, optional = Linear.from_json(kept["line"]), tuple(kept.get("optional", ()))
            if unknown := sorted(set(optional) - set(EXTRAS)):
                raise ValueError(f"it reads {', '.join(unknown)}, which is no optional input")
            made = cls(
                line,
                booster(folder / f"{name}.side.json", len(line.centre)),
                booster(folder / f"{name}.size.json", None, len(INPUTS) + len(optional)),
                {at: Calibration.from_json(known) for at, known in kept["calibrations"].items()},
                Novelty.from_json(kept["novelty"]),
                bool(kept["skill"]),
                optional,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
            raise StorageError(f"{folder / name}.json cannot be used: {fault!r}") from fault
        widths = len(made.line.centre), made.novelty.width
        if widths[1] != len(INPUTS) or widths[0] not in (len(INPUTS), len(made.inputs)):
            raise StorageError(
                f"{folder / name}.json reads {widths[0]} and {widths[1]} inputs, not {len(INPUTS)}"
            )
        return made


def first(rows: Singles, width: int) -> Singles:
    """The first `width` columns of rows."""
    return rows if rows.shape[1] == width else np.ascontiguousarray(rows[:, :width])


def booster(path: Path, width: int | None, most: int = 0) -> xgboost.Booster:
    """Trees that read `width` inputs; None = those that are always there, or `most`.

    Raises `StorageError` for a file that XGBoost refuses, or whose trees read other rows or say more.
    """
    try:
        made = xgboost.Booster(model_file=path)
        made.set_param({"nthread": 1})
        if width is None:
            width = most if made.num_features() == most else len(INPUTS)
        margin(made, blank := np.zeros((1, width), np.float32), blank[:, 0])
    except (xgboost.core.XGBoostError, ValueError) as fault:
        raise StorageError(f"{path} cannot be used: {str(fault).splitlines()[0]}") from fault
    return made


def margin(trees: xgboost.Booster, rows: Singles, start: Singles | None = None) -> Array:
    """Log-odds of the trees, from a start of each row where there is one."""
    if not len(rows):
        return np.zeros(0)
    return np.asarray(trees.inplace_predict(rows, predict_type="margin", base_margin=start), np.float64)
