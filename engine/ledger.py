"""What became of a signal, and the hash chain of the record that holds it.

A signal is judged by the close at its horizon and by nothing else; what was not seen is never guessed.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NamedTuple

from engine.errors import CorruptRecord
from engine.records import Candle, Direction, Outcome, Signal

GENESIS: Final = "0" * 64
"""What the first line of a record is chained to."""


def chain(prev: str, body: bytes) -> str:
    """A line's link: sha256 over the link before it and the line's canonical bytes, as 64 hex digits.

    >>> chain(GENESIS, b"{}")[:8]
    '5508d2b7'
    """
    return sha256(prev.encode("ascii") + body).hexdigest()


class Open(NamedTuple):
    """What has to be remembered of a signal until it is judged."""

    id: str
    time: int
    horizon_end: int
    direction: Direction
    confidence: float
    entry: float
    threshold: float


def hit(direction: Direction, entry: float, close: float, threshold: float) -> bool:
    """Did the event happen that the signal's confidence speaks of?

    LONG and SHORT: the close is strictly on that side of the entry. NEUTRAL: the relative move is strictly
    below `threshold`, a fraction.

    >>> hit("LONG", 100.0, 100.0, 0.01), hit("SHORT", 100.0, 99.9, 0.01), hit("NEUTRAL", 100.0, 101.0, 0.01)
    (False, True, False)
    """
    if direction == "NEUTRAL":
        return abs(close - entry) / entry < threshold
    return close > entry if direction == "LONG" else close < entry


class Ledger:
    """One symbol's open signals, each held until the close at its horizon.

    Give it every candle of the decision interval in time order, also those that make no signal, and each one
    before the signal of the same close: then at most `horizon` signals are open. A horizon whose candle never
    came is told as unknown by the next later candle. The same candle or signal twice changes nothing.

    Parameters
    ----------
    interval
        The decision interval: of the candles that judge.
    horizon
        Candles of it until a signal is judged; bounds how many can be open.

    Raises `CorruptRecord` for a record of another symbol or interval, or if signals pile up unjudged.
    """

    def __init__(self, interval: str = "5m", horizon: int = 12) -> None:
        self.interval = interval
        self.horizon = horizon
        self.symbol = ""
        self._open: dict[int, Open] = {}  # by time, oldest first

    def __len__(self) -> int:
        return len(self._open)

    def open(self, signal: Signal, threshold: float) -> None:
        """Remember a signal until its horizon; `threshold` is its segment's, as a fraction."""
        self._check(signal)
        if signal.time not in self._open and len(self._open) >= self.horizon:
            raise CorruptRecord(
                f"{self.symbol} {self.interval} ledger at {signal.time}: {len(self._open)} signals"
                f" wait for their candle, a horizon holds {self.horizon}"
            )
        self._open.setdefault(
            signal.time,
            Open(
                signal.id,
                signal.time,
                signal.horizon_end,
                signal.direction,
                signal.confidence,
                signal.entry,
                threshold,
            ),
        )

    def resolve(self, candle: Candle) -> list[Outcome]:
        """Judge every open signal whose horizon this candle reaches or has passed, oldest first."""
        self._check(candle)
        due = [held for held in self._open.values() if held.horizon_end <= candle.time]
        for held in due:
            del self._open[held.time]
        return [self._outcome(held, candle) for held in due]

    def _check(self, record: Candle | Signal) -> None:
        self.symbol = self.symbol or record.symbol
        if (record.symbol, record.interval) != (self.symbol, self.interval):
            found = f"was given {record.symbol} {record.interval}"
            raise CorruptRecord(f"{self.symbol} {self.interval} ledger at {record.time}: {found}")

    def _outcome(self, held: Open, candle: Candle) -> Outcome:
        close = candle.close if candle.time == held.horizon_end else None
        return Outcome(
            id=held.id,
            symbol=self.symbol,
            time=held.time,
            direction=held.direction,
            confidence=held.confidence,
            resolved_at=candle.time,
            entry=held.entry,
            close=close,
            move=None if close is None else (close - held.entry) / held.entry,
            hit=None if close is None else hit(held.direction, held.entry, close, held.threshold),
        )
