"""Whether what a model publishes gets worse: ADWIN on the Brier score, beside a control that knows nothing.

Only the training process may import this: river costs it 1.5 s and 111 MB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from river.drift import ADWIN, DummyDriftDetector

DELTA: Final = 0.05
EVERY: Final = 2160
SPREAD: Final = 100
FOLLOW: Final = 720
KEPT: Final = 50


@dataclass(frozen=True, slots=True)
class Alarm:
    """A detector's word that the mean moved from `before` to `after`, at the close `time`.

    The control does not say from what to what: None. `version` is the one that served then. `usual` is the
    mean of every number up to then; `later` that of the `follow` numbers behind it, None until they are all
    there. ADWIN chose `before` and `after` for being far apart; these two nobody chose.
    """

    time: int
    version: str
    before: float | None
    after: float | None
    usual: float
    later: float | None = None

    @property
    def worse(self) -> bool:
        """Whether it says that the score rose; the control says so always."""
        return self.before is None or self.after is None or self.after > self.before


class Trail:
    """One detector's alarms, and whether what they said lasted.

    Parameters
    ----------
    follow
        Numbers after an alarm that decide: it `lasted` if their mean is above the usual one.
    kept
        Newest alarms that are kept; all are counted.
    """

    def __init__(self, follow: int = FOLLOW, kept: int = KEPT) -> None:
        self.alarms: deque[Alarm] = deque(maxlen=kept)
        self.count = self.worse = self.followed = self.lasted = 0
        self._follow = follow
        self._total = 0.0
        self._seen = 0

    def add(self, alarm: Alarm) -> None:
        """A new alarm; one before it that was still followed stays undecided."""
        self.alarms.append(alarm)
        self.count += 1
        self.worse += alarm.worse
        self._total, self._seen = 0.0, 0

    def see(self, value: float) -> None:
        """Take in a number that came after the alarms there are."""
        if not self.alarms or self._seen >= self._follow:
            return
        self._total += value
        self._seen += 1
        if self._seen == self._follow:
            alarm = self.alarms[-1] = replace(self.alarms[-1], later=self._total / self._seen)
            self.followed += alarm.worse
            self.lasted += alarm.worse and self._total / self._seen > alarm.usual

    def told(self) -> dict[str, Any]:
        """For people: of the alarms that said worse and were followed to their end, how many lasted."""
        counts = {name: getattr(self, name) for name in ("count", "worse", "followed", "lasted")}
        return {**counts, "alarms": [asdict(alarm) for alarm in self.alarms]}


class Watch:
    """One model's Brier score in one segment, a number a close, watched for a change of its mean.

    ADWIN (Bifet, Gavalda 2007) as river has it: the window is cut where two of its parts have means that
    differ by more than chance would at `delta`, and begins anew after an alarm. Its bound takes the numbers
    as independent, which 12-candle horizons at every close make untrue, and as spread over 0..1, of which
    a mean Brier score uses a tenth: the second more than pays for the first.

    Measured on simulated segments of 6 symbols (outcomes correlated at 0.64, p_up spread 0.025 about 0.5,
    hourly closes, two years a run, judged at the defaults):

    outcomes                                  12 closes overlap      no overlap
    alarms a year where nothing changed       0.16, worse 0.08       none in 200 years
    the same, p_up's spread comes and goes    0.38, worse 0.14       -
    found within a year (median days)
      p_up reversed                           90 % (135)             100 % (182)
      three times as far from 0.5             82 % (80)              36 %
      six times                               100 % (11)             96 % (16)
      stuck at 0.6                            100 % (10)             98 % (21)
    by chance at ADWIN's own rate             7 %

    With overlap, river's default delta of 0.002 has one false alarm in 200 years and finds 54 % (349), 60 %
    (234), 98 % (18), 90 % (27): here a needless training costs less than a late one. Every 12th close alone,
    or the mean of 12, has no false alarm either and finds none of the first two, 6 and 16 % of the third.
    What a weak model loses by going wrong is small beside the noise of outcomes: silence proves nothing.

    The control (river's dummy detector) alarms by chance about every `every` closes, whatever the numbers
    are: far more often than ADWIN, so that there is soon something to hold beside it. Of both, the share of
    alarms that `lasted` is told; where nothing changed it is a half.

    Parameters
    ----------
    seed
        Of the control.
    delta
        ADWIN's significance; smaller is slower and errs less.
    every, spread
        Closes between two alarms of the control, and how far from it they may be; river's t_0 and w.
    follow
        Closes after an alarm that say whether it lasted.

    Examples
    --------
    >>> watch = Watch()
    >>> asked = [watch.update(hour, 0.25 if hour < 500 else 0.4, "v1") for hour in range(700)]
    >>> [(alarm.time, round(alarm.before, 3), round(alarm.after, 3)) for alarm in asked if alarm]
    [(534, 0.25, 0.261)]
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        delta: float = DELTA,
        every: int = EVERY,
        spread: int = SPREAD,
        follow: int = FOLLOW,
    ) -> None:
        self.parameters = {"delta": delta, "every": every, "spread": spread, "follow": follow}
        self.closes = 0
        self.asked: list[str] = []
        self.found = Trail(follow)
        self.chance = Trail(follow)
        self._adwin = ADWIN(delta=delta, clock=1)  # type: ignore[no-untyped-call]
        self._control = DummyDriftDetector(trigger_method="random", t_0=every, w=spread, seed=seed)
        self._total = 0.0

    def update(self, time: int, value: float, version: str) -> Alarm | None:
        """Take in one close; answer ADWIN's alarm if the score got worse, once a version at most."""
        self.closes += 1
        self.found.see(value)
        self.chance.see(value)
        self._total += value
        self._roll(time, value, version)
        alarm = self._cut(time, value, version)
        if alarm is None or not alarm.worse or version in self.asked:
            return None
        self.asked.append(version)
        return alarm

    def _cut(self, time: int, value: float, version: str) -> Alarm | None:
        adwin = self._adwin
        width, total = adwin.width, adwin.total
        adwin.update(value)  # type: ignore[no-untyped-call]
        if not adwin.drift_detected:
            return None
        before = (total + value - adwin.total) / (width + 1 - adwin.width)
        alarm = Alarm(time, version, before, adwin.estimation, self._total / self.closes)
        self.found.add(alarm)
        return alarm

    def _roll(self, time: int, value: float, version: str) -> None:
        self._control.update(value)  # type: ignore[no-untyped-call]
        if self._control.drift_detected:
            self.chance.add(Alarm(time, version, None, None, self._total / self.closes))

    def told(self) -> dict[str, Any]:
        """For people, as JSON."""
        return {
            "closes": self.closes,
            "window": int(self._adwin.width),
            "mean": self._adwin.estimation if self._adwin.width else None,
            "asked": list(self.asked),
            "parameters": dict(self.parameters),
            "adwin": self.found.told(),
            "control": self.chance.told(),
        }


