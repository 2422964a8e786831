"""Signals walked forward, judged beside baselines and controls: `python -m tests.benchmarks.walkforward`.

Needs the versions of a series (`signal-engine train --from --every`), the signals that `signal-engine
backtest --shelf` made with them, and a judge: any program that reads a Parquet of signals as the README says.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from dataflows.training.dataset import HORIZON, Ask, Source, sources
from dataflows.training.run import side_by_side
from engine.models.boosted import Boosted
from engine.models.linear import Linear
from engine.models.manifest import Manifest
from engine.models.shelf import Shelf
from engine.models.worth import CALM
from engine.records import INTERVALS
from engine.research import Array
from engine.research.calibration import Platt, sigmoid
from engine.research.rows import INPUTS, INPUTS_HASH
from engine.research.significance import Days, time_shift_null
from engine.settings import Settings
from engine.symbols import names

STEP: Final = INTERVALS["1h"]
DAY: Final = 86_400_000
SETTINGS: Final = Settings()
Frame = pl.DataFrame


def main() -> None:
    asked = arguments()
    signals = pl.read_parquet(asked.signals)
    begin, end = signals["time"].min(), signals["time"].max()
    assert isinstance(begin, int)
    assert isinstance(end, int)
    table = {"engine": asked.signals}
    if asked.controls:
        rows = [one for one in read(asked.data, begin, end) if len(one.time)]
        for name, frame in controls(rows, Shelf(asked.shelf, "boosted"), begin):
            path = asked.signals.with_name(f"{asked.signals.stem}-{name}.parquet")
            frame.write_parquet(path)
            table[name] = path
    print(HEADER)
    for name, path in table.items():
        print(line(name, judge(asked, path)), flush=True)
    told(signals, asked.data)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shelf", type=Path, required=True)
    parser.add_argument("--signals", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--boot", type=int, default=1000)
    parser.add_argument("--controls", action=argparse.BooleanOptionalAction, default=True)
    return parser.parse_args()


def read(data: Path, begin: int, end: int) -> list[Source]:
    """Every close of the judged span and of the three years before, with what followed."""
    pairs = [(symbol, SETTINGS.segment_of(symbol)) for symbol in SETTINGS.all_symbols]
    first = round(begin - SETTINGS.models.boosted.window_days * DAY) // STEP * STEP
    ask = replace(Ask(data, "spot", "1h", first, end // STEP * STEP), stride=1)
    with side_by_side(2) as pool:
        return sources(ask, pairs, 500, pool, lambda stage, share: None)


def controls(rows: list[Source], shelf: Shelf, begin: int) -> Iterator[tuple[str, Frame]]:
    """What needs no trees: the line alone, volatility and the clock, the last day's move, holding."""
    served = list(windows(shelf))
    yield "line", answered(rows, begin, lambda one: by_line(one, served))
    yield "volatility", answered(rows, begin, lambda one: by_volatility(one, rows, served))
    day = INPUTS.index("return_24")
    yield "momentum", answered(rows, begin, lambda one: sided(np.sign(one.inputs[:, day])))
    yield "reversion", answered(rows, begin, lambda one: sided(-np.sign(one.inputs[:, day])))
    yield "hold", answered(rows, begin, lambda one: sided(np.ones(len(one.time))))
    yield "neutral", answered(rows, begin, lambda one: {"p_up": np.full(len(one.time), 0.5)})


def windows(shelf: Shelf) -> Iterator[tuple[Manifest, Boosted, int]]:
    """Each promoted version with the time until which it serves."""
    known = [shelf.manifest(name) for name in shelf.versions()]
    known = sorted((one for one in known if one.promoted), key=lambda one: one.serves_from)
    ends = [one.serves_from for one in known[1:]] + [1 << 62]
    for manifest, end in zip(known, ends, strict=True):
        yield manifest, Boosted.load(shelf.opened(manifest.version, INPUTS_HASH), manifest), end


