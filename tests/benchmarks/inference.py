"""Milliseconds per question to a version: one row and a close of 17, with and without reasons.

`python -m tests.benchmarks.inference [--quick]`. Beside each the same trees asked bare, in the same run:
ratios travel better than milliseconds. Two versions fitted on rows made up: the specification's worst case,
200 rounds of depth 8, and the usual one, whose folds stop early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, Final

import numpy as np
import xgboost

from engine.features import SCHEMA
from engine.models.boosted import Boosted
from engine.models.growing import REGULARISED, SIZES, Plan, Rows, beginning, grow, outcomes, trained
from engine.models.segment import Segment, Singles
from engine.records import MarketFrame, Moment
from engine.research.rows import MARKET
from tests.benchmarks.machine import machine, quick_or_not
from tests.engine.models.asking import NINE, features, moment
from tests.engine.models.test_growing import HORIZON, HOUR, columns, planted

CROWD: Final = {"majors": 3, "alts": 8, "memes": 6}
"""Symbols of each segment at a close."""

DEEPEST: Final[Mapping[str, Any]] = {
    "max_depth": 8,
    "learning_rate": 0.03,
    "n_estimators": 200,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "min_child_weight": 1,
}
Ask = Callable[[], object]

TARGETS: Final = {"1 row": 1.0, "17 rows": 5.0, "17 rows, reasons": 20.0}
"""Milliseconds that a question should take in the middle."""


def plan(candidates: Mapping[str, Mapping[str, Any]]) -> Plan:
    return Plan("1h", HOUR, HORIZON, 0.02, candidates, seed=7)


def usual(rows: Rows) -> Segment:
    """As training leaves it: the better of two candidates, as many rounds as the folds bore."""
    grown = grow(rows, plan({"configured": DEEPEST, "regularised": REGULARISED}))
    print(f"usual: {grown.chosen} trees, {dict(grown.rounds)} rounds")
    return grown.segment


def deepest(rows: Rows, known: Segment) -> Segment:
    """The same with every round of the specification's deepest trees."""
    (up, moved), weight = outcomes(rows, plan({})), np.ones(len(rows))
    side = trained(rows.inputs, up, weight, DEEPEST, 200, beginning(known.line, rows.inputs))
    return replace(known, side=side, size=trained(rows.inputs, moved, weight, SIZES, 200))


def asked(rows: Singles) -> list[Moment]:
    """A moment for each row, the segments as many as there are symbols of them."""
    names = [name for name, count in CROWD.items() for _ in range(count)]
    return [telling(row, name, f"S{at}USDT") for at, (row, name) in enumerate(zip(rows, names, strict=False))]


def telling(row: Singles, segment: str, symbol: str) -> Moment:
    values = dict(zip((*SCHEMA.ratios, *MARKET), row.tolist(), strict=True))
    hourly = replace(
        features(symbol, "1h", NINE), values=tuple(values.get(name, np.nan) for name in SCHEMA.names)
    )
    numbers = {name: values[name] for name in MARKET}
    frame = MarketFrame(symbol, NINE, 17, 17, **numbers, interval="1h", filled=96)
    held = moment(NINE, symbol, interval="1h")
    return replace(
        held, listing=replace(held.listing, segment=segment), features={"1h": hourly}, frames={"1h": frame}
    )


def bare(version: Boosted, moments: Sequence[Moment]) -> Ask:
    """The same trees asked about the same rows and nothing else."""
    parts = [
        (trees, np.array([version.row(one) for one in mine], np.float32))
        for name, segment in version.segments.items()
        if (mine := [one for one in moments if one.listing.segment == name])
        for trees in (segment.side, segment.size)
    ]
    return lambda: [trees.inplace_predict(rows, predict_type="margin") for trees, rows in parts]


def bare_reasons(version: Boosted, moments: Sequence[Moment]) -> Ask:
    """XGBoost's own SHAP values of the same rows, beside the answers."""
    parts = [
        (segment.side, np.array([version.row(one) for one in mine], np.float32))
        for name, segment in version.segments.items()
        if (mine := [one for one in moments if one.listing.segment == name])
    ]
    answers = bare(version, moments)

    def ask() -> None:
        answers()
        for trees, rows in parts:
            trees.predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True)

    return ask


def timed(ways: Sequence[Ask], seconds: float) -> list[tuple[float, float]]:
    """p50 and p99 in ms of each way, taken in turn, so that all meet the same load."""
    taken: list[list[float]] = [[] for _ in ways]
    until = perf_counter() + seconds
    while perf_counter() < until or len(taken[0]) < 20:
        for way, found in zip(ways, taken, strict=True):
            begin = perf_counter()
            way()
            found.append((perf_counter() - begin) * 1e3)
    return [(float(np.median(found)), float(np.percentile(found, 99))) for found in taken]


def asking(version: Boosted, moments: Sequence[Moment], explain: bool) -> Ask:
    return lambda: version.predict(moments, explain)


def questions(version: Boosted, rows: Singles) -> Iterator[tuple[str, Ask, Ask]]:
    """Each question by name, and the bare trees' share of it."""
    for count, name in ((1, "1 row"), (17, "17 rows")):
        held = asked(rows[:count])
        yield name, asking(version, held, explain=False), bare(version, held)
        yield f"{name}, reasons", asking(version, held, explain=True), bare_reasons(version, held)


def main() -> None:
    quick = quick_or_not(__doc__)
    print(machine())
    rows = planted(closes=400 if quick else 3_500, symbols=6)
    begin = perf_counter()
    known = usual(rows)
    versions = {"200 rounds, depth 8": deepest(rows, known), "stopped early": known}
    print(f"two versions of {len(rows)} rows fitted in {perf_counter() - begin:.0f} s")
    print(f"{'':40} {'p50 ms':>8} {'p99 ms':>8} {'bare p50':>9} {'x bare':>7} {'target':>7}")
    for name, segment in versions.items():
        version = Boosted("v1", "1h", dict.fromkeys(CROWD, segment))
        for question, ask, beside in questions(version, columns(17, seed=99)):
            (half, most), (plain, _) = timed((ask, beside), 1.0 if quick else 8.0)
            target = f"{TARGETS[question]:7.0f}" if question in TARGETS else ""
            print(
                f"{name + ', ' + question:40} {half:8.3f} {most:8.3f} {plain:9.3f} "
                f"{half / plain:7.2f} {target}"
            )
    print(machine())


if __name__ == "__main__":
    main()
