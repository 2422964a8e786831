"""Whose frames are read, and who is expected at which moment. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.records import Listing


@dataclass(slots=True)
class Roster:
    """The listings of the newest Universe, and what is read: those, and who leaves once it takes effect.

    >>> btc = Listing("BTCUSDT", "BTCUSDT", "BTC", "majors")
    >>> roster = Roster()
    >>> roster.join([btc])
    >>> roster.expect([], 300_000)
    >>> roster.gone(ticked=0), roster.gone(ticked=300_000), roster.reading
    ([], ['BTCUSDT'], {})
    """

    expected: tuple[Listing, ...] = ()
    reading: dict[str, Listing] = field(default_factory=dict)
    leaving: dict[str, int] = field(default_factory=dict)

    def joining(self, listings: Iterable[Listing]) -> list[Listing]:
        """Who is not read yet, or under another name."""
        return [one for one in listings if not self._reads(one)]

    def join(self, listings: Iterable[Listing]) -> None:
        """Read these from now on."""
        for one in listings:
            self.reading[one.symbol] = one
            self.leaving.pop(one.symbol, None)

    def expect(self, listings: Sequence[Listing], time: int) -> None:
        """A Universe of `listings` was journaled for the moments after `time`; the others leave then."""
        self.expected = tuple(listings)
        self.join(listings)
        stay = {one.symbol for one in listings}
        for symbol in self.reading:
            if symbol not in stay:
                self.leaving.setdefault(symbol, time)

    def gone(self, ticked: int) -> list[str]:
        """Who need not be read any more when the moment `ticked` is over."""
        out = [symbol for symbol, time in self.leaving.items() if time <= ticked]
        for symbol in out:
            del self.leaving[symbol], self.reading[symbol]
        return out

    def _reads(self, one: Listing) -> bool:
        read = self.reading.get(one.symbol)
        return read is not None and read.exchange_symbol == one.exchange_symbol
