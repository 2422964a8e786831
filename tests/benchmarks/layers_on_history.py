"""Both layers on real funding, fear & greed and DefiLlama: `python -m tests.benchmarks.layers_on_history`.

Centres and scales were chosen on what was there before 2024 and are printed with its quantiles; the dates
shown lie after that. `--ranks` tells how those numbers went with the returns that followed, before 2024.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from math import tanh
from typing import Final

import numpy as np
import polars as pl

from engine.features import FeatureSet
from engine.layers import LAYERS, absences
from engine.readings import HOUR, Readings
from engine.records import Candle, Features, Metric, Moment
from engine.settings import Settings
from engine.settings.readers import Reader
from engine.symbols import asset_of, instant, listing, names
from tests.benchmarks.machine import machine
from tests.benchmarks.ranks import rank_table
from tests.checks import market_data

DAY: Final = 24 * HOUR
KNOWN: Final = instant("2024-01-01T00:00+00:00")
"""Before this the readers were chosen."""

DATES: Final = ("2024-03-14T00:00+00:00", "2024-08-05T12:00+00:00", "2025-01-20T12:00+00:00")
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT", "DOGEUSDT", "PEPEUSDT", "SOLUSDT")
CHAINS: Final = {"ETH": "ethereum", "SOL": "solana", "BNB": "bsc", "ARB": "arbitrum", "POL": "polygon"}

READERS: Final[Mapping[str, Reader]] = {
    # The contract's own rate is most often at its base of 0.01 %; one settlement old it still counts.
    "binance.funding": Reader(
        layer="onchain", component="funding", centre=0.0001, scale=0.0004, sign=-1, half_life=12
    ),
    "binance.open_interest": Reader(
        layer="onchain", component="open_interest", read="change", over=24, scale=0.06, half_life=1
    ),
    # Greed was followed by higher prices, not by lower ones: `--ranks`.
    "alternative_me.fear_greed": Reader(
        layer="onchain", component="mood", centre=45, scale=35, half_life=36, of="market"
    ),
    "defillama.stablecoin_cap": Reader(
        layer="onchain", component="capital", read="change", over=168, centre=0.006, scale=0.04, half_life=48,
        of="market",
    ),
    "defillama.total_tvl": Reader(
        layer="onchain", component="capital", read="change", over=168, centre=0.015, scale=0.12, half_life=48,
        of="market",
    ),
    "defillama.chain_tvl": Reader(
        layer="onchain", component="capital", read="change", over=168, scale=0.15, half_life=48
    ),
}  # fmt: skip


def history(asset: str) -> list[Metric]:
    """Every number there is of an asset and of the market, in the order in which it could be learned."""
    found = [*futures(asset), *mood(), *capital(asset)]
    return sorted(found, key=lambda metric: (metric.learned, metric.name))


def futures(asset: str) -> Iterator[Metric]:
    """Funding as settled, and open interest where it is there."""
    contract = names(f"{asset}USDT", "um")[-1].exchange_symbol
    for time, rate in rows("futures/funding", contract, "funding_time", "funding_rate"):
        # The exchange stamps the ms in which it wrote the rate down.
        settled = round(time / 1000) * 1000
        yield Metric("binance.funding", asset, settled, rate, max(time, settled) + 1000)
    for time, coins in rows("futures/open_interest/5m", contract, "time", "sum_open_interest"):
        yield Metric("binance.open_interest", asset, time, coins, time + 60_000)


def mood() -> Iterator[Metric]:
    """Fear and greed: a value for each midnight, polled some minutes later."""
    for stamp, value in rows("context", "fear_greed_alternative_me", "timestamp", "value"):
        yield Metric("alternative_me.fear_greed", "", stamp * 1000, float(value), stamp * 1000 + 600_000)


def capital(asset: str) -> Iterator[Metric]:
    """DefiLlama's days: each is over, and told, a day after its stamp."""
    told = {"stablecoin_cap": "stablecoin_mcap", "total_tvl": "tvl_total"}
    if asset in CHAINS:
        told["chain_tvl"] = f"tvl_{CHAINS[asset]}"
    for name, file in told.items():
        frame = pl.read_parquet(market_data("context", "defillama", f"{file}.parquet"))
        whole = frame.select(
            pl.col("timestamp").dt.epoch("ms"), pl.sum_horizontal(pl.exclude("timestamp")).alias("usd")
        )
        of = asset if name == "chain_tvl" else ""
        for time, usd in whole.iter_rows():
            yield Metric(f"defillama.{name}", of, time + DAY, usd, time + DAY + HOUR // 2)


def rows(folder: str, name: str, time: str, value: str) -> Iterator[tuple[int, float]]:
    path = market_data(folder) / f"{name}.parquet"
    if path.exists():
        yield from pl.read_parquet(path).select(time, value).drop_nulls().sort(time).iter_rows()


def moment(symbol: str, time: int, metrics: Sequence[Metric]) -> Moment:
    """What was known of a symbol at a close, from its last 500 hourly candles and these metrics."""
    asset = asset_of(symbol)
    readings = Readings(READERS)
    for metric in metrics:
        if metric.asset in ("", asset):
            readings.update(metric)
            readings.at(min(metric.learned, time))
    segment = Settings().segment_of(symbol)
    listed = listing(symbol, segment, "spot", time)
    known = {"1h": features(symbol, time)}
    return Moment(symbol, "1h", time, listed, known, readings=readings.at(time))


def features(symbol: str, time: int) -> Features:
    path = market_data("klines", "spot", "1h") / f"{names(symbol)[-1].exchange_symbol}.parquet"
    frame = pl.read_parquet(path).filter(pl.col("open_time") < time).sort("open_time").tail(500)
    features = FeatureSet(symbol, "1h")
    for opened, *prices in frame.select("open_time", "open", "high", "low", "close", "volume").iter_rows():
        last = features.update(Candle(symbol, "1h", opened + HOUR, *prices))
    return last


def opinions(symbol: str, time: int) -> list[str]:
    """What both layers say, line by line."""
    recent = [metric for metric in history(asset_of(symbol)) if time - 30 * DAY < metric.time]
    now = moment(symbol, time, [metric for metric in recent if metric.learned < time])
    scores = {name: LAYERS[name]("1h", READERS)(now) for name in ("onchain", "sentiment")}
    told = []
    for name, score in scores.items():
        told.append(f"  {name:9} {score.score:+6.1f}, coverage {score.coverage:.2f}")
        told += [f"    {reason.points:+5.1f} {reason.component}: {reason.text}" for reason in score.reasons]
    return [*told, *(f"    {line}" for line in absences(now, scores, READERS))]


def quantiles() -> Iterator[str]:
    """How far what was read before 2024 moved its component: f at its quantiles."""
    told: dict[str, list[float]] = {}
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        asset = asset_of(symbol)
        readings = Readings(READERS)
        for metric in history(asset):
            if metric.asset in ("", asset) and metric.learned < KNOWN:
                readings.update(metric)
                value = readings.at(metric.learned + HOUR)[metric.name].value
                if value == value and (metric.asset or symbol == "BTCUSDT"):
                    told.setdefault(metric.name, []).append(value)
    for name, values in told.items():
        reader, found = READERS[name], np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
        moved = [reader.sign * tanh((value - reader.centre) / reader.scale) for value in found]
        numbers = ", ".join(f"{value:.4g} ({side:+.2f})" for value, side in zip(found, moved, strict=True))
        yield f"  {name:26} {len(values):6} numbers: {numbers}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", action="store_true")
    ranks = parser.parse_args().ranks
    print(machine())
    print("before 2024: quantiles 5, 25, 50, 75, 95 % and how far they move their component")
    print("\n".join(quantiles()), flush=True)
    if ranks:
        for line in rank_table(
            {asset_of(one): history(asset_of(one)) for one in Settings().all_symbols}, KNOWN
        ):
            print(line, flush=True)
    for date in DATES:
        for symbol in SYMBOLS:
            print(f"{symbol} {date}")
            print("\n".join(opinions(symbol, instant(date))), flush=True)


if __name__ == "__main__":
    main()
