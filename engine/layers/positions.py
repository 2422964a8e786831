"""What opened and forced positions mean: only beside what the price did.

Of the candles it reads returns, volatility and turnover of a like span, from the interval that fits best.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from math import exp, inf, log, sqrt, tanh
from typing import Final, NamedTuple

from engine.features import SCHEMA
from engine.layers.components import Heard, Voice, aged, amount, plain, read
from engine.readings import HOUR
from engine.records import INTERVALS, Features, Moment

RETURNS: Final = (1, 3, 6, 12, 24)
"""Candles over which there is a return."""

RETURN: Final = {span: SCHEMA.index[f"return_{span}"] for span in RETURNS}
VOLATILITY: Final = SCHEMA.index["volatility_24"]

LONGEST_FIRST: Final = tuple(reversed(tuple(INTERVALS)))

LIKE: Final = log(1.5)
"""How far two spans may lie apart, as a logarithm, and still be called alike."""

CLEAR: Final = 1.5
"""A move of so many standard deviations is 76 of 100 clear."""

CLOSING: Final = 0.5
"""What closed positions count of what opened ones do: they end a move, they do not begin the other one."""

BOUNCE, SQUEEZE = 0.5, 0.25
"""The most that forced longs and forced shorts move of 1."""


class Move(NamedTuple):
    """What the price did: the log return, and how clear a move that was, -1..1."""

    log_return: float
    side: float


def open_interest(moment: Moment, known: Sequence[Heard]) -> Iterable[Voice]:
    """What positions were opened or closed, times the move of the price in that time.

    Opened into a rise confirms it, opened into a fall confirms that; closed ones weaken the move they go
    with, and count half. A value in USD (`..._usd`) moves with the price itself: that part is taken out
    first. A level is heard for itself; without a move of a like span a change says nothing.
    """
    for one in known:
        if one.reader.read in ("level", "sum"):
            yield plain(one, moment.time)
            continue
        move = moved(moment, one.reader.over)
        if move is not None:
            yield opened(one, move, moment.time)


def opened(one: Heard, move: Move, time: int) -> Voice:
    """What one change of open interest says beside a move of the price."""
    reader, value = one.reader, one.reading.value
    if reader.read == "change" and one.name.endswith("_usd"):
        value = (1.0 + value) / exp(move.log_return) - 1.0
    change = tanh((value - reader.centre) / reader.scale)
    side = reader.sign * move.side * (change if change > 0 else CLOSING * change)
    return Voice(side, one.fresh, change > 0, partial(told_opened, one, value, move, time))


def told_opened(one: Heard, value: float, move: Move, time: int) -> str:
    """Positions and price in words."""
    what = "opened" if value > one.reader.centre else "closed"
    into = "rise" if move.log_return > 0 else "fall"
    price = f"{100 * (exp(move.log_return) - 1):+.2g} %"
    return (
        f"{one.name} {read(one.reader, value)}, {what} into a {into} of {price}, "
        f"{aged(time - one.reading.time)}"
    )


def liquidations(moment: Moment, known: Sequence[Heard]) -> Iterable[Voice]:
    """Forced orders of longs (sign 1) against those of shorts (sign -1), sums in USD, together as one voice.

    Imbalance (longs - shorts) / (longs + shorts), as far as they are much: tanh(their share of the turnover
    in that time / scale). A flush of longs speaks up, softly: forced selling takes the price below what it is
    worth to those who were not forced. Hourly falls beyond three deviations on three times the volume were
    followed by a higher price four hours later in seven of seven symbols (2020-2023, by .3 to .9 %);
    they come in clusters, so that is less than it seems. After such rises no fall followed, so forced shorts
    count half. A judgement: no history of forced orders was at hand.

    Anything that is no sum is heard for itself.
    """
    sums = [one for one in known if one.reader.read == "sum"]
    yield from [plain(one, moment.time) for one in known if one.reader.read != "sum"]
    if sums and (voice := forced(sums, moment)) is not None:
        yield voice


def forced(sums: Sequence[Heard], moment: Moment) -> Voice | None:
    """The one voice of all forced orders; None where there is no turnover to measure them in."""
    traded = turnover(moment, max([one.reader.over for one in sums]))
    total = sum([max(one.reading.value, 0.0) for one in sums])
    if traded is None or total == inf:
        return None
    longs = sum([max(one.reading.value, 0.0) for one in sums if one.reader.sign > 0])
    share = total / traded
    imbalance = 2 * (longs / total) - 1 if total > 0 else 0.0
    much = tanh(share / min([one.reader.scale for one in sums]))
    side = imbalance * much * (BOUNCE if imbalance > 0 else SQUEEZE)
    newest = max(sums, key=lambda one: one.reading.time)
    numbers = ", ".join([f"{one.name} {amount(one.reading.value)}" for one in sums])
    text = f"{numbers} in {newest.reader.over:g} h, {100 * share:.2g} % of turnover"
    age = aged(moment.time - newest.reading.time)
    return Voice(side, newest.fresh, imbalance > 0, lambda: f"{text}, {age}")


def moved(moment: Moment, over: float) -> Move | None:
    """The move of the price over about so many hours; None where no interval that is up to date knows one."""
    for interval, span in spans(over):
        features = current(moment, interval)
        if features is not None:
            values = features.values
            change, deviation = values[RETURN[span]], values[VOLATILITY] * sqrt(span)
            if change == change and deviation > 0:
                return Move(change, tanh(change / deviation / CLEAR))
    return None


def turnover(moment: Moment, over: float) -> float | None:
    """What was traded in so many hours, in the quote currency, by the longest candle within them."""
    for interval in LONGEST_FIRST:
        features = current(moment, interval)
        if features is not None and (INTERVALS[interval] <= over * HOUR or interval == moment.interval):
            candle = features.candle
            traded = candle.volume * candle.close * over * HOUR / INTERVALS[interval]
            return traded if traded > 0 else None
    return None


def current(moment: Moment, interval: str) -> Features | None:
    """An interval's features, if they are those of its last close before the moment."""
    features = moment.features.get(interval)
    late = features is None or moment.time - features.time >= INTERVALS[interval]
    return None if late else features


@lru_cache
def spans(over: float) -> tuple[tuple[str, int], ...]:
    """The intervals and candles whose return is of about `over` hours, the nearest and shortest first.

    >>> spans(24)[0], spans(1)[0]
    (('1h', 24), ('5m', 12))
    """
    found = [
        (abs(log(ms * span / (over * HOUR))), ms, interval, span)
        for interval, ms in INTERVALS.items()
        for span in RETURNS
    ]
    return tuple((interval, span) for apart, _, interval, span in sorted(found) if apart <= LIKE)
