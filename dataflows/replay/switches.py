"""Which faults are on: switched on by time, by count or at once, and off again when they are spent.

It answers questions about a moment; what a fault then does is done by whoever asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataflows.replay.candles import SPANS
from dataflows.replay.faults import CLOSES, HOLES, LISTINGS, SHOTS, Fault


@dataclass(slots=True)
class Switch:
    """A fault that was asked for: how often it still may strike and when, in wall time, it ends."""

    fault: Fault
    left: int | None
    ends: float | None = None


class Faults:
    """The faults that are on or waiting for their time; `now` is exchange ms, `wall` seconds."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._switches: list[Switch] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Switch it on, or let it wait for its time."""
        once = fault.times
        if once is None and (fault.name in SHOTS or (fault.name in CLOSES and open_ended(fault))):
            once = 1
        self._switches.append(Switch(fault, once))

    def clear(self, name: str = "") -> None:
        """Forget all, or all of one name."""
        self._switches = [s for s in self._switches if name not in ("", s.fault.name)]

    def listed(self) -> list[dict[str, Any]]:
        """What is on or waiting, as JSON."""
        return [{**dataclasses.asdict(s.fault), "left": s.left} for s in self._switches]

    def on(self, name: str, now: int, wall: float) -> Iterator[Fault]:
        """Faults of that name that are on; those whose seconds or strikes are over are forgotten."""
        for switch in [s for s in self._switches if s.fault.name == name]:
            if self._live(switch, now, wall):
                yield switch.fault

    def any(self, name: str, now: int, wall: float) -> bool:
        """Whether a fault of that name is on."""
        return bool(self._switches) and next(self.on(name, now, wall), None) is not None

    def strike(self, fault: Fault) -> None:
        """Count one strike of `fault`."""
        for switch in self._switches:
            if switch.fault is fault and switch.left is not None:
                switch.left -= 1
                if switch.left <= 0:
                    self._switches.remove(switch)
                return

    def _live(self, switch: Switch, now: int, wall: float) -> bool:
        if not switch.fault.spans(now):
            return False
        if switch.fault.seconds is not None:
            if switch.ends is None:
                switch.ends = wall + switch.fault.seconds
            if wall >= switch.ends:
                self._switches.remove(switch)
                return False
        return True

    def shots(self, now: int) -> list[Fault]:
        """The one-time faults whose time has come; they are spent by this."""
        due = [s.fault for s in self._switches if s.fault.name in SHOTS and s.fault.spans(now)]
        for fault in due:
            self.strike(fault)
        return due

    def closes(self, symbol: str, interval: str, close: int, wall: float) -> list[Fault]:
        """The faults that this close suffers, in the order they were asked for; each is a strike."""
        out = []
        for switch in [s for s in self._switches if s.fault.name in CLOSES]:
            if switch.fault.hits(symbol, interval, close) and self._live(switch, close, wall):
                out.append(switch.fault)
                self.strike(switch.fault)
        return out

    def listings(self, symbol: str | None = None) -> list[Fault]:
        """What happens to `symbol` as a listing, or to all."""
        listings = [s.fault for s in self._switches if s.fault.name in LISTINGS]
        return [fault for fault in listings if symbol is None or fault.symbol == symbol]

    def hidden(self, symbol: str, interval: str, opened: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which candles, by open time, nobody ever had; None where all are there."""
        mask: NDArray[np.bool_] | None = None
        for switch in self._switches:
            fault = switch.fault
            if fault.name in HOLES and fault.concerns(symbol, interval):
                found = in_hole(fault, opened, SPANS[interval])
                mask = found if mask is None else mask | found
        return mask


def open_ended(fault: Fault) -> bool:
    return fault.at is None and fault.until is None and fault.seconds is None


def in_hole(fault: Fault, opened: NDArray[np.int64], span: int) -> NDArray[np.bool_]:
    """Which of the candles that open at `opened` the fault takes away."""
    at, until = fault.at or 0, fault.until
    if fault.name == "halt":
        return np.asarray((opened >= at) & (opened < (1 << 62 if until is None else until)))
    if until is None:
        return np.asarray(opened + span == at)
    return np.asarray((opened >= at) & (opened + span <= until))
