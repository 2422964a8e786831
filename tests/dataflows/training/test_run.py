"""A training is a function of the candles before its time: nothing later, nothing else, to the byte."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from dataclasses import replace
from hashlib import sha256
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from dataflows.training.run import DAY, Trained, prepared, quiet, read, series, side_by_side, train
from engine.errors import SourceError, StorageError
from engine.models.boosted import Boosted
from engine.models.manifest import Manifest
from engine.models.shelf import Shelf
from engine.records import INTERVALS
from engine.research.rows import INPUTS, INPUTS_HASH
from engine.settings import Settings
from tests.checks import START, market
from tests.dataflows.test_history import RENAME, save
from tests.dataflows.training.test_dataset import END, SYMBOLS, settings_of, written

HOUR = INTERVALS["1h"]
UNTIL = END - 300 * HOUR
"""Candles of 300 hours lie behind it."""

ONE = settings_of({"majors": ("BTCUSDT",)})
"""One symbol where more would only take longer."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("history"))


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_of()


@pytest.fixture(scope="module")
def whole(folder: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shelf of one training at `UNTIL`."""
    shelf = tmp_path_factory.mktemp("shelf")
    train(settings, folder, UNTIL, Shelf(shelf, "boosted"), workers=1)
    return shelf


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """What a training of `ONE` at `UNTIL` says of itself."""
    return trained(ONE, folder, tmp_path_factory.mktemp("alone")).manifest


def contents(shelf: Path) -> dict[str, str]:
    """Every file of every version, the manifest among them."""
    return {
        str(path.relative_to(shelf)): sha256(path.read_bytes()).hexdigest()
        for path in shelf.glob("boosted/*/*")
    }


def trained(settings: Settings, folder: Path, shelf: Path, until: int = UNTIL, workers: int = 1) -> Trained:
    return train(settings, folder, until, Shelf(shelf, "boosted"), workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_candles_give_the_same_bytes_however_many_work(
    folder: Path, settings: Settings, whole: Path, tmp_path: Path, workers: int
) -> None:
    trained(settings, folder, tmp_path, workers=workers)

    assert len(contents(whole)) == 3 * len(SYMBOLS) + 2
    assert contents(tmp_path) == contents(whole)


@pytest.mark.parametrize("place", [-1, 0])
def test_the_last_labels_last_candle_counts_and_no_later_one(
    folder: Path, tmp_path: Path, place: int
) -> None:
    label = (UNTIL - 12 * HOUR) // (5 * HOUR) * 5 * HOUR + 12 * HOUR
    other = later(folder, tmp_path / "market", label + place, CHANGES["other prices"])
    files = [
        trained(ONE, data, tmp_path / name).manifest.files for data, name in ((folder, "a"), (other, "b"))
    ]

    assert (files[0] == files[1]) == (place == 0)


def later(folder: Path, copy: Path, after: int, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
    """The same folder with other rows closing after a time."""
    for path in folder.rglob("*.parquet"):
        rows = pl.read_parquet(path)
        closes = pl.col("open_time") + INTERVALS[path.parent.name]
        known, behind = rows.filter(closes <= after), rows.filter(closes > after)
        target = copy / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        pl.concat([known, change(behind)]).write_parquet(target)
    return copy


PRICES = ("open", "high", "low", "close")


def garbage(rows: pl.DataFrame) -> pl.DataFrame:
    wrong = [
        pl.lit(value).alias(name) for name, value in zip(PRICES, (-1.0, np.nan, np.inf, 0.0), strict=True)
    ]
    return pl.concat([rows.with_columns(wrong), rows.with_columns(pl.col("open_time") + 1_234)])


CHANGES = {
    "other prices": lambda rows: rows.with_columns([pl.col(name) * 3 for name in PRICES]),
    "a planted jump": lambda rows: rows.with_columns(
        [pl.col(name) * 2.0 ** pl.row_index() for name in PRICES]
    ),
    "garbage": garbage,
    "nothing": lambda rows: rows.clear(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_nothing_that_closed_later_changes_a_byte(
    folder: Path, alone: Manifest, tmp_path: Path, what: str
) -> None:
    other = later(folder, tmp_path / "market", UNTIL, CHANGES[what])
    made = trained(ONE, other, tmp_path / "shelf")

    assert made.manifest == alone  # with the sha256 of every file


def test_nothing_of_any_symbol_that_closed_later_changes_a_byte(
    folder: Path, settings: Settings, whole: Path, tmp_path: Path
) -> None:
    for number, (path, change) in enumerate(
        zip(sorted(folder.rglob("*.parquet")), CHANGES.values(), strict=True)
    ):
        other = later(folder, tmp_path / f"{number}", UNTIL, change)
        target = tmp_path / "market" / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        (other / path.relative_to(folder)).rename(target)
    trained(settings, tmp_path / "market", tmp_path / "shelf")

    assert contents(tmp_path / "shelf") == contents(whole)


def test_symbols_that_come_later_change_nothing(
    folder: Path, settings: Settings, whole: Path, tmp_path: Path
) -> None:
    other = later(folder, tmp_path / "market", UNTIL, lambda rows: rows)
    (other / "klines/spot/1h/DOGEUSDT.parquet").rename(other / "klines/spot/1h/WIFUSDT.parquet")
    later(other, tmp_path / "late", UNTIL, lambda rows: rows)
    late = pl.read_parquet(tmp_path / "late/klines/spot/1h/WIFUSDT.parquet")
    late.filter(pl.col("open_time") >= UNTIL).write_parquet(other / "klines/spot/1h/WIFUSDT.parquet")
    both = settings_of({**SYMBOLS, "memes": ("WIFUSDT",)})
    with_it = trained(both, other, tmp_path / "one")
    (other / "klines/spot/1h/WIFUSDT.parquet").unlink()
    without = trained(both, other, tmp_path / "two")

    assert with_it.version == without.version
    assert set(with_it.manifest.metrics["segments"]) == {"majors", "alts"}


def test_until_is_the_last_close_read_and_every_label_ends_by_then(
    folder: Path, settings: Settings, whole: Path
) -> None:
    manifest = Shelf(whole, "boosted").manifest(Shelf(whole, "boosted").versions()[0])
    with side_by_side(1) as pool:
        found = read(settings, folder, UNTIL, UNTIL, "full", pool, quiet)
        longer = read(settings, folder, UNTIL, END, "full", pool, quiet)
    for segment in SYMBOLS:
        jobs = [prepared(settings, rows, segment, UNTIL, "full", True) for rows in (found, longer)]
        assert jobs[0] is not None
        assert jobs[1] is not None
        assert jobs[0].rows.time.max() + 12 * HOUR <= UNTIL < jobs[0].rows.time.max() + 17 * HOUR
        for name in ("time", "symbol", "inputs", "moves"):
            assert getattr(jobs[0].rows, name).tobytes() == getattr(jobs[1].rows, name).tobytes()

    assert manifest.until == UNTIL
    assert manifest.data_until == UNTIL - 12 * HOUR
    assert manifest.serves_from == UNTIL + HOUR
    assert manifest.data_from == START + 500 * HOUR + 5 * HOUR - (START + 500 * HOUR) % (5 * HOUR)


@pytest.mark.parametrize("spare", [1, HOUR // 2, HOUR - 1])
def test_an_interval_that_has_not_closed_is_not_read(
    folder: Path, alone: Manifest, tmp_path: Path, spare: int
) -> None:
    made = trained(ONE, folder, tmp_path, UNTIL + spare)

    assert made.manifest.until == UNTIL + spare
    assert (made.manifest.data_until, made.manifest.serves_from) == (UNTIL - 12 * HOUR, UNTIL + HOUR)
    assert made.manifest.files == alone.files
    assert made.manifest.metrics == alone.metrics


def test_a_version_of_old_candles_says_how_old_they_are(folder: Path, tmp_path: Path) -> None:
    made = trained(ONE, folder, tmp_path, END + 10 * DAY)

    assert made.manifest.until == END + 10 * DAY
    assert made.manifest.data_until == END - 12 * HOUR


def test_a_series_is_what_single_trainings_at_those_times_are(folder: Path, tmp_path: Path) -> None:
    """On one shelf each meets the champion before it, so that reasons and gate figures agree as well."""
    untils = [UNTIL - 20 * DAY, UNTIL - 10 * DAY - HOUR // 3, UNTIL]
    together = list(series(ONE, folder, untils[::-1], Shelf(tmp_path / "together", "boosted"), workers=1))
    for until in untils:
        trained(ONE, folder, tmp_path / "single", until)

    assert [made.manifest.until for made in together] == untils
    assert len(contents(tmp_path / "together")) == 3 * (3 + 2)
    assert contents(tmp_path / "together") == contents(tmp_path / "single")


def test_alone_on_a_shelf_a_version_differs_by_its_gate_and_its_name_only(
    folder: Path, alone: Manifest, tmp_path: Path
) -> None:
    one, two = series(ONE, folder, [UNTIL - 5 * DAY, UNTIL], Shelf(tmp_path, "boosted"), workers=1)
    same = replace(
        two.manifest, version=alone.version, reason=alone.reason, promoted=True,
        metrics={**two.manifest.metrics, "gate": {}},
    )  # fmt: skip

    assert two.manifest.metrics["gate"]["champion"] == one.version
    assert two.version != alone.version
    assert same == alone


def test_the_window_of_a_series_moves_with_its_time(folder: Path, tmp_path: Path) -> None:
    short = settings_of({"majors": ("BTCUSDT",)}, MODELS__BOOSTED__WINDOW_DAYS="60")
    untils = [UNTIL - 7 * DAY, UNTIL]
    together = [
        made.manifest for made in series(short, folder, untils, Shelf(tmp_path / "a", "boosted"), workers=1)
    ]
    single = trained(short, folder, tmp_path / "b").manifest

    assert [one.data_from + 7 * DAY * (1 - place) > UNTIL - 60 * DAY for place, one in enumerate(together)]
    assert UNTIL - 60 * DAY < together[1].data_from <= UNTIL - 60 * DAY + 5 * HOUR
    assert together[1].files == single.files


def test_the_demo_looks_back_120_days_in_a_series_too(folder: Path, tmp_path: Path) -> None:
    long = written(tmp_path / "long", {"majors": ("BTCUSDT",)}, n=4_600)
    end = START + 4_600 * HOUR
    demo = train(ONE, long, end, Shelf(tmp_path / "a", "boosted"), profile="demo", workers=1)
    _, last = series(
        ONE, long, [end - 20 * DAY, end], Shelf(tmp_path / "b", "boosted"), profile="demo", workers=1
    )

    assert end - 120 * DAY < demo.manifest.data_from <= end - 120 * DAY + 5 * HOUR
    assert last.manifest.files == demo.manifest.files


def test_a_symbol_with_too_few_candles_is_left_out_and_the_others_are_trained(
    folder: Path, tmp_path: Path
) -> None:
    settings = settings_of({"majors": ("BTCUSDT", "ETHUSDT")})
    few = later(folder, tmp_path / "market", 0, lambda rows: rows)
    path = few / "klines/spot/1h/ETHUSDT.parquet"
    rows = pl.read_parquet(path).filter(pl.col("open_time") < UNTIL)
    rows.tail(499).write_parquet(path)
    made = trained(settings, few, tmp_path / "one")

    assert made.manifest.metrics["segments"]["majors"]["symbols"] == 1
    rows.tail(600).write_parquet(path)
    assert trained(settings, few, tmp_path / "two").manifest.metrics["segments"]["majors"]["symbols"] == 2


def test_nobody_has_enough_candles_and_everybody_is_named(
    folder: Path, settings: Settings, tmp_path: Path
) -> None:
    at = START + 450 * HOUR
    asked = r"^nothing to train on: 500 candles a symbol are needed; found BTCUSDT 4\d\d, DOGEUSDT 4\d\d, "
    with pytest.raises(StorageError, match=asked):
        trained(settings, folder, tmp_path, at)
    with pytest.raises(StorageError, match=asked):  # candles that come later are not counted
        list(series(settings, folder, [at, UNTIL], Shelf(tmp_path, "boosted"), workers=1))

    assert not (tmp_path / "boosted").exists()


def test_enough_candles_but_too_few_labels_is_said_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"found too few labels$"):
        trained(ONE, folder, tmp_path, START + 530 * HOUR)


def test_no_symbol_at_all_is_refused(folder: Path, tmp_path: Path) -> None:
    nobody = settings_of({"memes": ("WIFUSDT", "BONKUSDT")})

    with pytest.raises(StorageError, match=r"found BONKUSDT 0, WIFUSDT 0$"):
        trained(nobody, folder, tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_without_candles_is_named(settings: Settings, tmp_path: Path, workers: int) -> None:
    with pytest.raises(StorageError, match=r"no recorded candles here, .*klines/spot is missing"):
        trained(settings, tmp_path / "nowhere", tmp_path, workers=workers)

    assert not active_children()


def test_a_coin_with_two_names_is_learned_from_under_both(tmp_path: Path) -> None:
    save(tmp_path, "MATICUSDT", market(1_800, 1, start=RENAME - 1_800 * HOUR))
    save(tmp_path, "POLUSDT", market(700, 2, start=RENAME + 79 * HOUR))
    until = RENAME + 779 * HOUR
    made = trained(settings_of({"alts": ("POLUSDT",)}), tmp_path, tmp_path / "shelf", until)
    figures = made.manifest.metrics["segments"]["alts"]

    assert figures["symbols"] == 1
    assert figures["rows"] == pytest.approx((1_300 - 12 + 700 - 12) / 5, abs=2)
    recent = pl.read_parquet(tmp_path / "shelf/boosted" / made.version / "recent.parquet")
    assert set(recent["symbol"]) == {"POLUSDT"}
    assert set(recent["time"] > RENAME) == {True, False}


def test_what_was_shelved_can_be_asked(whole: Path) -> None:
    shelf = Shelf(whole, "boosted")
    version = shelf.current()
    assert version is not None
    model = Boosted.load(shelf.opened(version, INPUTS_HASH), shelf.manifest(version))

    assert set(model.segments) == set(SYMBOLS)
    rows = np.random.default_rng(1).normal(size=(5, len(INPUTS))).astype(np.float32)
    for segment in model.segments.values():
        assert list(segment.calibrations) == ["1h"]
        assert ((segment.answer(rows, "1h").p_up > 0) & (segment.answer(rows, "1h").p_up < 1)).all()


def test_a_version_is_calibrated_for_the_signals_of_a_shorter_interval(folder: Path, tmp_path: Path) -> None:
    btc = later(folder, tmp_path / "market", UNTIL, lambda rows: rows.clear())
    begin = UNTIL - 800 * HOUR
    save(btc, "BTCUSDT", market(800 * 12, 5, interval="5m", start=begin))
    only = settings_of({"majors": ("BTCUSDT",)}, DECIDE__INTERVAL="5m")
    made = trained(only, btc, tmp_path / "shelf")
    model = Boosted.load(tmp_path / "shelf/boosted" / made.version, made.manifest)

    assert set(model.segments["majors"].calibrations) == {"1h", "5m"}


def test_progress_is_told_in_order_and_to_its_end(folder: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, float]] = []
    train(
        ONE, folder, UNTIL, Shelf(tmp_path, "boosted"), workers=1,
        told=lambda stage, share: heard.append((stage, share)),
    )  # fmt: skip
    stages = list(dict.fromkeys(stage for stage, _ in heard))

    assert stages == ["features", "market", "trees"]
    for stage in stages:
        shares = [share for name, share in heard if name == stage]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0


def test_no_process_is_left_when_nobody_waits_for_a_series_any_more(folder: Path, tmp_path: Path) -> None:
    made = series(ONE, folder, [UNTIL - DAY, UNTIL], Shelf(tmp_path, "boosted"), workers=2)
    next(made)
    assert len(active_children()) == 2
    assert isinstance(made, Generator)
    made.close()

    assert not active_children()
    assert len(Shelf(tmp_path, "boosted").versions()) == 1


def test_a_killed_process_is_one_error_and_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    def kill(stage: str, share: float) -> None:
        if stage == "market":
            for child in active_children()[:1]:
                os.kill(child.pid or 0, signal.SIGKILL)

    with pytest.raises(SourceError, match=r"^a process of the training ended before its work was done$"):
        train(ONE, folder, UNTIL, Shelf(tmp_path, "boosted"), workers=2, told=kill)

    assert not active_children()
    assert not (tmp_path / "boosted").exists()


def test_a_search_is_one_more_candidate_and_its_trials_are_counted(folder: Path, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", "boosted")
    made = train(ONE, folder, UNTIL, shelf, search=2, workers=1).manifest
    again = train(ONE, folder, UNTIL, Shelf(tmp_path / "again", "boosted"), search=2, workers=1).manifest

    assert made.trials == 2 + 1 + 2  # configured and regularised, the one found, the two tries
    assert made.version == again.version
    assert made.metrics["segments"]["majors"]["chosen"] in ("configured", "regularised", "searched")
