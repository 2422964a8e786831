"""Whether a new version may take the place of the one that serves: by its answers to what it had not seen.

Both are asked about the same recent closes, each by trees that had been grown without them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import polars as pl

from engine.errors import StorageError
from engine.models.growing import Grown, Plan, Rows
from engine.models.shelf import Shelf
from engine.research import Array
from engine.research.labels import classes
from engine.research.rows import INPUTS_HASH
from engine.research.significance import Days

FILE: Final = "recent.parquet"
SLICE: Final = 60 * 86_400_000
"""Ms before `until` that are compared."""

COLUMNS: Final = {"symbol": pl.String, "time": pl.Int64, "loss": pl.Float64}

ENOUGH: Final = 200
"""Common closes below which nothing can be told."""


@dataclass(frozen=True, eq=False)
class Recent:
    """Out-of-fold log-losses of p3 at recent closes: `symbol`, `time`, `loss`."""

    rows: pl.DataFrame

    def save(self, folder: Path) -> None:
        """Beside the version's other files."""
        self.rows.write_parquet(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Raises `StorageError` for a file that cannot be read."""
        try:
            rows = pl.read_parquet(folder / FILE)
            return cls(rows.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items()))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise StorageError(f"{folder / FILE}: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class Verdict:
    """Passed or not, why, and the figures behind it."""

    passed: bool
    reason: str
    figures: Mapping[str, Any]


def recent_of(fitted: Mapping[str, tuple[Rows, Grown, Plan]], names: Sequence[str], until: int) -> Recent:
    """Of every segment's rows in the slice before `until`; `names` are those of the rows' symbol numbers."""
    frames = []
    for rows, grown, plan in fitted.values():
        newest = rows.time > until - SLICE
        calibration = grown.segment.calibrations[plan.interval].thirds
        p3 = calibration.of_logit(grown.size[newest], grown.side[newest])
        became = classes(rows.moves[newest], plan.threshold).astype(np.int64)
        loss = -np.log(np.maximum(p3[np.arange(len(p3)), became], 1e-12))
        symbol = [names[number] for number in rows.symbol[newest].tolist()]
        frames.append(pl.DataFrame({"symbol": symbol, "time": rows.time[newest], "loss": loss}))
    return Recent(pl.concat(frames).sort("time", "symbol"))


def passes(challenger: Recent, shelf: Shelf, segments: Collection[str] = ()) -> Verdict:
    """A challenger passes unless it is worse than the champion beyond chance (5 %, days drawn in blocks).

    Nor does one that lacks `segments` which the champion has: symbols that are spoken of would fall silent.
    """
    champion = None
    try:
        champion = shelf.current()
        if champion is None:
            return Verdict(True, "the first version", {})
        known = Recent.load(shelf.opened(champion, INPUTS_HASH))
        served = shelf.manifest(champion).metrics.get("segments", {})
    except StorageError as error:
        return Verdict(True, f"the version before cannot be used: {error}", {"champion": champion})
    if segments and (lost := sorted(set(served) - set(segments))):
        reason = f"it has no trees for {', '.join(lost)}, and {champion} has"
        return Verdict(False, reason, {"champion": champion})
    both = challenger.rows.join(known.rows, on=("symbol", "time"), suffix="_before").sort("time", "symbol")
    if both.height < ENOUGH:
        reason = f"only {both.height} recent closes in common with {champion}"
        return Verdict(True, reason, {"champion": champion, "rows": both.height})
    worse: Array = (both["loss"] - both["loss_before"]).to_numpy()
    days = Days.of(both["time"].to_numpy(), np.random.default_rng(0), count=500)
    low, high = days.mean(worse, level=0.9)
    figures = {
        "champion": champion,
        "rows": both.height,
        "log_loss": float(both["loss"].to_numpy().mean()),
        "log_loss_champion": float(both["loss_before"].to_numpy().mean()),
        "difference_ci90": [float(low), float(high)],
    }
    passed = low <= 0
    word = "not worse than" if passed else "worse than"
    return Verdict(
        passed, f"{word} {champion} on {both.height} recent closes: {worse.mean():+.5f} nats", figures
    )
