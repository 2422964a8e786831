"""The boosted model: trees for each segment (majors, alts, memes); a version of it answers moments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, isnan
from pathlib import Path
from typing import Final, Self

import numpy as np

from engine.errors import StorageError
from engine.extras import EXTRAS, NOTHING
from engine.models.manifest import Manifest
from engine.models.segment import Segment
from engine.records import Moment, Prediction
from engine.research import Array
from engine.research.rows import INPUTS, row_of

NAME: Final = "boosted"
TOLD: Final = 6
"""Contributions that travel with a prediction: the largest."""


class Boosted:
    """One version; `segments` by name.

    Reads the features and the market frame of its own interval, which must have closed with the moment.
    """

    def __init__(self, version: str, interval: str, segments: Mapping[str, Segment]) -> None:
        self.version = version
        self.interval = interval
        self.segments = dict(segments)

    @classmethod
    def load(cls, folder: Path, manifest: Manifest) -> Self:
        """A version as it lies on the shelf; raises `StorageError` naming the file that cannot be used."""
        names = manifest.metrics.get("segments")
        if not (isinstance(names, Mapping) and names):
            raise StorageError(
                f"{manifest.version}: its manifest names no segments in metrics, but {names!r}"
            )
        found = {name: Segment.load(folder, name) for name in sorted(names)}
        return cls(manifest.version, manifest.interval, found)

    def save(self, folder: Path) -> None:
        """Write every segment's files into a folder."""
        for name, segment in self.segments.items():
            segment.save(folder, name)

    def predict(self, moments: Sequence[Moment], explain: bool = True) -> list[Prediction]:
        """One prediction a moment, in order; one that cannot be made says why in `fault`."""
        found: list[Prediction] = [self._silent(moment) for moment in moments]
        for name, interval in sorted({self._asked(moment) for moment in moments}):
            places = [
                place for place, moment in enumerate(moments) if self._asked(moment) == (name, interval)
            ]
            if self.segments.get(name) is None or interval not in self.segments[name].calibrations:
                continue
            asked = [moments[place] for place in places]
            for place, prediction in zip(places, self._answers(asked, explain), strict=True):
                found[place] = prediction
        return found

    def _asked(self, moment: Moment) -> tuple[str, str]:
        return moment.listing.segment, moment.interval

    def _silent(self, moment: Moment) -> Prediction:
        segment = moment.listing.segment
        fault = f"no trees for {segment}"
        if segment in self.segments:
            fault = f"not calibrated for {moment.interval}"
        return Prediction(moment.symbol, moment.time, NAME, moment.time, self.version, fault=fault)

    def _answers(self, moments: Sequence[Moment], explain: bool) -> Iterable[Prediction]:
        """Of moments of one segment and interval."""
        segment, interval = self.segments[moments[0].listing.segment], moments[0].interval
        rows = np.array([self.row(moment, segment.optional) for moment in moments], np.float32)
        answer = segment.answer(rows, interval)
        parts = segment.explain(rows) if explain else None
        quantile = segment.calibrations[interval].quantile
        for place, moment in enumerate(moments):
            down, still, up = answer.p3[place].tolist()
            move = float(answer.move[place])
            yield Prediction(
                symbol=moment.symbol,
                time=moment.time,
                model=NAME,
                made=moment.time,
                version=self.version,
                p_up=float(answer.p_up[place]),
                p3=(down, still, up),
                skill=segment.skill,
                expected_move=move if isfinite(move) else None,
                novelty=float(answer.novelty[place]),
                quantile=quantile,
                contributions=largest(parts[place], segment.inputs) if parts is not None else (),
                fault=absent(moment, segment.read),
            )

    def row(self, moment: Moment, optional: Sequence[str] = ()) -> tuple[float, ...]:
        """What it reads of a moment, in the order of `INPUTS` and these optional ones."""
        extras = moment.extras or NOTHING
        return row_of(moment.features[self.interval], moment.frames[self.interval], extras, optional)


def absent(moment: Moment, read: Sequence[str]) -> str:
    """What a version was fitted on and is not known now; what it says then is less than it could be."""
    extras = moment.extras or NOTHING
    missing = [name for name in read if isnan(extras[EXTRAS.index(name)])]
    return f"without {', '.join(missing)}" if missing else ""


def largest(parts: Array, inputs: Sequence[str] = INPUTS) -> tuple[tuple[str, float], ...]:
    """The inputs that moved the log-odds most, by name, the largest first; those that did not are left out.

    >>> parts = np.zeros(len(INPUTS)); parts[3], parts[5] = -0.25, 0.125
    >>> [value for _, value in largest(parts)]
    [-0.25, 0.125]
    """
    order = np.argsort(-np.abs(parts), kind="stable")[:TOLD]
    return tuple((inputs[place], float(parts[place])) for place in order.tolist() if parts[place])