def by_line(one: Source, served: list[tuple[Manifest, Boosted, int]]) -> dict[str, Array]:
    said = np.full(len(one.time), np.nan)
    for manifest, version, end in served:
        now = (one.time >= manifest.serves_from) & (one.time < end)
        if one.segment in version.segments and now.any():
            said[now] = sigmoid(version.segments[one.segment].line.margin(one.inputs[now].astype(np.float64)))
    return {"p_up": said}


def by_volatility(
    one: Source, rows: list[Source], served: list[tuple[Manifest, Boosted, int]]
) -> dict[str, Array]:
    """p3 of a line on volatility and the clock, fitted anew for each version on what that one could know."""
    threshold = SETTINGS.thresholds[one.segment]
    calm = np.full(len(one.time), np.nan)
    for manifest, _, end in served:
        now = (one.time >= manifest.serves_from) & (one.time < end)
        if now.any():
            x, y = learnt(rows, one.segment, manifest.data_until, threshold)
            fitted = Linear.fit(x, y, np.ones(len(y)))
            scale = Platt.fit(fitted.margin(x), y, intercept=True)
            calm[now] = scale.of_logit(fitted.margin(calmed(one.inputs[now])))
    return {"p_up": np.where(np.isnan(calm), np.nan, 0.5), "moved": calm}


def learnt(rows: list[Source], segment: str, until: int, threshold: float) -> tuple[Array, Array]:
    window = round(SETTINGS.models.boosted.window_days * DAY)
    x, y = [], []
    for one in rows:
        if one.segment == segment:
            kept = (one.time <= until) & (one.time > until - window) & np.isfinite(one.moves)
            kept &= one.time // STEP % 5 == 0
            x.append(calmed(one.inputs[kept]))
            y.append((np.abs(one.moves[kept]) > threshold).astype(np.float64))
    return np.concatenate(x), np.concatenate(y)


def calmed(inputs: Any) -> Array:
    wide = np.asarray(inputs[:, CALM], np.float64)
    wide[:, :5] = np.log(np.maximum(np.nan_to_num(wide[:, :5], nan=1e-3), 1e-6))
    return wide


def sided(side: Array) -> dict[str, Array]:
    return {"side": side}


def answered(rows: list[Source], begin: int, ask: Any) -> Frame:
    """A file of signals: one row a close of the judged span."""
    frames = []
    for one in rows:
        said = ask(one)
        now = one.time >= begin
        blank = np.full(int(now.sum()), np.nan)
        side = said["side"][now] if "side" in said else np.zeros(len(blank))
        moved = said["moved"][now] if "moved" in said else blank
        alias = [
            next(a for a in names(one.symbol) if a.covers(int(at))).exchange_symbol for at in one.time[now]
        ]
        frames.append(
            pl.DataFrame(
                {
                    "symbol": alias,
                    "time": one.time[now],
                    "direction": np.array(["SHORT", "NEUTRAL", "LONG"])[side.astype(int) + 1],
                    "confidence": np.full(len(blank), 50.0),
                    "entry": blank,
                    "stop_loss": blank,
                    "take_profit": blank,
                    "p_up": said["p_up"][now] if "p_up" in said else blank,
                    "p3_down": moved / 2,
                    "p3_neutral": 1 - moved,
                    "p3_up": moved / 2,
                }
            )
        )
    return pl.concat(frames).sort("time", "symbol")


