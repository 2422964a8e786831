"""On pure noise the engine must say that it knows nothing: training and flow together, on random walks.

Every outcome is a fair coin that was thrown after the prediction, so the hits are binomial, exactly.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pytest

from dataflows.backtest import run
from dataflows.training.run import train
from engine.models.shelf import Shelf
from engine.records import INTERVALS, Candle
from engine.research import Array
from engine.settings import Settings, load
from tests.checks import START
from tests.dataflows.test_history import save

HOUR: Final = INTERVALS["1h"]
HORIZON: Final = 12
CANDLES: Final = 4_000
TRAINED_ON: Final = 3_000
UNTIL: Final = START + TRAINED_ON * HOUR
END: Final = START + CANDLES * HOUR
SYMBOLS: Final = {
    "majors": ("BTCUSDT", "ETHUSDT"),
    "alts": ("SOLUSDT", "AVAXUSDT"),
    "memes": ("DOGEUSDT", "PEPEUSDT"),
}
SIGMA: Final = {"majors": 0.006, "alts": 0.010, "memes": 0.015}
"""Of the log return of one candle: about what these segments do."""


def walk(symbol: str, sigma: float, rng: np.random.Generator) -> list[Candle]:
    """A geometric random walk without drift: independent normal log returns, the same sigma at all times."""
    steps = 8
    path = 100 * np.exp(np.cumsum(rng.normal(0, sigma / steps**0.5, CANDLES * steps)))
    prices = np.round(np.append(100.0, path), 6)
    volumes = np.round(rng.lognormal(3, 0.8, CANDLES), 3)
    made = []
    for place in range(CANDLES):
        seen = prices[place * steps : (place + 1) * steps + 1]
        ends = (float(seen[0]), float(seen.max()), float(seen.min()), float(seen[-1]))
        time = START + (place + 1) * HOUR
        made.append(Candle(symbol, "1h", time, *ends, float(volumes[place])))
    return made


def settings_of() -> Settings:
    pairs = ", ".join(f'"{name}": ["{one}", "{two}"]' for name, (one, two) in SYMBOLS.items())
    return load(
        "config.yaml",
        {
            "SIGNAL_ENGINE_SYMBOLS": f"{{{pairs}}}",
            "SIGNAL_ENGINE_DECIDE__INTERVAL": "1h",
            "SIGNAL_ENGINE_DECIDE__WARM_UP": "600",
            "SIGNAL_ENGINE_BINANCE__INTERVALS": "1h,4h",
        },
    )


@dataclass(frozen=True)
class Cell:
    """One segment of one seed: what was said of it and what became of that.

    `tried` outcomes that do not overlap, `hits` of them on the side of p_up; `signals` with a p_up whose
    outcome is known, `neutral` of them; their mean `confidence` and how often what they said came `true`.
    """

    seed: int
    segment: str
    skill: bool
    auc: float
    tried: int
    hits: int
    signals: int
    neutral: int
    confidence: float
    true: float

    @property
    def accuracy(self) -> float:
        return self.hits / self.tried

    def line(self) -> str:
        (low, high), (least, most) = (chance(self.tried, level) for level in (0.95, 0.9997))
        mark = " " if low <= self.hits <= high else "*" if least <= self.hits <= most else "!"
        bounds = [f"{bound / self.tried:.3f}" for bound in (low, high, least, most)]
        return (
            f"{self.seed:4} {self.segment:<7} {'skill' if self.skill else '-':<5} {self.auc:.3f} "
            f"{self.tried:5} {self.accuracy:.3f}{mark} [{bounds[0]}, {bounds[1]}] [{bounds[2]}, {bounds[3]}] "
            f"{self.signals:5} {self.neutral / self.signals:7.1%} "
            f"{100 * self.confidence:6.2f} {100 * self.true:6.2f}"
        )


HEAD: Final = (
    "seed segment skill AUC   tried right   95 % of chance 99.97 % of it  signals neutral stated came true"
)


def chance(tried: int, level: float) -> tuple[int, int]:
    """Hits of a fair coin between which at least `level` of all series of `tried` throws end.

    >>> chance(10, 0.95)
    (2, 8)
    """
    tail, hits = 0, 0
    while (tail := tail + comb(tried, hits)) / 2**tried <= (1 - level) / 2:
        hits += 1
    return hits, tried - hits


def cells(seed: int, folder: Path, settings: Settings) -> Iterator[Cell]:
    """Train on three quarters of six walks, go through the rest, and count."""
    generators = iter(np.random.default_rng(seed).spawn(6))
    closes = {}
    for segment, symbols in SYMBOLS.items():
        for symbol in symbols:
            candles = walk(symbol, SIGMA[segment], next(generators))
            save(folder, symbol, candles)
            closes[symbol] = np.array([candle.close for candle in candles])
    shelf = Shelf(folder / "shelf", "boosted")
    trained = train(settings, folder, UNTIL, shelf, workers=1)
    run(settings, folder, folder / "signals.parquet", UNTIL, END, shelf=shelf, show=False)
    said = pl.read_parquet(folder / "signals.parquet").filter(pl.col("time") <= END - HORIZON * HOUR)
    for segment, symbols in SYMBOLS.items():
        mine = said.filter(pl.col("symbol").is_in(symbols))
        place = (mine["time"].to_numpy() - START) // HOUR - 1
        after = zip(mine["symbol"], place.tolist(), strict=True)
        moves = np.array([closes[symbol][at + HORIZON] / closes[symbol][at] - 1 for symbol, at in after])
        yield counted(seed, segment, trained.manifest.metrics["segments"][segment], mine, moves, settings)


def counted(
    seed: int,
    segment: str,
    figures: Mapping[str, Any],
    said: pl.DataFrame,
    moves: Array,
    settings: Settings,
) -> Cell:
    apart = ((said["time"] - UNTIL) // HOUR % HORIZON == 1).to_numpy()
    hit = (said["p_up"].to_numpy() > 0.5) == (moves > 0)
    still = np.abs(moves) <= settings.thresholds[segment]
    long, short = ((said["direction"] == side).to_numpy() for side in ("LONG", "SHORT"))
    true = np.where(long, moves > 0, np.where(short, moves < 0, still))
    return Cell(
        seed,
        segment,
        bool(figures["skill"]),
        figures["auc"],
        tried=int(apart.sum()),
        hits=int(hit[apart].sum()),
        signals=said.height,
        neutral=int((~long & ~short).sum()),
        confidence=float(said["confidence"].to_numpy().mean()) / 100,
        true=float(true.mean()),
    )


def table(found: Sequence[Cell]) -> str:
    return "\n".join([HEAD, *(cell.line() for cell in found)])


def outside(found: Sequence[Cell], level: float) -> list[str]:
    """The cells whose accuracy chance alone does not explain at this level."""
    bounds = [chance(cell.tried, level) for cell in found]
    return [
        cell.line() for cell, (low, high) in zip(found, bounds, strict=True) if not low <= cell.hits <= high
    ]


def stated(found: Sequence[Cell]) -> tuple[float, float]:
    """Mean confidence of all signals and how often what they said came true, both in percent."""
    weight = [cell.signals for cell in found]
    means = ([cell.confidence for cell in found], [cell.true for cell in found])
    confidence, true = (100 * float(np.average(values, weights=weight)) for values in means)
    return confidence, true


def neutral(found: Sequence[Cell]) -> float:
    return sum(cell.neutral for cell in found) / sum(cell.signals for cell in found)


def seeded(seeds: Sequence[int], folder: Path) -> list[Cell]:
    settings = settings_of()
    return [cell for seed in seeds for cell in cells(seed, folder / str(seed), settings)]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    """Two seeds, three segments each."""
    return seeded(range(2), tmp_path_factory.mktemp("few"))


def test_on_noise_the_side_is_right_as_often_as_a_coin(few: list[Cell]) -> None:
    assert {cell.tried for cell in few} == {2 * (CANDLES - TRAINED_ON) // HORIZON}
    assert not outside(few, 0.9997), table(few)
    assert len(outside(few, 0.95)) <= 2, table(few)


def test_on_noise_what_is_said_comes_true_as_often_as_is_said(few: list[Cell]) -> None:
    confidence, true = stated(few)

    assert confidence == pytest.approx(true, abs=3), table(few)


def test_on_noise_nearly_nothing_is_said(few: list[Cell]) -> None:
    assert neutral(few) >= 0.95, table(few)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    """Twenty seeds, three segments each."""
    return seeded(range(20), tmp_path_factory.mktemp("many"))


@pytest.mark.soak
def test_on_much_noise_chance_explains_every_accuracy(
    many: list[Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 60 accuracies 3 lie outside their 95 % by chance; 8 or more do once in 80 times."""
    with capsys.disabled():
        sys.stdout.write(f"\n{table(many)}\n")

    assert not outside(many, 0.9997)
    assert len(outside(many, 0.95)) <= 7


@pytest.mark.soak
@pytest.mark.parametrize("segment", SYMBOLS)
def test_on_much_noise_what_is_said_comes_true_as_often_as_is_said(many: list[Cell], segment: str) -> None:
    confidence, true = stated([cell for cell in many if cell.segment == segment])

    assert confidence == pytest.approx(true, abs=3)


@pytest.mark.soak
def test_on_much_noise_nearly_nothing_is_said(many: list[Cell]) -> None:
    assert neutral(many) >= 0.95


@pytest.mark.soak
def test_on_much_noise_skill_is_claimed_no_oftener_than_promised(many: list[Cell]) -> None:
    """A model in twenty is believed without any; 8 or more of 60 are once in 80 times."""
    assert sum(cell.skill for cell in many) <= 7, table(many)
