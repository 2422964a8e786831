"""Files of the folder: whole or not there, the same bytes for the same rows, and what they say they cover."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dataflows.backfill.series import Series
from dataflows.backfill.spans import Range
from dataflows.backfill.store import Store
from engine.errors import StorageError

HOUR = 3_600_000
BTC = Series("klines", "spot", "BTCUSDT", "1h")


def candles(*hours: int) -> pl.DataFrame:
    rows = [
        (hour * HOUR, 1.0, 2.0, 1.0, 2.0, 3.0, hour * HOUR + HOUR - 1, 1.0, 1, 1.0, 1.0) for hour in hours
    ]
    return pl.DataFrame(rows, schema=dict(BTC.schema), orient="row")


def hours(*spans: tuple[int, int]) -> list[Range]:
    return [Range(begin * HOUR, end * HOUR) for begin, end in spans]


def merged(folder: Path, *parts: tuple[pl.DataFrame, list[Range]]) -> bytes:
    store = Store(folder)
    for rows, covered in parts:
        store.keep(BTC, rows, covered)
    store.merge(BTC)
    return (folder / BTC.path).read_bytes()


def test_a_file_covers_its_holes_too(tmp_path: Path) -> None:
    merged(tmp_path, (candles(1, 2, 5), hours((0, 8))))

    assert Store(tmp_path).covered(BTC) == hours((0, 8))


def test_parts_count_before_they_are_joined(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep(BTC, candles(1), hours((0, 3)))
    store.keep(BTC, candles(5), hours((5, 7)))

    assert store.covered(BTC) == hours((0, 3), (5, 7))
    assert not (tmp_path / BTC.path).exists()


def test_a_strange_file_covers_its_rows_only(tmp_path: Path) -> None:
    (tmp_path / BTC.path).parent.mkdir(parents=True)
    candles(1, 2, 5).write_parquet(tmp_path / BTC.path)

    assert Store(tmp_path).covered(BTC) == hours((1, 3), (5, 6))


def test_parts_in_any_order_and_number_give_the_same_bytes(tmp_path: Path) -> None:
    at_once = merged(tmp_path / "a", (candles(1, 2, 5), hours((0, 8))))
    in_parts = merged(tmp_path / "b", (candles(5), hours((4, 8))), (candles(1, 2), hours((0, 4))))
    merged(tmp_path / "c", (candles(5), hours((4, 8))))
    in_runs = merged(tmp_path / "c", (candles(1, 2), hours((0, 4))))

    assert at_once == in_parts == in_runs


def test_joining_again_what_is_joined_changes_no_byte(tmp_path: Path) -> None:
    """Killed after the file took its place and before its parts were removed."""
    part = (candles(1, 2, 5), hours((0, 8)))
    once = merged(tmp_path, part)

    assert merged(tmp_path, part) == once


def test_what_covers_without_rows_is_remembered_without_a_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep(BTC, candles(), hours((0, 700)))

    assert store.merge(BTC) is None
    assert not (tmp_path / BTC.path).exists()
    assert Store(tmp_path).covered(BTC) == hours((0, 700))


def test_columns_of_its_own_stay_in_a_file(tmp_path: Path) -> None:
    (tmp_path / BTC.path).parent.mkdir(parents=True)
    candles(1).with_columns(mine=pl.lit("a")).write_parquet(tmp_path / BTC.path)
    merged(tmp_path, (candles(0, 1, 2), hours((0, 3))))

    assert pl.read_parquet(tmp_path / BTC.path)["mine"].to_list() == [None, "a", None]


def test_unsorted_and_doubled_rows_are_put_in_order(tmp_path: Path) -> None:
    (tmp_path / BTC.path).parent.mkdir(parents=True)
    candles(5, 3, 5).write_parquet(tmp_path / BTC.path)
    merged(tmp_path, (candles(4), hours((4, 5))))

    assert pl.read_parquet(tmp_path / BTC.path)["open_time"].to_list() == [3 * HOUR, 4 * HOUR, 5 * HOUR]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "klines").write_text("in the way")
    store = Store(tmp_path)
    store.keep(BTC, candles(1), hours((0, 3)))

    with pytest.raises(StorageError, match=r"BTCUSDT\.parquet: cannot be written"):
        store.merge(BTC)
    assert store.covered(BTC) == hours((0, 3))