def judge(asked: argparse.Namespace, signals: Path) -> dict[str, Any]:
    klines = asked.data / "klines" / "spot" / "1h"
    command = [sys.executable, str(asked.judge), "--signals", str(signals), "--klines", str(klines)]
    said = subprocess.run([*command, "--boot", str(asked.boot)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


HEADER: Final = (
    "what        AUC                    Brier skill              ECE p_up  directional  "
    "hit rate [95 %] / stated          ECE   net Sharpe [95 %]      drawdown  p3 skill [95 %]"
)


def line(name: str, found: dict[str, Any]) -> str:
    binary, call, three = (found.get(part) or {} for part in ("binary", "direction", "three_class"))
    trades = found.get("trades") or {}
    share = call.get("n", 0) / found["rows"]
    return "  ".join(
        (
            f"{name:<10}",
            f"{of(binary, 'auc', 3)} {span(binary, 'auc_ci95', 3):<16}",
            f"{of(binary, 'brier_skill', 4)} {span(binary, 'brier_skill_ci95', 4):<18}",
            f"{of(binary, 'ece', 4):<8}",
            f"{share:>10.1%} ",
            f"{of(call, 'hit_rate', 3)} {span(call, 'hit_rate_ci95', 3):<16}",
            f"/ {of(call, 'mean_confidence', 3)}",
            f"{of(call, 'ece', 3)}",
            f"{of(trades, 'sharpe', 2)} {span(trades, 'sharpe_ci95', 2):<14}",
            f"{of(trades, 'max_drawdown', 2)}",
            f"{of(three, 'brier_skill', 4)} {span(three, 'brier_skill_ci95', 4)}",
        )
    )


def of(part: dict[str, Any], key: str, digits: int) -> str:
    value = part.get(key)
    return "-" if value is None else f"{value:.{digits}f}"


def span(part: dict[str, Any], key: str, digits: int) -> str:
    value = part.get(key)
    return "" if not value else f"[{value[0]:.{digits}f}, {value[1]:.{digits}f}]"


def told(signals: Frame, data: Path) -> None:
    """What the judge does not print: by segment, the surest tenth, and what chance reaches."""
    known = outcomes(signals, data).filter(pl.col("move").is_not_null() & pl.col("p_up").is_not_null())
    time, p = known["time"].to_numpy(), known["p_up"].to_numpy()
    up = (known["move"].to_numpy() > 0).astype(np.float64)
    symbol = known["symbol"].to_physical().to_numpy().astype(np.int64)
    null = time_shift_null(p, up, time, symbol, STEP, np.random.default_rng(0))
    print(f"time-shift null of the AUC: [{np.quantile(null, 0.025):.3f}, {np.quantile(null, 0.975):.3f}]")
    sure = np.maximum(p, 1 - p)
    top = sure >= np.quantile(sure, 0.9)
    hits = ((p > 0.5) == (up > 0.5)).astype(np.float64)[top]
    low, high = Days.of(time[top], np.random.default_rng(0)).mean(hits)
    print(f"surest tenth: hit {hits.mean():.3f} [{low:.3f}, {high:.3f}], stated {sure[top].mean():.3f}")
    named = signals.with_columns(
        pl.col("symbol")
        .replace({"MATICUSDT": "POLUSDT"})
        .replace_strict({name: SETTINGS.segment_of(name) for name in SETTINGS.all_symbols}, default=None)
        .alias("segment")
    )
    for part in named.sort("segment").partition_by("segment"):
        share = (part["direction"] != "NEUTRAL").sum() / part.height
        print(f"{part['segment'][0]}: {part.height} rows, directional {share:.1%}")


def outcomes(signals: Frame, data: Path) -> Frame:
    """Signals with the move over the horizon, by the files' own closes."""
    closes = []
    for name in signals["symbol"].unique().to_list():
        rows = pl.read_parquet(data / "klines" / "spot" / "1h" / f"{name}.parquet").select(
            "open_time", "close"
        )
        closes.append(
            rows.select(pl.lit(name).alias("symbol"), (pl.col("open_time") + STEP).alias("time"), "close")
        )
    known = pl.concat(closes)
    later = known.with_columns(pl.col("time") - HORIZON * STEP).rename({"close": "then"})
    both = signals.select("symbol", "time", "p_up").join(known, on=("symbol", "time"))
    both = both.join(later, on=("symbol", "time"), how="left").sort("time", "symbol")
    return both.with_columns(
        (pl.col("then") / pl.col("close") - 1).alias("move"), pl.col("symbol").cast(pl.Categorical)
    )


if __name__ == "__main__":
    main()
