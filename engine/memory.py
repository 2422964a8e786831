"""What is known of one symbol, and the moments that come of it.

Only the order of records decides; no deadline here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import log
from typing import Final

from engine.extras import Extras
from engine.gather import Gather, Turnstile
from engine.news.moods import Moods
from engine.readings import Readings
from engine.records import (
    INTERVALS,
    NEVER,
    NOT_YET,
    Activation,
    Candle,
    Correction,
    Features,
    Headline,
    Listing,
    Live,
    MarketFrame,
    Membership,
    Metric,
    Moment,
    Mood,
    Row,
    Tick,
)
from engine.settings.readers import Reader

DAY: Final = 86_400_000
MOST_NOTES: Final = 8

MOST_ACTIVATIONS: Final = 4
"""Activations of one model that are remembered."""

Known = Features | Tick | Live | Membership | Correction | Activation | Metric | Headline


class Memory:
    """One symbol's memory: gathers the candles due at a close and answers what follows from them.

    Answers, in order: a `Row` for the market at every decision close of which the symbol is a member (exactly
    one, present or not), another one for each other interval of a model that closes there, a `Moment` without
    its market frames where a signal is due, and the bare `Candle` of a close that makes no signal (the ledger
    still needs it).

    Parameters
    ----------
    interval
        The decision interval: a moment at each of its closes.
    reads
        The intervals some layer or model reads, the decision interval among them, shortest first.
    minimum
        Decision candles without which the symbol stays silent.
    models
        The interval of each model, one of `reads`.
    readers
        By metric, how it is read; no other metric is kept.
    news
        Half-life of a headline and the age at which it is forgotten, in hours.
    """

    def __init__(
        self,
        interval: str,
        reads: tuple[str, ...],
        minimum: int = 500,
        models: Mapping[str, str] = {},
        readers: Mapping[str, Reader] = {},
        news: tuple[float, float] = (6.0, 48.0),
    ) -> None:
        self.interval = interval
        self.reads = reads
        self.minimum = minimum
        self.models = dict(models)
        self._newest: dict[str, Features] = {}
        self._gather = Gather[Features](self._due)
        self._live = Live(NEVER)
        self._memberships: list[Membership] = []
        self._notes: list[tuple[int, str]] = []
        self._closed = 0
        self._others = besides(interval, models)
        self._returned = dict.fromkeys((interval, *self._others), (0, NOT_YET))
        self._activations: dict[str, tuple[Activation, ...]] = {}
        self._readings = Readings(readers)
        self._news = news
        self._moods: Moods | None = None
        self._extras: Extras | None = None

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
                self._join(record)
            case Metric() | Headline():
                self._hear(record)
            case Correction():
                self._note(record.time, f"{record.interval} candle {stamp(record.time)} corrected")
            case Activation():
                if record.model in self.models:
                    known = self._activations.get(record.model, ())
                    self._activations[record.model] = with_activation(known, record)

    def _join(self, member: Membership) -> None:
        self._memberships = [*self._memberships[-3:], member]
        if self._moods is None and member.listing is not None:
            self._moods = Moods(member.listing.asset, *self._news)
            self._extras = Extras(member.listing.asset, self._moods) if self.models else None

    def _hear(self, told: Metric | Headline) -> None:
        """What was learned beside the candles."""
        if isinstance(told, Metric):
            self._readings.update(told)
        elif self._moods is not None:
            self._moods.update(told)
        if self._extras is not None:
            self._extras.update(told)

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
        if interval in self._returned:
            self._returned[interval] = (time, log_return(self._newest.get(interval), features))
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
        speaks = now is not None and time > self._live.time and now.seen >= self.minimum
        for interval in (self.interval, *self._others):
            if time % INTERVALS[interval] == 0:
                yield self._row(member, time, interval, interval in parts, speaks)
        if now is not None:
            yield self._moment(now, member.listing) if speaks else now.candle

    def _row(self, member: Membership, time: int, interval: str, present: bool, speaks: bool) -> Row:
        returned_at, move = self._returned[interval]
        move = move if present and returned_at == time else NOT_YET
        named = "" if interval == self.interval else interval
        return Row(member.symbol, time, member.time, move, present, speaks, named)

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
        return Moment(
            listing.symbol,
            self.interval,
            time,
            listing,
            features=dict(self._newest),
            degraded=tuple(degraded),
            feed=self._live.feed,
            activations=self._serving(time),
            readings=self._readings.at(time),
            moods=self._moods_at(time),
            extras=() if self._extras is None else self._extras.at(time),
        )

    def _moods_at(self, time: int) -> tuple[Mood, ...]:
        return () if self._moods is None else self._moods.at(time)

    def _serving(self, time: int) -> dict[str, Activation]:
        """What serves this moment, by model."""
        found = {model: serving(known, time) for model, known in self._activations.items()}
        return {model: one for model, one in found.items() if one is not None}

    def _membership(self, time: int) -> Membership | None:
        return next((member for member in reversed(self._memberships) if member.time < time), None)

    def _note(self, time: int, text: str) -> None:
        self._notes = [*self._notes[-(MOST_NOTES - 1) :], (time + DAY, text)]


class Moments:
    """Drafts meet their market frames; everything leaves in the order it came.

    A draft waits for the frame of the decision interval, and for that of every other model's interval which
    closes with it.

    Parameters
    ----------
    interval
        The decision interval.
    models
        The interval of each model.

    Examples
    --------
    >>> moments = Moments()
    >>> [candle.close for candle in moments.update(Candle.of(10.0))]
    [10.0]
    """

    def __init__(self, interval: str = "", models: Mapping[str, str] = {}) -> None:
        self._own = interval if interval in models.values() else None
        self._others = besides(interval, models)
        self._gate = Turnstile[Moment | Candle, MarketFrame](("",))

    def update(self, record: Moment | Candle | MarketFrame) -> Iterator[Moment | Candle]:
        """Take in a draft, a candle or a frame; answer what is complete."""
        match record:
            case MarketFrame():
                passing = self._gate.answer(record.time, record.interval, record)
            case Moment():
                passing = self._gate.wait(record.time, record, self._names(record.time))
            case _:
                passing = iter(self._gate.follow(record))
        for held, frames in passing:
            yield self._seen(held, frames) if isinstance(held, Moment) else held

    def _names(self, time: int) -> tuple[str, ...] | None:
        due = tuple(interval for interval in self._others if time % INTERVALS[interval] == 0)
        return ("", *due) if due else None

    def _seen(self, draft: Moment, frames: Mapping[str, MarketFrame]) -> Moment:
        """The draft with its market frames; `dataclasses.replace` takes twice as long."""
        # In one order, whichever frame came first.
        due = {interval: frames[interval] for interval in self._others if interval in frames}
        if self._own is not None:
            due[self._own] = frames[""]
        return Moment(
            draft.symbol,
            draft.interval,
            draft.time,
            draft.listing,
            draft.features,
            draft.degraded,
            frames[""],
            draft.feed,
            due,
            draft.activations,
            draft.readings,
            draft.moods,
            draft.extras,
        )


def besides(interval: str, models: Mapping[str, str]) -> tuple[str, ...]:
    """The intervals of models that are not the decision's, each once, shortest first.

    >>> besides("5m", {"boosted": "1h", "regime": "1h", "transformer": "5m"})
    ('1h',)
    """
    return tuple(name for name in INTERVALS if name in models.values() and name != interval)


def serving(known: Sequence[Activation], time: int) -> Activation | None:
    """Of one model's activations the last journaled one that serves a moment, however old it is."""
    return next((one for one in reversed(known) if one.serves(time)), None)


def with_activation(known: tuple[Activation, ...], new: Activation) -> tuple[Activation, ...]:
    """The activations of one model in the order they were journaled, with the newest behind them.

    At most `MOST_ACTIVATIONS`, and the same ones for everybody who has heard the same: what serves the close
    of the newest and the moments after it, and of those that wait for their time the ones that serve first.
    So one that waits changes nothing before its time.

    >>> known = (Activation(0, "boosted", "v0", serves_from=0),)
    >>> for hour in range(1, 9):
    ...     known = with_activation(known, Activation(hour, "boosted", f"v{hour}", serves_from=100 + hour))
    >>> [one.version for one in known]
    ['v0', 'v1', 'v2', 'v3']
    """
    known = (*(one for one in known if one != new), new)
    if len(known) <= MOST_ACTIVATIONS:
        return known
    now, soon = serving(known, new.time), serving(known, new.time + 1)
    spare = [one for one in known if one not in (now, soon)]
    superseded = soon in known[known.index(spare[0]) :]
    gone = spare[0] if superseded else max(spare, key=lambda one: one.serves_from)
    return tuple(one for one in known if one != gone)


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
