"""Metrics and headlines brought from the journal into the history folder, each with when it was learned.

The journal forgets after a week; what research joins as-of must be kept for longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import polars as pl

from dataflows.connectors.journal import HEADLINE, METRIC, Journal
from dataflows.connectors.past import HEADLINES, METRICS, table
from dataflows.signal_file import written

ROWS: Final = """
SELECT symbol, interval, time, body FROM journal WHERE kind > 2 AND kind = ? AND time >= ? ORDER BY seq
"""
SAME_NUMBER: Final = ("name", "asset", "time", "value")


def compact(journal: Journal, folder: Path) -> None:
    """Add what the journal has learned since the last time to metrics/<source>.parquet and news/.

    Files are replaced whole; doing it twice changes nothing. Raises `StorageError`.
    """
    held = {path.stem: table(path, METRICS) for path in sorted((folder / "metrics").glob("*.parquet"))}
    since = min((newest(frame) for frame in held.values()), default=0)
    fresh = pl.DataFrame(list(metrics(journal, since)), schema=dict(METRICS), orient="row")
    for (source, *_), rows in fresh.group_by(pl.col("name").str.split(".").list.first(), maintain_order=True):
        before = held.get(str(source), pl.DataFrame(schema=dict(METRICS)))
        keep(folder / "metrics" / f"{source}.parquet", before, rows, SAME_NUMBER)
    path = folder / "news" / "headlines.parquet"
    before = table(path, HEADLINES)
    stories = pl.DataFrame(list(headlines(journal, newest(before))), schema=dict(HEADLINES), orient="row")
    if stories.height:
        keep(path, before, stories, ("id",))


def keep(path: Path, before: pl.DataFrame, rows: pl.DataFrame, same: Iterable[str]) -> None:
    """The file with the rows that are new in it: of the same thing the first that was learned counts."""
    both = pl.concat([before, rows.select(before.columns)]).unique(
        list(same), keep="first", maintain_order=True
    )
    if both.height > before.height:
        with written(path) as draft:
            both.write_parquet(draft)


def newest(frame: pl.DataFrame) -> int:
    """When the last of these was learned, ms UTC; 0 for none."""
    return int(frame["learned"].max() or 0)  # type: ignore[arg-type]


def metrics(journal: Journal, since: int) -> Iterator[tuple[Any, ...]]:
    """Rows of `METRICS` learned at `since` or later, in their order."""
    for asset, name, learned, body in journal.database.rows(ROWS, METRIC, since):
        time, value = orjson.loads(body)
        yield name, asset, time, value, learned


def headlines(journal: Journal, since: int) -> Iterator[tuple[Any, ...]]:
    """Rows of `HEADLINES` learned at `since` or later, in their order."""
    for source, _, learned, body in journal.database.rows(ROWS, HEADLINE, since):
        story: Mapping[str, Any] = dict(zip(BODY, orjson.loads(body), strict=True))
        yield tuple({**story, "source": source, "learned": learned}[name] for name in HEADLINES)


BODY: Final = ("id", "time", "title", "url", "assets", "sentiment", "weight", "kind", "dated")
"""What a headline's row of the journal holds, in its order."""
