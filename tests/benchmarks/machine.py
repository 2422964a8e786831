"""What the benchmarks share: how busy the machine is, candles to run on, and figures as people read them.

A figure means little without the machine's load beside it, so every benchmark prints both.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from dataflows.replay.simulate import Simulated
from engine.settings import Settings, load

MB = 1 << 20


def machine() -> str:
    """Cores, load over 1, 5 and 15 minutes, and interpreter, in one line."""
    load_now = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load {load_now}, Python {platform.python_version()}"


def quick_or_not(doc: str | None) -> bool:
    """Whether the command line says `--quick`."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--quick", action="store_true", help="a look, not a measurement")
    return bool(parser.parse_args().quick)


def settings(**knobs: str) -> Settings:
    """The configuration as shipped, but for `knobs`: decide__interval="1h"."""
    return load("config.yaml", {f"SIGNAL_ENGINE_{name.upper()}": value for name, value in knobs.items()})


def spread(delays: Sequence[float]) -> str:
    """Delays in ms: the middle, the slowest hundredth, the slowest."""
    half, most = np.percentile(delays, [50, 99])
    return f"p50 {half:6.1f} ms, p99 {most:6.1f} ms, max {max(delays):6.1f} ms ({len(delays)} measured)"


def resident(pid: int | None = None) -> float:
    """Resident memory of a process, this one by default, in MB."""
    return float(psutil.Process(pid).memory_info().rss) / MB


@contextmanager
def market(symbols: Sequence[str], begin: int, end: int) -> Iterator[tuple[str, Path]]:
    """What kind of hourly candles there are, and their folder: MARKET_DATA, else simulated ones."""
    given = Path(os.environ.get("MARKET_DATA", "../shared/market"))
    if (given / "klines" / "spot" / "1h").is_dir():
        yield "recorded", given
        return
    with tempfile.TemporaryDirectory() as folder:
        hours = Path(folder) / "klines" / "spot" / "1h"
        hours.mkdir(parents=True)
        source = Simulated(tuple(symbols), seed=1)
        for symbol in symbols:
            candles = source.candles(symbol, "1h", begin, end)
            columns: Mapping[str, object] = {
                "open_time": candles.time,
                **dict(zip(("open", "high", "low", "close", "volume"), candles.values.T, strict=False)),
            }
            pl.DataFrame(columns).write_parquet(hours / f"{symbol}.parquet")
        yield "simulated", Path(folder)
