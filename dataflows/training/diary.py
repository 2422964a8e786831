"""What the training process remembers over its restarts: the last attempt, and the last request it heeded.

One small file, replaced whole: a kill leaves the one before or the one after.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, Self

import orjson

from engine.errors import StorageError

Result = Literal["running", "trained", "failed"]
FILE: Final = "training.json"
BEGINNING: Final = "0"
"""The place in a Redis stream before its first entry."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run: when it began and ended, ms of stream time, and what became of it.

    `seconds` are of wall time. While it runs, `ended` is when it began.
    """

    at: int
    ended: int
    result: Result = "running"
    seconds: float = 0.0
    reason: str = ""
    version: str | None = None
    promoted: bool = False


@dataclass(frozen=True, slots=True)
class Diary:
    """`failures` counts the failed attempts in a row; `handled` is the id of the last request heeded."""

    attempt: Attempt | None = None
    failures: int = 0
    handled: str = BEGINNING

    @classmethod
    def read(cls, text: bytes) -> Self:
        """From `text()`; raises `ValueError` for anything else.

        >>> diary = Diary(Attempt(at=1, ended=2, result="failed", reason="no candles"), failures=1)
        >>> Diary.read(diary.text()) == diary
        True
        """
        try:
            found = orjson.loads(text)
            attempt = found["attempt"]
            made = None if attempt is None else Attempt(**attempt)
            return cls(made, int(found["failures"]), str(found["handled"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a diary: {error!r}") from error

    def text(self) -> bytes:
        """As JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def load(folder: Path) -> Diary:
    """The diary of `folder`, empty where there is none; raises `StorageError` for one that is damaged."""
    path = folder / FILE
    try:
        return Diary.read(path.read_bytes())
    except FileNotFoundError:
        return Diary()
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error


def save(folder: Path, diary: Diary) -> None:
    """Replace the diary of `folder` whole; raises `StorageError`."""
    path = folder / FILE
    draft = path.with_name(path.name + ".new")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(diary.text())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error}") from error