class Closes:
    """Turns judged predictions into one number a close, in time order.

    A close is complete when all that was said at it is judged, or when something said `patience` horizons
    later is: a symbol that left is never judged. Only the order of calls decides, no clock.

    >>> closes = Closes()
    >>> for _ in range(2):
    ...     closes.expect(60_000, 120_000)
    >>> list(closes.settle(60_000, 0.25)), list(closes.settle(60_000, 0.35))
    ([], [(60000, 0.3)])
    """

    def __init__(self, patience: int = 2) -> None:
        self.patience = patience
        self.late = 0
        self._open: dict[int, Waiting] = {}
        self._newest = self._done = 0

    def expect(self, time: int, until: int) -> None:
        """Something was said at `time` that will be judged at `until`."""
        if time > self._done:
            held = self._open.setdefault(time, Waiting(time + self.patience * (until - time)))
            held.waiting += 1

    def settle(self, time: int, value: float | None) -> Iterator[tuple[int, float]]:
        """One expected at `time` has its score, or None for never; answer the closes now complete."""
        held = self._open.get(time)
        if held is None:
            self.late += value is not None
            return
        held.waiting -= 1
        if value is not None:
            held.total += value
            held.count += 1
            self._newest = max(self._newest, time)
        yield from self._complete()

    def _complete(self) -> Iterator[tuple[int, float]]:
        while self._open:
            first = min(self._open)
            held = self._open[first]
            if held.waiting > 0 and self._newest <= held.last:
                return
            del self._open[first]
            self._done = first
            if held.count:
                yield first, held.total / held.count


@dataclass(slots=True)
class Waiting:
    """A close that is not complete; what was said after `last` no longer waits for it."""

    last: int
    waiting: int = 0
    count: int = 0
    total: float = 0.0
