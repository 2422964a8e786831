"""Everything that can go wrong on demand: the named faults, their knobs, and how people write them.

`at` and `until` are exchange time; `seconds` is wall time, so that it ends even where the clock stands still.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Self

from dataflows.replay.moments import milliseconds
from engine.errors import SettingsError

SHOTS: Final = frozenset({"drop", "cut", "shutdown", "garbage", "huge"})
"""Done once to every connection: abort, the 24 h cut, serverShutdown (cut `by` seconds later), a broken
frame, a frame of `size` bytes."""

CLOSES: Final = frozenset({"late", "missing_close", "duplicate", "out_of_order", "corrected", "bad_price"})
"""What happens to the closed candle of a matching stream: pushed `by` seconds late; never pushed; pushed
twice; pushed after its successor; pushed again, changed, `by` seconds later; with `value` in `field`."""

HOLES: Final = frozenset({"missing", "halt"})
"""Candles that nobody ever had: those closing at `at`, or all within [at, until); a halt makes none."""

LISTINGS: Final = frozenset({"halt", "delist", "list", "rename"})
"""A symbol is halted, gone from `at` on, new at `at`, or called `to` from `by` seconds after `at` on."""

STATES: Final = frozenset({"freeze", "silence", "refuse", "pause", "microseconds", "skew"})
"""As long as it is on: `symbol` subscribed but silent; every stream silent; connects refused; the clock
stands still; all times in microseconds; /time wrong by `by` seconds."""

ANSWERS: Final = frozenset({"status", "slow", "truncated"})
"""REST answers whose path begins with `path`: an error `status`; `by` seconds late; cut in the middle."""

NAMES: Final = SHOTS | CLOSES | HOLES | LISTINGS | STATES | ANSWERS


KINDS: Final[Mapping[str, Any]] = {
    "by": (int, float),
    "seconds": (int, float),
    "times": int,
    "status": int,
    "retry_after": int,
    "size": int,
    "symbol": str,
    "interval": str,
    "field": str,
    "path": str,
    "to": str,
}
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "missing": ("at",),
    "halt": ("symbol",),
    "delist": ("symbol",),
    "list": ("symbol",),
    "rename": ("symbol", "to"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    `symbol` and `interval` None mean all. A close fault with `at` alone hits candles closing then; with
    `until`, those closing in [at, until); with neither, the next `times` (1) closes that match.
    `retry_after` is in seconds.
    """

    name: str
    symbol: str | None = None
    interval: str | None = None
    at: int | None = None
    until: int | None = None
    seconds: float | None = None
    times: int | None = None
    by: float = 30.0
    field: str = "c"
    value: Any = "NaN"
    status: int = 429
    retry_after: int | None = None
    path: str = "/"
    to: str = ""
    size: int = 8 << 20

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From JSON; times as ms or ISO. Raises `SettingsError` for an unknown name or key."""
        known = [field.name for field in dataclasses.fields(cls)]
        for key in given:
            if key not in known:
                raise SettingsError(f"fault key {key!r} is unknown; known: {', '.join(known)}")
        name = given.get("name", "")
        if name not in NAMES:
            near = get_close_matches(str(name), NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(NAMES))}"
            raise SettingsError(f"fault {name!r} is unknown; {hint}")
        check_values(name, given)
        times = {key: milliseconds(given[key]) for key in ("at", "until") if given.get(key) is not None}
        return cls(**{**given, **times})

    def concerns(self, symbol: str, interval: str | None = None) -> bool:
        same = self.symbol is None or self.symbol == symbol
        return same and (interval is None or self.interval is None or self.interval == interval)

    def spans(self, now: int) -> bool:
        """Whether exchange time `now` lies in it."""
        return (self.at or 0) <= now and (self.until is None or now < self.until)

    def hits(self, symbol: str, interval: str, close: int) -> bool:
        """Whether the candle closing at `close` is meant."""
        if not self.concerns(symbol, interval):
            return False
        if self.at is None or self.until is not None:
            return self.spans(close)
        return close >= self.at if self.times is not None or self.seconds is not None else close == self.at


def check_values(name: str, given: Mapping[str, Any]) -> None:
    """Refuse values of the wrong kind, and the lack of one that the fault needs."""
    for key, kind in KINDS.items():
        value = given.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise SettingsError(f"fault {name}: {key} cannot be {value!r}")
    for key in NEEDED.get(name, ()):
        if given.get(key) is None:
            raise SettingsError(f"fault {name} needs {key}")


def parse_faults(texts: Iterable[str]) -> list[Fault]:
    """Faults from the command line: `name`, `name@time`, `name:key=value,key=value@time`.

    >>> parse_faults(["late:symbol=BTCUSDT,by=45@2024-03-06T00:00"])[0].by
    45.0
    """
    return [Fault.of(parse_fault(text)) for text in texts]


def parse_fault(text: str) -> dict[str, Any]:
    head, _, at = text.partition("@")
    name, _, rest = head.partition(":")
    given: dict[str, Any] = {"name": name}
    if at:
        given["at"] = at
    for pair in filter(None, rest.split(",")):
        key, _, value = pair.partition("=")
        given[key] = typed(key, value)
    return given


def typed(key: str, value: str) -> Any:
    kinds: dict[str, Any] = {
        "by": float,
        "seconds": float,
        "times": int,
        "status": int,
        "retry_after": int,
        "size": int,
    }
    try:
        return kinds[key](value) if key in kinds else value
    except ValueError:
        raise SettingsError(f"fault key {key!r} wants a number; found {value!r}") from None
