"""When a training is due, in stream time, and how one changes the diary. Pure.

However many runs were missed, one makes up for all of them; a failed one is tried again, each time later.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from dataflows.training.diary import Attempt, Diary

FIRST_PAUSE: Final = 600_000
"""Ms of stream time between a first failure and the next try; it doubles with each further one."""

INTERRUPTED: Final = "the training process ended in the middle of it"


def next_due(diary: Diary, every: int) -> int:
    """When the next run is due, ms of stream time; 0 where none was ever tried. `every` is in ms.

    >>> hour = 3_600_000
    >>> next_due(Diary(Attempt(at=hour, ended=hour + 5, result="trained")), 6 * hour) // hour
    7
    >>> next_due(Diary(Attempt(at=hour, ended=2 * hour, result="failed"), failures=9), 6 * hour) // hour
    8
    """
    attempt = diary.attempt
    if attempt is None:
        return 0
    if attempt.result == "failed":
        return attempt.ended + pause(diary.failures, every)
    return attempt.at + every


def pause(failures: int, every: int) -> int:
    """Ms of stream time after so many failures in a row; never longer than between two runs.

    >>> [pause(failures, 21_600_000) // 60_000 for failures in (1, 2, 3, 6, 99)]
    [10, 20, 40, 320, 360]
    """
    return int(min(every, FIRST_PAUSE * 2 ** min(failures - 1, 32)))


def is_due(diary: Diary, now: int, every: int, *, asked: bool = False) -> bool:
    """Whether to begin one at `now`, ms of stream time; `asked` says that somebody waits for one.

    A request is heeded at once, and after a failure when the shortest pause is over. An attempt that lies
    more than `every` ahead was made on another clock and says nothing about this one.
    """
    attempt = diary.attempt
    if attempt is None or now < attempt.at - every:
        return True
    if asked:
        waits = attempt.result == "failed" and now < attempt.ended + pause(1, every)
        return not waits
    return now >= next_due(diary, every)


def begun(diary: Diary, now: int, asked: str | None = None) -> Diary:
    """The diary once a run has begun at `now`, for the request `asked` too where there is one."""
    return replace(diary, attempt=Attempt(now, now), handled=asked or diary.handled)


def trained(diary: Diary, done: Attempt) -> Diary:
    """The diary once a run has come to its end."""
    return replace(diary, attempt=replace(done, result="trained"), failures=0)


def failed(diary: Diary, done: Attempt) -> Diary:
    """The diary once a run has failed."""
    return replace(diary, attempt=replace(done, result="failed"), failures=diary.failures + 1)


def recovered(diary: Diary) -> Diary:
    """The diary as a start finds it: what was running then was interrupted, and counts as a failure.

    >>> recovered(begun(Diary(), 5)).failures
    1
    """
    if diary.attempt is None or diary.attempt.result != "running":
        return diary
    return failed(diary, replace(diary.attempt, reason=INTERRUPTED))
