"""A flow under the replay exchange whose model's versions come, go and break between chosen closes.

The exchange's clock stands still there, so that the same thing happens at the same close in every run.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import orjson
import polars as pl
from redis import Redis

from dataflows.cli import app
from dataflows.connectors import redis
from dataflows.connectors.journal import Journal
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.faults import Fault
from dataflows.replay.simulate import Simulated
from dataflows.replay.source import Source
from dataflows.training.run import train
from engine.models.boosted import Boosted
from engine.models.manifest import Facts, Manifest
from engine.models.segment import Calibration
from engine.models.shelf import POINTER, Shelf
from engine.records import INTERVALS
from engine.settings import load
from tests.dataflows.runs import BARE, Engine, engine, playing
from tests.engine.models.shelves import flip

MODEL: Final = "boosted"
DAY: Final = 86_400_000
HOUR: Final = INTERVALS["1h"]
FIVE: Final = INTERVALS["5m"]
START: Final = 1_760_000_400_000
CLOSES: Final = 36
SYMBOLS: Final = ("BTCUSDT", "DOGEUSDT", "ETHUSDT")
SEED: Final = 7
DAYS: Final = 60
"""Days that are trained on; the version is two days old when the flow starts."""

WARM_UP: Final = 120
"""Candles of each market: a market frame looks back on 96 closes."""

NONE, FIRST, SECOND, BACK, LAST = 3, 9, 18, 26, 32
"""The last closes, counted from the start on, without a version, with the first one, with the second, before
the pointer names a damaged one, and before the first is too old."""

COLUMNS: Final = (
    *("open", "high", "low", "close", "volume"),
    *("quote_volume", "trades", "taker_buy_base", "taker_buy_quote"),
)
SMALL: Final = (
    "{majors: {max_depth: 3, learning_rate: 0.1, n_estimators: 20, subsample: 0.5, "
    "colsample_bytree: 0.5, min_child_weight: 20}}"
)


def history(folder: Path, source: Source, interval: str, begin: int, end: int) -> None:
    """The candles of a market that open in [`begin`, `end`), as a history folder holds them."""
    to = folder / "klines" / "spot" / interval
    to.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[pl.DataFrame]] = {symbol: [] for symbol in source.symbols}
    for since in range(begin, end, DAY):  # a simulated day is made for all symbols at once
        for symbol, days in parts.items():
            candles = source.candles(symbol, interval, since, min(since + DAY, end))
            columns = dict(zip(COLUMNS, candles.values.T, strict=True))
            days.append(pl.DataFrame({"open_time": candles.time, **columns}))
    for symbol, days in parts.items():
        pl.concat(days).write_parquet(to / f"{symbol}.parquet")


def like(manifest: Manifest, hours: int = 0) -> Facts:
    """The facts of a promoted version whose data end so many hours after those of another one."""
    known = {one.name: getattr(manifest, one.name) for one in fields(Facts)}
    later = {name: known[name] + hours * HOUR for name in ("data_until", "until")}
    return Facts(**{**known, **later, "promoted": True, "reason": f"{hours} hours after another one"})


def heard(model: Boosted) -> Boosted:
    """A version that has skill whatever its training found, so that all it says counts in a signal."""
    return Boosted(
        "", model.interval, {name: replace(one, skill=True) for name, one in model.segments.items()}
    )


def surer(model: Boosted) -> Boosted:
    """A version whose log-odds of the side are twice those of another: it says something else of all rows."""

    def twice(one: Calibration) -> Calibration:
        return replace(one, side=replace(one.side, slope=2 * one.side.slope))

    segments = {
        name: replace(one, calibrations={at: twice(known) for at, known in one.calibrations.items()})
        for name, one in model.segments.items()
    }
    return Boosted("", model.interval, segments)


@dataclass(frozen=True)
class Versions:
    """A folder of models without a pointer, and its three versions: the second one answers otherwise."""

    folder: Path
    first: str
    second: str
    third: str


def trained(folder: Path) -> Versions:
    """Made of a real training on the market that is played, calibrated for signals at 1h and 5m."""
    source, end = Simulated(SYMBOLS, SEED), START - 48 * HOUR
    history(folder, source, "1h", end - (DAYS * 24 + 1000) * HOUR, end)
    history(folder, source, "5m", end - DAYS * 24 * HOUR, end)
    knobs = {
        "SYMBOLS": orjson.dumps({"majors": SYMBOLS}).decode(),
        "MODELS__BOOSTED__WINDOW_DAYS": str(DAYS),
        "MODELS__BOOSTED__TREES": SMALL,
    }
    settings = load("config.yaml", {f"SIGNAL_ENGINE_{name}": value for name, value in knobs.items()})
    drafts = Shelf(folder / "trained", MODEL)
    made = train(settings, folder, end, drafts, workers=1).manifest
    one = heard(Boosted.load(drafts.folder / made.version, made))
    shelf = Shelf(folder / "shelf", MODEL)
    names = [
        shelf.add(model.save, like(made, hours)).version
        for hours, model in ((1, one), (2, surer(one)), (3, one))
    ]
    return Versions(shelf.folder.parent, *names)


class Play:
    """An engine, its exchange and its shelf; whatever happens at the shelf happens between two closes.

    After each of the closes `kills` the flow is killed and started again: behind what happened at the shelf
    then, or else while the clock runs on.
    """

    def __init__(self, made: Engine, command: Sequence[str], kills: Collection[int]) -> None:
        self.made = made
        self.command = command
        self.kills = kills
        self.at = 0
        self.shelf = Shelf(made.folder / "shelf", MODEL)
        self.step = INTERVALS[made.interval]

    def begin(self) -> None:
        """Start the flow and wait for its warm-up."""
        self.process = self.made.start(self.command)
        self.wait(self.made.warmed, "the warm-up")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        self.made.wait(self.process, condition, what, 60)

    def to(self, at: int) -> None:
        """Let the clock run until everybody has said the `at`-th close, and no further."""
        faults = self.made.exchange.faults
        faults.clear()
        faults.add(Fault("pause", at=START + at * self.step + 30_000))
        for close in sorted(close for close in self.kills if self.at < close < at):
            self.wait_for(close)
            self.die()
        self.wait_for(at)
        self.at = at

    def wait_for(self, at: int) -> None:
        self.wait(lambda: self.made.reached(START + at * self.step), f"signals of the close {at}")

    def die(self) -> None:
        self.process.kill()
        self.process.wait()
        self.begin()

    def end(self) -> None:
        self.made.stop(self.process)

    def promote(self, version: str) -> None:
        self.shelf.point(version)
        self.activated(version)

    def rollback(self) -> None:
        """As a person does it."""
        app(["rollback", "--shelf", str(self.shelf.folder.parent)], standalone_mode=False)
        self.activated(str(self.shelf.current()))

    def activated(self, version: str) -> None:
        """Wait until the journal has it."""
        self.wait(lambda: serving(self.made.folder) == version, f"an activation of {version}")
        self.happened()

    def happened(self) -> None:
        if self.at in self.kills:
            self.die()

    def damage(self, version: str) -> None:
        """Have the pointer name a version of which one bit is wrong."""
        flip(self.shelf.folder / version / "majors.side.json", 100)
        draft = self.shelf.folder.parent / "draft"
        draft.write_text(f"{version}\n")
        draft.replace(self.shelf.folder / POINTER)
        words = f"{MODEL} {version}: majors.side.json is damaged"
        self.wait(lambda: words in self.made.log(), "the damage in the log")
        self.wait(lambda: any(words in fault for fault in self.faults()), "the damage in the status")
        self.happened()

    def faults(self) -> list[str]:
        """What the flow says is wrong."""
        with Redis.from_url(redis.connect(None, self.made.folder).url) as client:
            told: Any = client.hget("status:serving", "json")
        return list(orjson.loads(told)["faults"]) if told else []


def serving(folder: Path) -> str | None:
    """The version that was activated last."""
    journal = Journal(folder, readonly=True)
    try:
        last = journal.last_activations().get(MODEL)
    finally:
        journal.close()
    return last.version if last else None


@contextmanager
def play(
    folder: Path,
    versions: Versions,
    command: Sequence[str] = BARE,
    kills: Collection[int] = (),
    **knobs: Any,
) -> Iterator[Play]:
    """A play with the three versions on its shelf; at 1h if `knobs` of the engine do not say otherwise."""
    settled = {"interval": "1h", "intervals": ("15m", "1h", "4h"), "warm_up": WARM_UP, **knobs}
    step = INTERVALS[settled["interval"]]
    # Half a step brings the first candles of the shortest interval: a connection is open once it speaks.
    faults = [Fault("pause", at=START + step // 2)]
    market = ReplayExchange(
        "spot", Simulated(SYMBOLS, SEED), START + 60_000, START + CLOSES * step, math.inf, faults=faults
    )
    market.player.pace = 0.01
    with playing(market), engine(folder, market, SYMBOLS, **settled) as made:
        shutil.copytree(versions.folder, folder / "shelf")
        yield Play(made, command, kills)


@contextmanager
def story(
    folder: Path, versions: Versions, command: Sequence[str] = BARE, kills: Collection[int] = ()
) -> Iterator[Engine]:
    """A version comes, gives way to another one and comes back, a third is damaged, the first expires."""
    manifest = Shelf(versions.folder, MODEL).manifest(versions.first)
    hours = (START - manifest.data_until) // HOUR + LAST
    environ = {"SIGNAL_ENGINE_MODELS__BOOSTED__MAX_AGE_HOURS": str(hours)}
    with play(folder, versions, command, kills, environ=environ) as one:
        one.begin()
        one.to(NONE)
        one.promote(versions.first)
        one.to(FIRST)
        one.promote(versions.second)
        one.to(SECOND)
        one.rollback()
        one.to(BACK)
        one.damage(versions.third)
        one.to(CLOSES)
        one.end()
        yield one.made
