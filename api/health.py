"""Is it working? Healthy needs proof: a heartbeat, fresh closes and fresh signals, in stream time.

Nothing known is never healthy, and everything that is not healthy says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.board import Board
from api.facts import iso, items, number, numbers, part, word
from api.models import Health, RedisHealth, SymbolHealth
from api.training import remarks
from engine.records import INTERVALS

HEARTBEAT: Final = 15_000
STATUS: Final = 30_000
READ: Final = 10_000
"""Wall ms after which a heartbeat, a status, and our own reading of Redis count as stale."""
MARGIN: Final = 15_000
"""Wall ms that anything may take beyond what it should; times the stream's rate in stream time."""


OPEN: Final = ("open", "replacing")
"""States of a connection in which frames come."""
BACKLOG: Final = 100
"""Records that may wait for Redis: more than a close of every symbol is a publisher that does not keep up."""


@dataclass(frozen=True, slots=True)
class View:
    """One look at the board at wall time `now`, ms, with the decision interval and its grace in seconds."""

    board: Board
    now: int
    configured: str
    grace: float

    @property
    def serving(self) -> Mapping[str, Any]:
        return self.board.serving

    @property
    def streams(self) -> Mapping[str, Any]:
        return self.board.streams

    @property
    def interval(self) -> str:
        """The decision interval: what the engine runs with, or else what is configured."""
        said = self.serving.get("interval")
        return said if isinstance(said, str) and said in INTERVALS else self.configured

    @property
    def rate(self) -> float:
        """Stream ms in a wall ms."""
        rate = number(self.serving, "stream_rate")
        return rate if rate is not None and rate > 0 else 1.0

    @property
    def stream_now(self) -> int | None:
        """The engine's stream time, run on from when it was written."""
        time, wall = number(self.serving, "stream_time"), number(self.serving, "wall_time")
        return None if time is None or wall is None else int(time + max(self.now - wall, 0) * self.rate)

    @property
    def limit(self) -> int:
        """Stream ms that the newest close may be old."""
        return INTERVALS[self.interval] + int(self.grace * 1000 + MARGIN * max(self.rate, 1.0))

    def age(self, time: int | None) -> float | None:
        """Seconds of stream time since `time`."""
        return None if time is None or self.stream_now is None else (self.stream_now - time) / 1000

    def old(self, time: int | None) -> bool:
        age = self.age(time)
        return age is None or age * 1000 > self.limit


def judge(view: View) -> Health:
    """The whole verdict."""
    board, serving = view.board, view.serving
    reasons = list(dict.fromkeys(faults(view)))
    warming = serving.get("phase") in ("starting", "warming")
    others = [reason for reason in reasons if not reason.startswith(("warming", "starting"))]
    return Health(
        status="healthy" if not reasons else "warming" if warming and not others else "unhealthy",
        reasons=reasons,
        notes=list(notes(view)),
        stream_time=view.stream_now,
        stream_rate=view.rate if serving else None,
        feed=word(serving, "feed"),
        phase=word(serving, "phase"),
        progress=number(serving, "progress"),
        interval=view.interval,
        symbols={symbol: symbol_health(view, symbol) for symbol in board.symbols},
        redis=RedisHealth(state="up" if board.redis == "up" else "down", kind=board.redis_kind),
        version=word(serving, "version"),
    )


def faults(view: View) -> Iterator[str]:
    """Every reason not to be healthy; without Redis or an engine there is no point in looking further."""
    board, statuses = view.board, view.board.statuses
    if board.redis != "up" or statuses is None:
        yield f"Redis unreachable: {board.redis_fault or 'not read yet'}"
        return
    if view.now - statuses.read_at > READ:
        yield f"the API has not read Redis for {(view.now - statuses.read_at) / 1000:.0f} s"
    yield from heart(statuses.heartbeat, view.now)
    if statuses.serving is None:
        yield "no engine status in Redis"
        return
    if (old := view.now - (number(view.serving, "written_at") or 0)) > STATUS:
        yield f"stale engine status: {old / 1000:.0f} s old"
    yield from (f"fault: {fault}" for fault in items(view.serving, "faults"))
    yield from connection_faults(view)
    yield from (f"fault: {fault}" for fault in items(view.streams, "faults"))
    if (phase := word(view.serving, "phase")) == "serving":
        yield from data_faults(view)
    elif phase == "warming":
        yield f"warming {100 * (number(view.serving, 'progress') or 0):.0f} %"
    else:
        yield phase or "the engine does not say what it is doing"


