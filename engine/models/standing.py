"""How a model stands at each moment of one symbol: asked when its candle closes, repeated in between.

Whoever is silent says why. Only moments decide; nobody is asked twice for one moment.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from engine.memory import stamp
from engine.records import INTERVALS, Activation, Moment, Prediction

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR


class Standing:
    """One symbol's standing prediction: one answer to every moment, in order.

    A model speaks at closes of its own interval; at the moments up to the next one its last prediction
    stands, with its age. One that missed its close has nothing that stands.

    Parameters
    ----------
    model
        Whose predictions these are.
    interval
        The model's own, not shorter than that of the moments.
    minimum
        Candles of it that a symbol must have seen.
    window
        Closes that the market frame of that interval must hold.

    Examples
    --------
    >>> from engine.records import Listing
    >>> standing = Standing("boosted", "1h")
    >>> moment = Moment("BTCUSDT", "5m", 300_000, Listing("BTCUSDT", "BTCUSDT", "BTC", "majors"), {})
    >>> standing.asks(moment), standing.update(moment).fault
    (False, 'no version')
    """

    __slots__ = ("_asked", "_last", "interval", "minimum", "model", "window")

    def __init__(self, model: str, interval: str, minimum: int = 500, window: int = 96) -> None:
        self.model = model
        self.interval = interval
        self.minimum = minimum
        self.window = window
        self._asked = 0
        self._last: Prediction | None = None

    def asks(self, moment: Moment) -> bool:
        """Whether only the model itself can answer this moment; says so whatever came before."""
        activation = moment.activations.get(self.model)
        return (
            activation is not None
            and activation.expires >= moment.time
            and moment.time % INTERVALS[self.interval] == 0
            and not self._lack(moment)
        )

    def update(self, moment: Moment, answer: Prediction | None = None) -> Prediction:
        """What is said at a moment; `answer` is the model's own, where it had to be asked."""
        if answer is not None:
            return self._keep(moment.time, answer)
        if INTERVALS[self.interval] < INTERVALS[moment.interval]:
            return self._silent(moment, f"{self.interval} candles are finer than {moment.interval}")
        activation = moment.activations.get(self.model)
        if activation is None:
            return self._silent(moment, "no version")
        if activation.expires < moment.time:
            return self._silent(moment, expired(activation, moment.time), activation.version)
        due = moment.time - moment.time % INTERVALS[self.interval]
        if due == moment.time:
            return self._keep(due, self._silent(moment, self._lack(moment), activation.version))
        if self._last is None or self._asked != due:
            return self._silent(moment, "not on its grid yet", activation.version)
        return replace(self._last, time=moment.time)

    def _keep(self, time: int, prediction: Prediction) -> Prediction:
        self._asked, self._last = time, prediction
        return prediction

    def _silent(self, moment: Moment, fault: str, version: str | None = None) -> Prediction:
        return Prediction(moment.symbol, moment.time, self.model, moment.time, version, fault=fault)

    def _lack(self, moment: Moment) -> str:
        """What the model would read and is not there, "" for nothing."""
        interval, known = self.interval, moment.features.get(self.interval)
        if known is None:
            return f"{interval} candles absent"
        if known.time != moment.time:
            return f"{interval} candle {stamp(moment.time)} not here yet"
        if known.seen < self.minimum:
            return f"{interval} has {known.seen} of {self.minimum} candles"
        frame = moment.frames.get(interval)
        if frame is None:
            return f"no market frame of {interval}"
        if frame.filled < self.window:
            return f"market frame has {frame.filled} of {self.window} closes"
        return ""


def expired(activation: Activation, time: int) -> str:
    """How much too old a version is at `time`, in words.

    >>> expired(Activation(0, "boosted", "v1", serves_from=0, expires=7 * DAY), 9 * DAY)
    'expired: 9 days old, 7 allowed'
    """
    age, allowed = time - activation.serves_from, activation.expires - activation.serves_from
    unit, name = (DAY, "days") if allowed >= 2 * DAY else (HOUR, "hours")
    return f"expired: {age / unit:.4g} {name} old, {allowed / unit:.4g} allowed"
