"""Waiting for the parts of a moment: by due parts and a deadline, or in strict order of arrival.

Stream time is an argument or a record here, never a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

Part = TypeVar("Part")
Held = TypeVar("Held")
Answer = TypeVar("Answer")


class Gather(Generic[Part]):
    """Parts of one moment, held until all that are due have come or stream time passes the deadline.

    Parameters
    ----------
    due
        Names the parts that a moment at this time (ms) waits for.
    most
        Moments held at once; beyond it the oldest is forgotten.

    Examples
    --------
    >>> quarter = Gather[str](lambda time: ("5m", "15m") if time % 900_000 == 0 else ("5m",))
    >>> quarter.add(300_000, "5m", "a")
    {'5m': 'a'}
    >>> quarter.add(900_000, "5m", "b") is None  # its 15m candle is due too
    True
    >>> quarter.close(900_000)  # the deadline passed
    {'5m': 'b'}
    """

    def __init__(self, due: Callable[[int], tuple[str, ...]], most: int = 8) -> None:
        self._due = due
        self._most = most
        self._open: dict[int, dict[str, Part]] = {}

    def add(self, time: int, name: str, part: Part) -> dict[str, Part] | None:
        """Keep one part; answer all parts of the moment when this was the last one due."""
        due = self._due(time)
        if len(due) == 1 and name == due[0]:
            return {name: part}
        parts = self._open.setdefault(time, {})
        parts[name] = part
        if all(wanted in parts for wanted in due):
            return self._open.pop(time)
        if len(self._open) > self._most:
            del self._open[min(self._open)]
        return None

    def close(self, time: int) -> dict[str, Part]:
        """The deadline of `time` has passed: answer what came, possibly nothing, and forget older moments."""
        parts = self._open.pop(time, {})
        for older in [held for held in self._open if held < time]:
            del self._open[older]
        return parts


class Turnstile(Generic[Held, Answer]):
    """Lets records pass in the order they came; one that waits for answers holds back those behind it.

    An answer may come before the record that asks for it; at most `early` such answers are kept.

    Parameters
    ----------
    names
        The answers that a waiting record needs, all of them, unless it says itself which.

    Examples
    --------
    >>> gate = Turnstile[str, int](("left", "right"))
    >>> list(gate.wait(1, "first")), list(gate.answer(1, "left", 10))
    ([], [])
    >>> list(gate.follow("second"))
    []
    >>> list(gate.answer(1, "right", 20))
    [('first', {'left': 10, 'right': 20}), ('second', {})]
    """

    def __init__(self, names: tuple[str, ...], early: int = 64) -> None:
        self.names = names
        self.early = early
        self._queue: deque[tuple[int | None, Held, tuple[str, ...] | None]] = deque()
        self._answers: dict[int, dict[str, Answer]] = {}

    def wait(
        self, time: int, record: Held, names: tuple[str, ...] | None = None
    ) -> Iterator[tuple[Held, Mapping[str, Answer]]]:
        """Take in a record that needs `names` for `time`, None = every answer; answer what may pass now."""
        self._queue.append((time, record, names))
        return self._passing()

    def follow(self, record: Held) -> Iterable[tuple[Held, Mapping[str, Answer]]]:
        """Take in a record that needs nothing but its turn; answer what may pass now."""
        if not self._queue:
            return ((record, {}),)
        self._queue.append((None, record, None))
        return self._passing()

    def answer(self, time: int, name: str, answer: Answer) -> Iterator[tuple[Held, Mapping[str, Answer]]]:
        """Take in one answer for `time`; answer what may pass now."""
        self._answers.setdefault(time, {})[name] = answer
        while len(self._answers) > self.early + len(self._queue):
            del self._answers[min(self._answers)]
        return self._passing()

    def _passing(self) -> Iterator[tuple[Held, Mapping[str, Answer]]]:
        while self._queue:
            time, record, names = self._queue[0]
            if time is None:
                self._queue.popleft()
                yield record, {}
                continue
            answers = self._answers.get(time)
            if answers is None or len(answers) < len(self.names if names is None else names):
                return
            if names is not None and not answers.keys() >= set(names):
                return
            self._queue.popleft()
            del self._answers[time]
            yield record, answers
