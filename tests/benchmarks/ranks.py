"""Whether numbers went with the returns that followed: rank correlations, and what chance does to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import rankdata

from engine.readings import HOUR
from engine.records import Metric
from engine.research.significance import Days
from engine.symbols import names
from tests.checks import market_data

HORIZONS: Final = {"12 h": (12, 3), "3 d": (72, 14)}
"""Hours, and days of a block: several horizons, and longer than a number takes to change."""

LEAST: Final = 200
DRAWN: Final = 1000
ASKED: Final = ("binance.funding", "alternative_me.fear_greed")

Array = NDArray[np.float64]


def rank_table(history: Mapping[str, Sequence[Metric]], until: int) -> Iterator[str]:
    """Spearman's rho of each number with the return from the first close it was known at, all before `until`.

    For each symbol, and for all together: there ranks are taken within each symbol, and a day is drawn with
    all its symbols.
    """
    closes = {asset: prices(asset) for asset in history}
    for name in ASKED:
        for horizon, (hours, length) in HORIZONS.items():
            pairs = {
                asset: followed([one for one in told if one.name == name], closes[asset], hours, until)
                for asset, told in history.items()
            }
            pairs = {asset: found for asset, found in pairs.items() if len(found) >= LEAST}
            for asset, found in pairs.items():
                yield f"  {name} {asset:5} {horizon}: {rho([found], length)}"
            yield f"  {name} all   {horizon}: {rho(list(pairs.values()), length)}"


def prices(asset: str) -> dict[int, float]:
    """Hourly closes by close time; of the name it had longest ago, where it had several."""
    path = market_data("klines", "spot", "1h") / f"{names(f'{asset}USDT')[0].exchange_symbol}.parquet"
    frame = pl.read_parquet(path).select(pl.col("open_time") + HOUR, "close")
    return dict(frame.iter_rows())


def followed(told: Sequence[Metric], closes: Mapping[int, float], hours: int, until: int) -> Array:
    """(n, 3): the first close at which a number was known, the number, the log return after."""
    found = []
    for one in told:
        time = one.learned // HOUR * HOUR + HOUR
        end = time + hours * HOUR
        if end <= until and time in closes and end in closes:
            found.append((time, one.value, log(closes[end] / closes[time])))
    return np.array(found).reshape(-1, 3)


def rho(pairs: Sequence[Array], length: int) -> str:
    """The correlation of ranks, its 95 % interval over blocks of `length` days, and what tails returned."""
    x = np.concatenate([rankdata(one[:, 1]) / len(one) - 0.5 for one in pairs])
    y = np.concatenate([rankdata(one[:, 2]) / len(one) - 0.5 for one in pairs])
    time = np.concatenate([one[:, 0] for one in pairs]).astype(np.int64)
    moves = np.concatenate([one[:, 2] for one in pairs])
    days = Days.of(time, np.random.default_rng(7), length=length, count=DRAWN)
    sums = np.ones(len(x)), x, y, x * x, y * y, x * y
    low, high = days.interval(correlation, *sums)
    here = correlation(*[np.array(one.sum()) for one in sums])
    tails = [100 * moves[part].mean() for part in (x <= -0.4, x >= 0.4)]
    return (
        f"n {len(x):6} rho {float(here):+.3f} [{low:+.3f}, {high:+.3f}]; mean return after the lowest tenth "
        f"{tails[0]:+.2f} %, the highest {tails[1]:+.2f} %, all {100 * moves.mean():+.2f} %"
    )


def correlation(n: Array, x: Array, y: Array, xx: Array, yy: Array, xy: Array) -> Array:
    """Pearson's, from sums."""
    spread = (xx / n - (x / n) ** 2) * (yy / n - (y / n) ** 2)
    return np.asarray((xy / n - x * y / n**2) / np.sqrt(spread))
