"""What is known of one symbol, and the moments that come of it.

Only the order of records decides; no deadline here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import log
from typing import Final

from engine.gather import Gather, Turnstile
from engine.records import (
    INTERVALS,
    NOT_YET,
    Candle,
    Correction,
    Features,
    Listing,
    Live,
    MarketFrame,
    Membership,
    Moment,
    Row,
    Tick,
)

DAY: Final = 86_400_000
MOST_NOTES: Final = 8

Known = Features | Tick | Live | Membership | Correction


class Memory:
    """One symbol's memory: gathers the candles due at a close and answers what follows from them.

    Answers, in order: a `Row` for the market at every decision close of which the symbol is a member (exactly
    one, present or not), a `Moment` without its market frame where a signal is due, and the bare `Candle`
    of a close that makes no signal (the ledger still needs it).

    Parameters
    ----------
    interval
        The decision interval: a moment at each of its closes.
    reads
        The intervals some layer or model reads, the decision interval among them, shortest first.
    minimum
        Decision candles without which the symbol stays silent.
    """

    def __init__(self, interval: str, reads: tuple[str, ...], minimum: int = 500) -> None:
        self.interval = interval
        self.reads = reads
        self.minimum = minimum
        self._newest: dict[str, Features] = {}
        self._gather = Gather[Features](self._due)
        self._live = Live(1 << 62)
        self._memberships: list[Membership] = []
        self._notes: list[tuple[int, str]] = []
        self._closed = 0
        self._returned = (0, NOT_YET)

    def update(self, record: Known) -> Iterator[Row | Moment | Candle]:
        """Take in what is new; answer rows, drafts of moments, and candles in their order."""
        match record:
            case Features():
                yield from self._learn(record)
            case Tick():
                if record.time > self._closed:
                    yield from self._close(record.time, self._gather.close(record.time))
            case Live():
                self._live = record
            case Membership():
                self._memberships = [*self._memberships[-3:], record]
            case Correction():
                self._note(record.time, f"{record.interval} candle {stamp(record.time)} corrected")

    def _due(self, time: int) -> tuple[str, ...]:
        return tuple(interval for interval in self.reads if time % INTERVALS[interval] == 0)

    def _learn(self, features: Features) -> Iterator[Row | Moment | Candle]:
        interval, time = features.interval, features.time
        if interval not in self.reads:
            return
        if features.gap:
            self._note(time, f"{features.gap} {interval} candles missing before {stamp(time)}")
        if interval == self.interval and time <= self._closed:
            self._note(time, f"{interval} candle {stamp(time)} came late")
            self._newest[interval] = features
            yield features.candle
            return
        parts = self._gather.add(time, interval, features) if time % INTERVALS[self.interval] == 0 else None
        if interval == self.interval:
            self._returned = (time, log_return(self._newest.get(interval), features))
        self._newest[interval] = features
        if parts is not None and time > self._closed:
            yield from self._close(time, parts)

    def _close(self, time: int, parts: dict[str, Features]) -> Iterator[Row | Moment | Candle]:
        """Every due part is in, or `time`'s deadline has passed: say what this close comes to."""
        self._closed = time
        member = self._membership(time)
        now = parts.get(self.interval)
        if member is None or member.listing is None:
            if now is not None:
                yield now.candle
            return
        if now is None:
            yield Row(member.symbol, time, member.time, NOT_YET, present=False, speaks=False)
            return
        speaks = time > self._live.time and now.seen >= self.minimum
        returned_at, move = self._returned
        move = move if returned_at == time else NOT_YET
        yield Row(member.symbol, time, member.time, move, present=True, speaks=speaks)
        if speaks:
            yield self._moment(now, member.listing)
        else:
            yield now.candle

    def _moment(self, now: Features, listing: Listing) -> Moment:
        time = now.time
        self._notes = [(until, text) for until, text in self._notes if until > time]
        degraded = [text for _, text in self._notes]
        for interval in self.reads:
            newest = self._newest.get(interval)
            if newest is None:
                degraded.append(f"{interval} candles absent")
                continue
            if newest.seen < self.minimum:
                degraded.append(f"{interval} has {newest.seen} of {self.minimum} candles")
            if newest.time != time - time % INTERVALS[interval]:
                degraded.append(f"{interval} candle {stamp(time - time % INTERVALS[interval])} not here yet")
        features = dict(self._newest)
        return Moment(
            listing.symbol, self.interval, time, listing, features, tuple(degraded), feed=self._live.feed
        )

    def _membership(self, time: int) -> Membership | None:
        return next((member for member in reversed(self._memberships) if member.time < time), None)

    def _note(self, time: int, text: str) -> None:
        self._notes = [*self._notes[-(MOST_NOTES - 1) :], (time + DAY, text)]


class Moments:
    """Drafts meet their market frame; everything leaves in the order it came.

    Examples
    --------
    >>> moments = Moments()
    >>> [candle.close for candle in moments.update(Candle.of(10.0))]
    [10.0]
    """

    def __init__(self) -> None:
        self._gate = Turnstile[Moment | Candle, MarketFrame](("frame",))

    def update(self, record: Moment | Candle | MarketFrame) -> Iterator[Moment | Candle]:
        """Take in a draft, a candle or a frame; answer what is complete."""
        match record:
            case MarketFrame():
                passing = self._gate.answer(record.time, "frame", record)
            case Moment():
                passing = self._gate.wait(record.time, record)
            case _:
                passing = iter(self._gate.follow(record))
        for held, frame in passing:
            yield seen(held, frame["frame"]) if isinstance(held, Moment) else held


def seen(draft: Moment, frame: MarketFrame) -> Moment:
    """The draft with its market frame; `dataclasses.replace` takes twice as long."""
    return Moment(
        draft.symbol,
        draft.interval,
        draft.time,
        draft.listing,
        draft.features,
        draft.degraded,
        frame,
        draft.feed,
    )


def log_return(before: Features | None, after: Features) -> float:
    """The log return between two neighbouring closes; nan where a candle is missing between them."""
    if before is None or after.gap or after.seen < 2:
        return NOT_YET
    return log(after.candle.close / before.candle.close)


def stamp(time: int) -> str:
    """ms UTC as people read it.

    >>> stamp(1_710_000_000_000)
    '2024-03-09T16:00Z'
    """
    return datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")
