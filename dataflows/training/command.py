"""`signal-engine train`: versions from recorded candles, one or a series of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dataflows.training.run import Profile, Told, Trained, quiet, series, train
from engine.errors import SettingsError
from engine.models.shelf import Shelf
from engine.settings import Settings

DAY: Final = 86_400_000


@dataclass(frozen=True)
class Wanted:
    """What to train: on candles in `data` that closed by `until`, ms UTC; a series begins at `begin`."""

    data: Path
    shelf: Path
    until: int
    begin: int | None = None
    every: float | None = None
    profile: Profile = "full"
    stop: bool = True
    search: int = 0
    workers: int = 2

    def untils(self) -> list[int]:
        """When each version of a series is trained; raises `SettingsError` for half a series.

        >>> [at // DAY for at in Wanted(Path("d"), Path("s"), until=3 * DAY, begin=DAY, every=1.0).untils()]
        [1, 2, 3]
        """
        if self.begin is None and self.every is None:
            return [self.until]
        days = self.every if self.every is not None and isfinite(self.every) else 0.0
        if self.begin is None or self.begin > self.until or (step := round(days * DAY)) < 1:
            raise SettingsError("train: a series needs --from, before --until, and --every DAYS above 0")
        return list(range(self.begin, self.until + 1, step))


def trained(settings: Settings, wanted: Wanted, as_json: bool) -> Iterator[Trained]:
    """Train what is wanted; its progress is shown where a person reads it, or told as JSON lines."""
    shelf = Shelf(wanted.shelf, "boosted")
    untils = wanted.untils()
    with progress(as_json) as told:
        if len(untils) > 1:
            yield from series(
                settings, wanted.data, untils, shelf,
                profile=wanted.profile, stop=wanted.stop, search=wanted.search,
                workers=wanted.workers, told=told,
            )  # fmt: skip
        else:
            yield train(
                settings, wanted.data, untils[0], shelf,
                profile=wanted.profile, stop=wanted.stop, search=wanted.search,
                workers=wanted.workers, told=told,
            )  # fmt: skip


@contextmanager
def progress(as_json: bool) -> Iterator[Told]:
    """How far a training is."""
    console = Console(stderr=True)
    if as_json:
        yield lambda stage, share: typer.echo(json.dumps({"stage": stage, "progress": round(share, 4)}))
    elif not console.is_terminal:
        yield quiet
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bars:
            tasks: dict[str, TaskID] = {}

            def told(stage: str, share: float) -> None:
                if stage not in tasks or (bars.tasks[tasks[stage]].finished and share < 1):
                    tasks[stage] = bars.add_task(stage, total=1.0)
                bars.update(tasks[stage], completed=share)

            yield told


def document(made: Trained) -> dict[str, Any]:
    """A version as one JSON line."""
    return {
        "version": made.version,
        "promoted": made.promoted,
        "reason": made.reason,
        "seconds": round(made.seconds, 3),
        "metrics": dict(made.manifest.metrics),
    }


def lines(made: Trained) -> Iterator[str]:
    """A version as people read it."""
    word = "promoted" if made.promoted else "not promoted"
    yield f"{made.version} {word} ({made.reason}) in {made.seconds:.1f} s"
    for name, figures in made.manifest.metrics["segments"].items():
        low, high = figures["auc_ci"]
        rounds = figures["rounds"]
        yield (
            f"  {name:<7} {'skill   ' if figures['skill'] else 'no skill'} "
            f"AUC {figures['auc']:.3f} [{low:.3f}, {high:.3f}]  Brier skill {figures['brier_skill']:+.4f}  "
            f"ECE {figures['ece']:.4f}  p3 skill {figures['p3_brier_skill']:+.4f} "
            f"(volatility {figures['volatility_brier_skill']:+.4f})  "
            f"rounds {rounds['side']} + {rounds['size']}, {figures['chosen']}, {figures['rows']} rows"
        )
