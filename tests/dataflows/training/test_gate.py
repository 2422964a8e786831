"""The gate: a version that is worse than the one that serves stays on the shelf and is never served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from dataflows.training.gate import ENOUGH, FILE, SLICE, Recent, passes, recent_of
from dataflows.training.run import train
from engine.errors import StorageError
from engine.models.manifest import Facts, Manifest
from engine.models.shelf import POINTER, Shelf
from engine.records import INTERVALS
from engine.research.rows import INPUTS_HASH
from tests.dataflows.training.test_dataset import END, settings_of, written

HOUR = INTERVALS["1h"]
DAY = 24 * HOUR
ONE = settings_of({"majors": ("BTCUSDT",)})


def losses(more: float = 0.0, *, seed: int = 0, days: int = 60, begin: int = END - SLICE) -> Recent:
    """Losses of two symbols every five hours; `more` is what this version loses beyond the usual, in nats."""
    times = np.arange(begin + HOUR, begin + days * DAY, 5 * HOUR)
    rng = np.random.default_rng(seed)
    rows = [
        pl.DataFrame({"symbol": symbol, "time": times, "loss": 1 + more + rng.normal(0, 0.2, len(times))})
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    return Recent(pl.concat(rows).sort("time", "symbol"))


def put(shelf: Shelf, recent: Recent, **facts: Any) -> Manifest:
    """A version that holds nothing but its recent losses."""
    told = Facts.of(END - 12 * HOUR, schema=INPUTS_HASH, **facts)
    return shelf.add(recent.save, told)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf", "boosted")


@pytest.fixture
def champion(shelf: Shelf) -> str:
    made = put(shelf, losses())
    shelf.point(made.version)
    return made.version


def test_the_first_version_passes(shelf: Shelf) -> None:
    verdict = passes(losses(), shelf)

    assert (verdict.passed, verdict.reason, verdict.figures) == (True, "the first version", {})


def test_the_same_answers_pass(shelf: Shelf, champion: str) -> None:
    verdict = passes(losses(), shelf)

    assert verdict.passed
    assert verdict.reason == f"not worse than {champion} on 576 recent closes: +0.00000 nats"
    assert verdict.figures["difference_ci90"] == [0.0, 0.0]


@pytest.mark.parametrize(("more", "passed"), [(-0.1, True), (0.002, True), (0.1, False)])
def test_only_one_that_is_worse_beyond_chance_fails(
    shelf: Shelf, champion: str, more: float, passed: bool
) -> None:
    verdict = passes(losses(more, seed=1), shelf)
    low, high = verdict.figures["difference_ci90"]

    assert verdict.passed is passed
    assert verdict.reason.startswith(
        f"{'not worse' if passed else 'worse'} than {champion} on 576 recent closes"
    )
    assert low < high
    assert (low > 0) is not passed
    assert verdict.figures["log_loss"] - verdict.figures["log_loss_champion"] == pytest.approx(
        (low + high) / 2, abs=0.02
    )


def test_chance_alone_stops_one_in_twenty(shelf: Shelf, champion: str) -> None:
    stopped = sum(not passes(losses(seed=seed), shelf).passed for seed in range(1, 101))

    assert 1 <= stopped <= 12


def test_only_closes_that_both_answered_are_compared(shelf: Shelf, champion: str) -> None:
    newer = losses(5.0, begin=END - SLICE + 30 * DAY)
    later = newer.rows.with_columns(
        pl.when(pl.col("time") > END).then(pl.col("loss")).otherwise(pl.lit(1.0)).alias("loss")
    )
    verdict = passes(Recent(later), shelf)

    assert verdict.figures["rows"] == 288
    assert verdict.figures["log_loss"] == 1.0
    assert verdict.passed


def test_without_enough_common_closes_nothing_is_held_against_it(shelf: Shelf, champion: str) -> None:
    few = Recent(losses(5.0).rows.head(ENOUGH - 1))
    none = losses(5.0, begin=END)

    assert passes(few, shelf).reason == f"only 199 recent closes in common with {champion}"
    assert passes(few, shelf).passed
    assert passes(none, shelf).reason == f"only 0 recent closes in common with {champion}"
    assert passes(none, shelf).passed
    assert not passes(Recent(losses(5.0).rows.head(ENOUGH)), shelf).passed


def damaged(shelf: Shelf, version: str) -> None:
    (shelf.folder / version / FILE).write_bytes(b"no parquet")


def gone(shelf: Shelf, version: str) -> None:
    (shelf.folder / version / FILE).unlink()


def misled(shelf: Shelf, version: str) -> None:
    (shelf.folder / POINTER).write_text("../../etc\n")


@pytest.mark.parametrize(
    ("harm", "told"), [(damaged, "is damaged"), (gone, "is missing"), (misled, "names no version")]
)
def test_a_champion_that_cannot_be_read_stands_in_nobodys_way(
    shelf: Shelf, champion: str, harm: Callable[[Shelf, str], None], told: str
) -> None:
    harm(shelf, champion)
    verdict = passes(losses(5.0), shelf)

    assert verdict.passed
    assert verdict.reason.startswith("the version before cannot be used: ")
    assert told in verdict.reason


def test_a_champion_of_other_features_stands_in_nobodys_way(shelf: Shelf) -> None:
    old = shelf.add(losses().save, Facts.of(END - 12 * HOUR))
    shelf.point(old.version)

    assert "its features are of schema 0123456789abcdef" in passes(losses(5.0), shelf).reason


@pytest.mark.parametrize(
    "rows",
    [
        pl.DataFrame({"symbol": ["A"], "time": [1]}),
        pl.DataFrame({"symbol": ["A"], "time": ["noon"], "loss": [1.0]}),
    ],
)
def test_losses_of_another_shape_are_refused_in_one_line(tmp_path: Path, rows: pl.DataFrame) -> None:
    rows.write_parquet(tmp_path / FILE)

    with pytest.raises(StorageError, match=r"recent\.parquet: ") as raised:
        Recent.load(tmp_path)
    assert len(str(raised.value).splitlines()) == 1


def test_losses_come_back_as_they_were_saved(tmp_path: Path) -> None:
    losses().save(tmp_path)

    assert Recent.load(tmp_path).rows.equals(losses().rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("history"), {"majors": ("BTCUSDT",)})


def test_a_trained_version_tells_the_losses_of_the_last_sixty_days(folder: Path, shelf: Shelf) -> None:
    made = train(ONE, folder, END, shelf, workers=1)
    rows = Recent.load(shelf.opened(made.version, INPUTS_HASH)).rows

    assert END - SLICE < rows["time"].min() <= END - SLICE + 5 * HOUR  # type: ignore[operator]
    assert END - 17 * HOUR < rows["time"].max() <= END - 12 * HOUR  # type: ignore[operator]
    assert 0 < rows["loss"].min() < rows["loss"].mean() < 3  # type: ignore[operator]


def planted(monkeypatch: pytest.MonkeyPatch, more: float) -> None:
    """The next training answers so much worse, or better, than it would."""

    def other(*told: Any) -> Recent:
        return Recent(recent_of(*told).rows.with_columns(pl.col("loss") + more))

    monkeypatch.setattr("dataflows.training.run.recent_of", other)


def test_a_worse_version_is_shelved_but_neither_pointed_to_nor_ever_served(
    folder: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(ONE, folder, END - 5 * DAY, shelf, workers=1)
    planted(monkeypatch, 0.5)
    worse = train(ONE, folder, END, shelf, workers=1)
    late = shelf.serving(END + 100 * DAY, INPUTS_HASH)

    assert (first.promoted, worse.promoted, worse.manifest.promoted) == (True, False, False)
    assert worse.reason.startswith(f"worse than {first.version} on ")
    assert set(shelf.versions()) == {first.version, worse.version}
    assert shelf.current() == first.version
    assert late is not None
    assert late.version == first.version


def test_an_equal_version_takes_over_from_its_own_time_on(folder: Path, shelf: Shelf) -> None:
    first = train(ONE, folder, END - 5 * DAY, shelf, workers=1)
    again = train(ONE, folder, END - 5 * DAY, shelf, workers=1)
    newer = train(ONE, folder, END, shelf, workers=1)
    served = [shelf.serving(at, INPUTS_HASH) for at in (END - 5 * DAY, END, END + HOUR)]

    assert again.promoted
    assert again.manifest.files == first.manifest.files
    assert again.manifest.metrics["gate"]["difference_ci90"] == [0.0, 0.0]
    assert newer.promoted
    assert shelf.current() == newer.version
    assert served[0] is None
    assert served[1] is not None
    assert served[1].version in {first.version, again.version}
    assert served[2] == newer.manifest


def test_a_version_that_lost_a_segment_does_not_take_the_place_of_one_that_has_it(shelf: Shelf) -> None:
    champion = put(shelf, losses(), metrics={"segments": {"majors": {}, "alts": {}}}).version
    shelf.point(champion)
    verdict = passes(losses(), shelf, segments=("alts",))

    assert not verdict.passed
    assert verdict.reason == f"it has no trees for majors, and {champion} has"
    assert passes(losses(), shelf, segments=("majors", "alts", "memes")).passed
