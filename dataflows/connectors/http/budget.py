"""What a source may be asked in a day and in a month, counted on disk before it is asked.

Days and months are UTC of this machine, as bills are. A kill between the count and the question costs one
question and never allows one more.
"""

from __future__ import annotations

import fcntl
import os
import time
from calendar import monthrange
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import orjson

from engine.errors import StorageError

AHEAD: Final = 0.25
AT_LEAST: Final = 100
"""How far spending may run ahead of the month, as a share of its budget and in its unit, whichever is more:
a budget that is gone in a week leaves three weeks without data."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What was used in which day ("2026-11-22") and month ("2026-11")."""

    day: str = ""
    in_day: float = 0.0
    month: str = ""
    in_month: float = 0.0

    @classmethod
    def read(cls, text: bytes) -> Self:
        """From JSON; raises `ValueError` for anything else."""
        try:
            found = orjson.loads(text)
            days, months = str(found["day"]), str(found["month"])
            return cls(days, float(found["in_day"]), months, float(found["in_month"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an account: {error!r}") from None

    def at(self, now: datetime) -> Spent:
        """The account as of `now`; a clock that was set back refunds nothing."""
        day, month = now.strftime("%Y-%m-%d"), now.strftime("%Y-%m")
        spent = self if day <= self.day else replace(self, day=day, in_day=0.0)
        return spent if month <= self.month else replace(spent, month=month, in_month=0.0)


class Budget:
    """The account of one source in the file `path`, shared by every process that asks it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     budget = Budget(Path(folder) / "x.json", per_day=2, unix=lambda: 86_340.0)
    ...     [budget.take(1.0) for _ in range(3)], budget.left_in_day
    ([0.0, 0.0, 60.0], 0.0)
    """

    def __init__(
        self,
        path: Path,
        per_day: float | None = None,
        per_month: float | None = None,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._per_day = per_day
        self._per_month = per_month
        self._unix = unix
        self._spent = Spent()

    @property
    def metered(self) -> bool:
        """Whether there is anything to count."""
        return self._per_day is not None or self._per_month is not None

    @property
    def left_in_day(self) -> float | None:
        spent = self._spent.at(self._now())
        return None if self._per_day is None else max(0.0, self._per_day - spent.in_day)

    @property
    def left_in_month(self) -> float | None:
        spent = self._spent.at(self._now())
        return None if self._per_month is None else max(0.0, self._per_month - spent.in_month)

    def load(self) -> None:
        """Read the account, for those who ask what is left before anything was taken."""
        self._spent = self._read()

    def take(self, cost: float) -> float:
        """Count `cost`, on disk, and answer 0; or the seconds until it fits, and count nothing.

        Raises `StorageError` when the file cannot be read or written: then nothing may be asked.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with alone(self._path.with_suffix(".lock")):
                now = self._now()
                spent = self._spent = self._read().at(now)
                if wait := self._wait(spent, cost, now):
                    return wait
                spent = replace(spent, in_day=spent.in_day + cost, in_month=spent.in_month + cost)
                write(self._path, asdict(spent))
                self._spent = spent
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written: {error.strerror}") from None
        return 0.0

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._unix(), UTC)

    def _read(self) -> Spent:
        try:
            return Spent.read(self._path.read_bytes())
        except FileNotFoundError:
            return Spent()
        except (OSError, ValueError) as error:
            raise StorageError(f"{self._path}: cannot be read, so nothing is asked: {error}") from None

    def _wait(self, spent: Spent, cost: float, now: datetime) -> float:
        """Seconds until `cost` fits into the day, the month and the month's even spending."""
        waits = [0.0]
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        if self._per_day is not None and spent.in_day + cost > self._per_day:
            waits.append((midnight + timedelta(days=1) - now).total_seconds())
        if self._per_month is not None:
            days = monthrange(now.year, now.month)[1]
            first = midnight.replace(day=1)
            whole = timedelta(days=days).total_seconds()
            ahead = max(AHEAD * self._per_month, AT_LEAST)
            needed = (spent.in_month + cost - ahead) / self._per_month
            share = 1.0 if spent.in_month + cost > self._per_month else needed
            waits.append(whole * share - (now - first).total_seconds())
        return max(waits)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a lock file, which the kernel frees however this process ends; wait for whoever holds it."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: Path, content: Any) -> None:
    """Replace a file whole, so that a kill or a power cut leaves the one before or the one after."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(orjson.dumps(content))
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
