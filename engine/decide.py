"""The last step of a symbol: the ledger resolves with the newest candle first, then the composer speaks.

Nothing is composed before every layer has answered for the same close.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.composer import Composer
from engine.gather import Turnstile
from engine.layers import condition
from engine.ledger import Ledger
from engine.records import Candle, LayerScore, Moment, Outcome, Signal


class Decide:
    """One symbol's decisions: moments and layer scores in, outcomes and signals out, in time order.

    Parameters
    ----------
    composer
        Makes one signal of a moment and its layers' scores.
    ledger
        Holds this symbol's open signals until their horizon.
    layers
        Names of the layers that answer every moment.
    source
        What the candles come from, as `sources` of a signal names it.
    """

    def __init__(self, composer: Composer, ledger: Ledger, layers: tuple[str, ...], source: str) -> None:
        self.composer = composer
        self.ledger = ledger
        self.source = source
        self._gate = Turnstile[Moment | Candle, LayerScore](layers)

    def update(self, record: Moment | Candle | LayerScore) -> Iterator[Outcome | Signal]:
        """Take in a moment, a candle without one, or a layer's score; answer what follows."""
        match record:
            case LayerScore():
                passing = self._gate.answer(record.time, record.layer, record)
            case Moment():
                passing = self._gate.wait(record.time, record)
            case _:
                passing = iter(self._gate.follow(record))
        for held, scores in passing:
            if isinstance(held, Candle):
                yield from self.ledger.resolve(held)
                continue
            yield from self.ledger.resolve(held.candle)
            sources = {f"{self.source}:{name}": known.time for name, known in held.features.items()}
            signal = self.composer.compose(held, scores, condition(held), held.feed, sources)
            self.ledger.open(signal, self.composer.threshold(held.listing.segment))
            yield signal
