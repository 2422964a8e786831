"""Older signals of one symbol: from the record where it is on this machine, else from the log.

The record belongs to the engine: it is opened to read, for one question, and closed.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from api.board import Board

logger = logging.getLogger("api.history")

QUERY: Final = """
SELECT seq, body FROM record WHERE symbol = ? AND kind = 'signal' AND seq < ? ORDER BY seq DESC LIMIT ?
"""
NEWEST: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Page:
    """Signals as published, newest first; `before` is where the next page begins, None after the last."""

    source: Literal["record", "log"]
    truncated: bool
    before: int | None
    bodies: list[bytes]


def from_record(folder: Path, symbol: str, limit: int, before: int | None) -> Page | None:
    """A page of the record in `folder`; None if there is none or it cannot be read."""
    file = folder / "record.db"
    if not file.is_file():
        return None
    try:
        with closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
        ) as database:
            # One more than asked for says whether there is a next page.
            rows = database.execute(QUERY, (symbol, before or NEWEST, limit + 1)).fetchall()
    except sqlite3.Error as fault:
        logger.warning("the record cannot be read, history comes from Redis' log: %s", fault)
        return None
    return Page("record", False, *cut(rows, limit))


def from_log(board: Board, symbol: str, limit: int, before: int | None) -> Page:
    """A page of what the board holds of Redis' log."""
    log = board.logs["signal"]
    mine = (entry for entry in log.before(before) if entry.symbol == symbol)
    rows = [(entry.seq, entry.body) for entry in islice(mine, limit + 1)]
    return Page("log", True, *cut(rows, limit))


def cut(rows: list[tuple[int, bytes]], limit: int) -> tuple[int | None, list[bytes]]:
    kept = rows[:limit]
    return kept[-1][0] if len(rows) > limit else None, [bytes(body) for _, body in kept]
