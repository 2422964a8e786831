"""The folder: whole Parquet files that say what they cover, and the months on their way into them.

A file appears by replacement or not at all. What it covers is told in its own metadata, so that rows and
coverage can never disagree: everything the exchange has in there is in the file, and holes are known holes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import polars as pl

from dataflows.backfill.series import Series
from dataflows.backfill.spans import Range, runs, union
from dataflows.connectors.database import claim
from engine.errors import StorageError

PARTS: Final = ".backfill"
COVERED: Final = "signal_engine_covered"
ROW_GROUP: Final = 1 << 18
MINUTE: Final = 60_000


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of a file: how many rows it has, how many of them are new."""

    file: str
    rows: int
    added: int


class Store:
    """One folder of history, held by one process at a time. Raises `StorageError`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else fills this folder meanwhile; the kernel frees it however this process ends."""
        lock = claim(self.folder / PARTS / "folder")
        try:
            yield
        finally:
            os.close(lock)

    def covered(self, series: Series) -> list[Range]:
        """What needs no asking: what the file says it covers, its runs of rows, and finished parts."""
        file = self.folder / series.path
        own: list[Range] = []
        if file.exists():
            own = coverage(file)
            with readable(file):
                known = pl.read_parquet_schema(file)
                if series.schema.keys() <= known.keys():
                    times = pl.read_parquet(file, columns=[series.key])[series.key].drop_nulls()
                    own += row_runs(series, times.cast(pl.Int64).unique().sort())
        return union([*own, *(span for part in self._parts(series) for span in coverage(part))])

    def keep(self, series: Series, rows: pl.DataFrame, covered: Sequence[Range]) -> None:
        """Put a finished piece aside until the whole is made."""
        folder = self._aside(series)
        name = f"{covered[0].begin:013d}-{covered[-1].end:013d}.parquet"
        write(folder / name, rows, covered)

    def merge(self, series: Series) -> Merged | None:
        """Join the finished parts to the file; None where there is nothing at all.

        Existing rows stay as they are, but for nulls that the parts know better.
        """
        file, parts = self.folder / series.path, self._parts(series)
        old = table(file, series) if file.exists() else None
        rows = 0 if old is None else old.height
        if not parts:
            return None if old is None else Merged(str(series.path), rows, 0)
        whole = filled(old, pl.concat([table(part, series) for part in parts]), series)
        if whole.is_empty():
            # The parts remain: they remember that the exchange has nothing there.
            return None
        covered = union(
            span for path in ([file] if old is not None else []) + parts for span in coverage(path)
        )
        write(file, whole, covered)
        for part in (*parts, *self._aside(series).glob("*.new")):
            part.unlink()
        return Merged(str(series.path), whole.height, whole.height - rows)

    def _aside(self, series: Series) -> Path:
        return self.folder / PARTS / series.path.with_suffix("")

    def _parts(self, series: Series) -> list[Path]:
        return sorted(self._aside(series).glob("*.parquet"))


def row_runs(series: Series, times: pl.Series) -> list[Range]:
    """What rows without a word of coverage prove: where none is missing between two, none is asked for."""
    if series.kind != "funding":
        return runs(times.to_numpy(), series.step)
    # A rate proves nothing of the hours after it: not every contract settles every eight.
    late = series.step + MINUTE
    return [Range(begin, end - late + 1) for begin, end in runs(times.to_numpy(), late)]


def filled(old: pl.DataFrame | None, new: pl.DataFrame, series: Series) -> pl.DataFrame:
    """All rows by time, each time once; those of `old` win wherever they are not null."""
    mark = same_time(series)
    new = new.with_columns(mark).unique("mark", keep="first", maintain_order=True)
    if old is None:
        return new.sort(series.key).drop("mark")
    old = old.drop_nulls(series.key).with_columns(mark).unique("mark", keep="first", maintain_order=True)
    again = new.join(old, on="mark", how="semi")
    both = old if again.is_empty() else mended(old, again, series)
    fresh = new.join(old, on="mark", how="anti")
    return pl.concat([both, fresh], how="diagonal").sort(series.key).drop("mark")


def mended(old: pl.DataFrame, new: pl.DataFrame, series: Series) -> pl.DataFrame:
    """Old rows with what the new ones know where they are null."""
    columns = [name for name in series.schema if name != series.key]
    both = old.join(new.select("mark", *columns), on="mark", how="left", suffix="_new")
    return both.with_columns(pl.coalesce(name, f"{name}_new") for name in columns).select(old.columns)


def same_time(series: Series) -> pl.Expr:
    """What makes two rows the same: funding is stamped some ms late, differently by who tells it."""
    time = pl.col(series.key)
    return ((time + MINUTE // 2) // MINUTE * MINUTE if series.kind == "funding" else time).alias("mark")


def table(path: Path, series: Series) -> pl.DataFrame:
    """A file with at least the columns of the series, in their types; columns of its own come last."""
    with readable(path):
        found = pl.read_parquet(path)
        columns = [
            (pl.col(name) if name in found.columns else pl.lit(None)).cast(kind).alias(name)
            for name, kind in series.schema.items()
        ]
        return found.select(*columns, *(pl.col(name) for name in found.columns if name not in series.schema))


def coverage(path: Path) -> list[Range]:
    """What a file says it covers; nothing where somebody else wrote it."""
    with readable(path):
        text = pl.read_parquet_metadata(path).get(COVERED)
    return [] if text is None else union(orjson.loads(text))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError, ValueError, TypeError) as error:
        raise StorageError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def write(path: Path, rows: pl.DataFrame, covered: Iterable[Range]) -> None:
    """The file as a whole, on disk before it takes its place; the same bytes for the same rows."""
    draft = path.with_name(path.name + ".new")
    metadata = {COVERED: orjson.dumps([list(span) for span in union(covered)]).decode()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.rechunk().write_parquet(draft, row_group_size=ROW_GROUP, metadata=metadata)
        synced(draft)
        os.replace(draft, path)
        synced(path.parent)
    except (OSError, pl.exceptions.PolarsError) as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise StorageError(f"{path}: cannot be written: {str(error).splitlines()[0]}") from error


def synced(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
