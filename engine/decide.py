"""The last step of a symbol: the newest candle judges what was said before, then the composer speaks.

Nothing is composed before every layer and every model has answered for the same close.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.composer import Composer
from engine.gather import Turnstile
from engine.layers import UNREAD, Ml, absences, condition
from engine.ledger import Ledger
from engine.models.track import Track
from engine.records import INTERVALS, Candle, LayerScore, Moment, Outcome, Prediction, Signal
from engine.settings.readers import Reader


class Decide:
    """One symbol's decisions: moments, scores and predictions in, outcomes and signals out, in time order.

    Parameters
    ----------
    composer
        Makes one signal of a moment and its layers' scores.
    ledger
        Holds this symbol's open signals until their horizon.
    layers
        Names of the layers that answer every moment; the ml layer is asked here, once the models have.
    source
        What the candles come from, as `sources` of a signal names it.
    models
        Names of the models that answer every moment; a layer must not have one of their names.
    readers
        By metric, how it is read: what is stale by it is told.
    """

    def __init__(
        self,
        composer: Composer,
        ledger: Ledger,
        layers: tuple[str, ...],
        source: str,
        models: tuple[str, ...] = (),
        readers: Mapping[str, Reader] = UNREAD,
    ) -> None:
        self.composer = composer
        self.ledger = ledger
        self.source = source
        self.models = models
        self.readers = dict(readers)
        self._ml = Ml()
        self._track = Track()
        self._gate = Turnstile[Moment | Candle, LayerScore | Prediction]((*layers, *models))

    def update(self, record: Moment | Candle | LayerScore | Prediction) -> Iterator[Outcome | Signal]:
        """Take in a moment, a candle without one, a layer's score or a model's prediction."""
        match record:
            case LayerScore():
                passing = self._gate.answer(record.time, record.layer, record)
            case Prediction():
                passing = self._gate.answer(record.time, record.model, record)
            case Moment():
                passing = self._gate.wait(record.time, record)
            case _:
                passing = iter(self._gate.follow(record))
        for held, answers in passing:
            candle = held if isinstance(held, Candle) else held.candle
            yield from self.ledger.resolve(candle)
            self._track.resolve(candle)
            if isinstance(held, Moment):
                yield self._signal(held, answers)

    def _signal(self, moment: Moment, answers: Mapping[str, LayerScore | Prediction]) -> Signal:
        """The signal of a moment whose answers are all there; it is open from now on."""
        threshold = self.composer.threshold(moment.listing.segment)
        until = moment.time + self.composer.horizon * INTERVALS[moment.interval]
        predictions = {name: said for name in self.models if isinstance(said := answers[name], Prediction)}
        scores = {name: said for name, said in answers.items() if isinstance(said, LayerScore)}
        missed = absences(moment, scores, self.readers)
        scores[self._ml.name] = self._ml(moment, predictions)
        models = {
            name: self._track.told(said, until, moment.candle.close, threshold)
            for name, said in predictions.items()
        }
        sources = {f"{self.source}:{name}": known.time for name, known in moment.features.items()}
        sources |= heard(moment)
        signal = self.composer.compose(
            moment, scores, condition(moment), moment.feed, sources, predictions, models, missed
        )
        self.ledger.open(signal, threshold)
        return signal


def heard(moment: Moment) -> dict[str, int]:
    """When what each source beside the candles told is of, ms UTC: its newest number, its newest headline."""
    newest: dict[str, int] = {}
    for name, reading in moment.readings.items():
        source = name.partition(".")[0]
        newest[source] = max(reading.time, newest.get(source, 0))
    for mood in moment.moods:
        newest[mood.kind] = max(mood.newest, newest.get(mood.kind, 0))
    return newest