def heart(heartbeat: int | None, now: int) -> Iterator[str]:
    if heartbeat is None:
        yield "no heartbeat: the engine is not running"
    elif now - heartbeat > HEARTBEAT:
        yield f"stale heartbeat: {(now - heartbeat) / 1000:.0f} s old"


def connection_faults(view: View) -> Iterator[str]:
    """What the exchange's connections say is wrong."""
    if not view.streams:
        yield "no stream status in Redis"
        return
    if (old := view.now - (number(view.streams, "written_at") or 0)) > STATUS:
        yield f"stale stream status: {old / 1000:.0f} s old"
    if not open_connections(view.streams):
        yield "no connection to the exchange is open"
    rest = part(view.streams, "rest")
    if rest.get("state") == "banned":
        yield f"REST banned by the exchange{until(rest)}"


def data_faults(view: View) -> Iterator[str]:
    """Old closes, silent symbols, signals that do not come out."""
    board = view.board
    closes = numbers(view.serving.get("last_close"))
    if not closes:
        yield f"no stream data: no {view.interval} close has come"
        return
    newest = max(closes.values())
    stood = (view.now - board.newest_close_seen) * view.rate
    if view.old(newest):
        yield f"no {view.interval} close since {iso(newest)}: {spoken(view.age(newest))} of stream time"
        return
    if stood > view.limit:
        yield f"no new {view.interval} close for {spoken(stood / 1000)} by our own clock"
        return
    silent = [s for s in board.symbols if state(view, s) == "silent" or late(view, s, closes)]
    if silent:
        yield f"silent: {', '.join(silent)}"
    waiting = numbers(view.serving.get("record")).get("waiting", 0)
    if waiting > BACKLOG:
        yield f"publisher lag: {waiting} records are not in Redis yet"
    newest_signal = max((signal.time for signal in board.latest.values()), default=None)
    if newest_signal is None:
        yield f"no signal yet: the newest close is {iso(newest)}"
    elif view.old(newest_signal):
        yield f"publisher lag: the newest signal is of {iso(newest_signal)}, the newest close {iso(newest)}"


def late(view: View, symbol: str, closes: Mapping[str, int]) -> bool:
    """Whether an expected symbol's own closes have stopped, or never came, while others come."""
    expected = symbol in items(view.serving, "symbols")
    return expected and state(view, symbol) not in ("halted", "absent") and view.old(closes.get(symbol))


def notes(view: View) -> Iterator[str]:
    """What is not as always and yet no fault of the engine."""
    for wanted in ("halted", "absent"):
        if found := [symbol for symbol in view.board.symbols if state(view, symbol) == wanted]:
            yield f"{wanted}: {', '.join(found)}"
    rest = part(view.streams, "rest")
    if rest.get("state") == "limited":
        yield f"REST limited by the exchange{until(rest)}"
    yield from remarks(view.board.models)
    if view.board.corrupt:
        yield f"{view.board.corrupt} entries in Redis could not be read"


def state(view: View, symbol: str) -> str:
    return str(part(part(view.streams, "symbols"), symbol).get("state", "unknown"))


def symbol_health(view: View, symbol: str) -> SymbolHealth:
    close = numbers(view.serving.get("last_close")).get(symbol)
    signal = view.board.latest.get(symbol)
    return SymbolHealth(
        state=state(view, symbol),
        last_close=close,
        last_close_age=view.age(close),
        signal_age=view.age(signal.time if signal else None),
        candles=numbers(view.serving.get("warm")).get(symbol),
    )


def open_connections(streams: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those that are there to bring frames."""
    found = items(streams, "connections")
    return [c for c in found if isinstance(c, Mapping) and c.get("state") in OPEN]


def until(rest: Mapping[str, Any]) -> str:
    retry = number(rest, "retry_at")
    return f" until {iso(int(retry))}" if retry else ""


def spoken(seconds: float | None) -> str:
    """
    >>> spoken(42), spoken(300), spoken(7300), spoken(None)
    ('42 s', '5 min', '2.0 h', 'an unknown time')
    """
    if seconds is None:
        return "an unknown time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
