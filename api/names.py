"""Which symbol somebody means: any case, a former name, a futures name.

What nobody knows is answered with what is known and what is near.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from difflib import get_close_matches

from engine.errors import UnknownSymbol
from engine.symbols import MARKETS, canonical


class NotKnown(UnknownSymbol):
    """Nobody knows `asked`; `near` are the known ones it resembles."""

    def __init__(self, asked: str, known: Sequence[str]) -> None:
        self.asked = asked
        self.known = tuple(known)
        self.near = tuple(get_close_matches(asked, known, n=3))
        hint = f"; did you mean {' or '.join(self.near)}?" if self.near else ""
        super().__init__(f"no symbol {asked!r}{hint}")


def symbol_of(asked: str, known: Collection[str]) -> str:
    """The known symbol that `asked` names. Raises `NotKnown`.

    >>> symbol_of("maticusdt", ["BTCUSDT", "POLUSDT"])
    'POLUSDT'
    >>> symbol_of("BTCUDST", ["BTCUSDT", "POLUSDT"])
    Traceback (most recent call last):
    api.names.NotKnown: no symbol 'BTCUDST'; did you mean BTCUSDT?
    """
    name = asked.strip().upper()[:40]
    if name in known:
        return name
    for market in MARKETS:
        with suppress(UnknownSymbol):
            symbol, _ = canonical(name, market)
            if symbol in known:
                return symbol
    raise NotKnown(name, sorted(known))


def symbols_of(asked: str | Sequence[str], known: Collection[str]) -> frozenset[str]:
    """The same for many, or for one text with commas. Raises `NotKnown` for the first that is not.

    >>> sorted(symbols_of("btcusdt, ETHUSDT,", ["BTCUSDT", "ETHUSDT"]))
    ['BTCUSDT', 'ETHUSDT']
    """
    names = asked.split(",") if isinstance(asked, str) else asked
    return frozenset(symbol_of(name, known) for name in names if name.strip())
