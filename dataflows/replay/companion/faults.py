"""Everything that can go wrong with the companion on demand: the names, their knobs, and which are on.

`at` and `until` are stream time; `seconds` is wall time, so that it ends even where the clock stands still.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Self

from dataflows.replay.faults import parse_fault
from dataflows.replay.moments import milliseconds
from engine.errors import SettingsError

MANNERS: Final = frozenset({"hang", "drip", "slow", "reset", "huge", "redirect_loop"})
"""Never answered; a byte every `by` seconds (1); `by` seconds late (5); the connection reset; a body of
`size` bytes whose length is not told; sent back to the same address."""

STATUSES: Final = frozenset({"401", "429", "5xx"})
"""In the provider's own words where it has any; too many without Retry-After; `status` (503)."""

BODIES: Final = frozenset({"html", "error200", "truncated", "wrong_type"})
"""A page instead of the answer, with status 200; the provider's own error with status 200; half of the JSON;
the true answer as content type `kind` (text/plain), and for an image a picture instead."""

VALUES: Final = frozenset({"nulls", "strings", "newest_first"})
"""Of a JSON answer: every number null but times; every number as text; every list of rows turned about."""

NAMES: Final = MANNERS | STATUSES | BODIES | VALUES

FEEDS: Final = "feeds"
"""What all news feeds together are called."""

NUMERIC: Final = frozenset({"by", "seconds", "times", "status", "size"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with `of`: a provider, a feed, all "feeds", or everything where it is "".

    It is on in [`at`, `until`), for `seconds` from its first strike on, and for so many `times`.
    """

    name: str
    of: str = ""
    at: int | None = None
    until: int | None = None
    seconds: float | None = None
    times: int | None = None
    by: float | None = None
    status: int = 503
    size: int = 12 << 20
    kind: str = "text/plain"

    @classmethod
    def of_json(cls, given: Mapping[str, Any]) -> Self:
        """From JSON; times as ms or ISO. Raises `SettingsError` for an unknown name or key, or a bad value.

        >>> Fault.of_json({"name": "slow", "of": "kaiko", "by": 2}).by
        2
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key, value in given.items():
            if key not in known:
                raise SettingsError(f"fault key {key!r} is unknown; known: {', '.join(known)}")
            if key in NUMERIC and value is not None and not (is_number(value) and value >= 0):
                raise SettingsError(f"fault {given.get('name')}: {key} cannot be {value!r}")
        name = given.get("name", "")
        if name not in NAMES:
            near = get_close_matches(str(name), NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(NAMES))}"
            raise SettingsError(f"fault {name!r} is unknown; {hint}")
        times = {key: milliseconds(given[key]) for key in ("at", "until") if given.get(key) is not None}
        return cls(**{**given, **times})

    def concerns(self, name: str, *, feed: bool) -> bool:
        return self.of in ("", name) or (feed and self.of == FEEDS)

    def spans(self, now: int) -> bool:
        """Whether stream time `now` lies in it."""
        return (self.at or 0) <= now and (self.until is None or now < self.until)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_faults(texts: Iterable[str]) -> list[Fault]:
    """Faults as people write them: `name`, `name@time`, `name:key=value,key=value@time`.

    >>> read_faults(["hang:of=santiment", "5xx:status=502,times=3"])[1].status
    502
    """
    return [Fault.of_json(parse_fault(text)) for text in texts]


@dataclass(slots=True)
class Switch:
    """A fault that was asked for: how often it may still strike and when, in wall seconds, it ends."""

    fault: Fault
    left: int | None
    ends: float | None = None


class Faults:
    """The faults that are on or waiting for their time; `now` is stream ms, `wall` seconds."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._switches: list[Switch] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Switch it on, or let it wait for its time."""
        self._switches.append(Switch(fault, fault.times))

    def clear(self, of: str = "", name: str = "") -> None:
        """Forget all, or those of one provider or feed, or of one name."""
        self._switches = [
            switch
            for switch in self._switches
            if of not in ("", switch.fault.of) or name not in ("", switch.fault.name)
        ]

    def listed(self) -> list[dict[str, Any]]:
        """What is on or waiting, as JSON."""
        return [{**dataclasses.asdict(switch.fault), "left": switch.left} for switch in self._switches]

    def strike(self, name: str, now: int, wall: float, *, feed: bool = False) -> Iterator[Fault]:
        """What goes wrong with one answer, in the order asked for; each counted, spent ones forgotten."""
        for switch in list(self._switches):
            if not (switch.fault.concerns(name, feed=feed) and switch.fault.spans(now)):
                continue
            if not self._lasts(switch, wall):
                self._switches.remove(switch)
                continue
            if switch.left is not None:
                switch.left -= 1
                if switch.left <= 0:
                    self._switches.remove(switch)
            yield switch.fault

    def _lasts(self, switch: Switch, wall: float) -> bool:
        if switch.fault.seconds is None:
            return True
        if switch.ends is None:
            switch.ends = wall + switch.fault.seconds
        return wall < switch.ends
