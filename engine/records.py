"""The nouns, in the order data meets them. All frozen; `time` is UTC in ms, always a close (exclusive end).

A record holds facts and refuses what cannot be true; it never computes an opinion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, nan
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from engine.errors import CorruptRecord

INTERVALS: Final[Mapping[str, int]] = MappingProxyType(
    {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "4h": 14_400_000}
)
"""Every candle interval the engine knows, in ms, shortest first."""

NEVER: Final = 1 << 62
"""A time that does not come, in ms."""

Direction = Literal["LONG", "SHORT", "NEUTRAL"]
Feed = Literal["live", "replay", "simulated"]


class Frozen:
    """A record that cannot change needs no copy of itself."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


@dataclass(frozen=True, slots=True)
class Candle(Frozen):
    """One closed candle; `time` is its open time plus its interval.

    The four optional columns are None where the source does not have them.
    Raises `CorruptRecord` for values no market can produce.

    >>> Candle.of(10.0).close
    10.0
    >>> Candle("BTCUSDT", "1m", 60_000, 10, 9, 9, 10, 1)
    Traceback (most recent call last):
    engine.errors.CorruptRecord: BTCUSDT 1m candle closing at 60000: high 9 is below open 10 or close 10
    """

    symbol: str
    interval: str
    time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float | None = None
    trades: int | None = None
    taker_base: float | None = None
    taker_quote: float | None = None

    def __post_init__(self) -> None:
        # One chained comparison says yes to every good candle: nan compares false with everything.
        if not (
            0 < self.low <= self.open <= self.high < inf
            and self.low <= self.close <= self.high
            and 0 <= self.volume < inf
            and self.time % INTERVALS.get(self.interval, 1 << 62) == 0
        ):
            raise CorruptRecord(
                f"{self.symbol} {self.interval} candle closing at {self.time}: {self._fault()}"
            )

    def _fault(self) -> str:
        if self.interval not in INTERVALS:
            return f"interval {self.interval!r} is not one of {', '.join(INTERVALS)}"
        for name in ("open", "high", "low", "close", "volume"):
            value = getattr(self, name)
            if not (0 <= value < inf) or (value == 0 and name != "volume"):
                return f"{name} was {value}"
        if self.high < max(self.open, self.close):
            return f"high {self.high} is below open {self.open} or close {self.close}"
        if self.low > min(self.open, self.close):
            return f"low {self.low} is above open {self.open} or close {self.close}"
        return f"not on the grid of {INTERVALS[self.interval]} ms"

    @classmethod
    def of(
        cls,
        close: float,
        *,
        time: int = 60_000,
        symbol: str = "BTCUSDT",
        interval: str = "1m",
        volume: float = 1.0,
    ) -> Self:
        """A flat candle at one price, for examples and tests."""
        return cls(symbol, interval, time, close, close, close, close, volume)

    @property
    def open_time(self) -> int:
        return self.time - INTERVALS[self.interval]


@dataclass(frozen=True, slots=True)
class Correction(Frozen):
    """A closed candle that later arrived different: it mends history, never features or a signal."""

    symbol: str
    interval: str
    time: int
    candle: Candle


@dataclass(frozen=True, slots=True)
class Tick(Frozen):
    """Stream time has passed `time` + grace: whatever of that close is not here yet is late."""

    time: int


@dataclass(frozen=True, slots=True)
class Live(Frozen):
    """From here on signals are made, for moments after `time`; journaled at every start.

    Moments up to `time` warm the features, the market frame and the ledger, and stay silent.
    `feed` says what kind of market is being read; every signal repeats it.
    """

    time: int
    feed: Feed = "live"


@dataclass(frozen=True, slots=True)
class Listing(Frozen):
    """One market of the universe, as the exchange lists it.

    `symbol` is what signals call it, `exchange_symbol` what the exchange calls it at this date.
    Prices of `exchange_symbol` are divided by `multiplier` (1000 for 1000PEPEUSDT) before anyone sees them.
    """

    symbol: str
    exchange_symbol: str
    asset: str
    segment: str
    multiplier: int = 1
    price_step: float = 0.0


@dataclass(frozen=True, slots=True)
class Universe(Frozen):
    """Who is expected at every moment after `time`. Symbols come and go by a new one of these."""

    time: int
    listings: tuple[Listing, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(listing.symbol for listing in self.listings)


@dataclass(frozen=True, slots=True)
class Membership(Frozen):
    """What a Universe says to one symbol: its listing for every moment after `time`, None = not expected."""

    symbol: str
    time: int
    listing: Listing | None


@dataclass(frozen=True, slots=True)
class Activation(Frozen):
    """A version of a model may serve moments after `time`; journaled, so that a replay uses the same one.

    No moment before `serves_from` is served by it, whatever `time` says: what it was fitted on would be that
    moment's own future. After `expires` it is too old to be used. All in ms UTC.
    """

    time: int
    model: str
    version: str
    serves_from: int
    expires: int = NEVER

    def serves(self, time: int) -> bool:
        """Whether a moment at `time` may be served by it, however old it is."""
        return self.time < time and self.serves_from <= time


@dataclass(frozen=True, slots=True)
class Price(Frozen):
    """The last traded price: shown to people, never part of a signal and never journaled."""

    symbol: str
    time: int
    price: float


@dataclass(frozen=True, slots=True)
class Metric(Frozen):
    """One number that a source tells of one asset, or of the whole market where `asset` is "".

    `name` is source.metric; `time` is the end of what the number speaks of, `learned` the stream time at
    which it was heard, both ms UTC. It counts for moments after `learned`, whatever `time` says.
    Raises `CorruptRecord` for a value that is no finite number.

    >>> Metric("binance.funding", "BTC", 28_800_000, 0.0001, learned=28_801_000).source
    'binance'
    """

    name: str
    asset: str
    time: int
    value: float
    learned: int = 0

    def __post_init__(self) -> None:
        if not -inf < self.value < inf:
            raise CorruptRecord(
                f"{self.name} of {self.asset or 'the market'} at {self.time} was {self.value}"
            )

    @property
    def source(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Headline(Frozen):
    """One story as one source told it first.

    `id` names the story whoever tells it, `source` is the feed, `time` when it was published and `learned`
    the stream time at which it was read, ms UTC; where the feed gave no usable date, `time` is `learned` and
    `dated` False. `assets` are those it is about, none = the whole market. `sentiment` is -1..1, `weight` the
    credibility of the source, 0..1.
    Raises `CorruptRecord` for numbers out of these bounds.
    """

    id: str
    source: str
    time: int
    title: str
    url: str
    assets: tuple[str, ...]
    sentiment: float
    weight: float
    kind: Literal["news", "social"] = "news"
    dated: bool = True
    learned: int = 0

    def __post_init__(self) -> None:
        if not (-1 <= self.sentiment <= 1 and 0 <= self.weight <= 1):
            raise CorruptRecord(
                f"headline {self.id} of {self.source}: sentiment {self.sentiment}, weight {self.weight}"
            )


@dataclass(frozen=True, slots=True)
class Reading(Frozen):
    """What one metric says when a candle closes, read as its reader reads it.

    `value` is the level, change, sum or deviation that `metrics` in the settings asks for, nan where its past
    is not known; `time` and `learned` are those of the newest number in it.
    """

    name: str
    time: int
    learned: int
    value: float


@dataclass(frozen=True, slots=True)
class Mood(Frozen):
    """What the headlines of the last days come to when a candle closes, of one kind and scope.

    `sentiment` is their mean in -1..1, each weighing its credibility, halved with every half-life of its age;
    `weight` is the sum of those weights, `count` how many there are, `newest` the time of the newest, ms UTC.
    `title` and `source` are of the one that moves the mean the most.
    """

    kind: Literal["news", "social"]
    scope: Literal["asset", "market"]
    sentiment: float
    weight: float
    count: int
    newest: int
    title: str
    source: str


@dataclass(frozen=True, slots=True)
class Features(Frozen):
    """Every feature of one market and interval when its candle closed.

    `values` follow `engine.features.SCHEMA`, nan = not yet; `seen` counts candles since the last reset,
    `gap` the candles missing directly before this one.
    """

    symbol: str
    interval: str
    time: int
    candle: Candle
    values: tuple[float, ...]
    seen: int
    gap: int = 0


@dataclass(frozen=True, slots=True)
class Row(Frozen):
    """What one symbol tells the market at a moment: a few small fields, never a window.

    `present` is False when its candle did not come in time; `speaks` says that a moment waits for the frame.
    `universe` is the time of the Universe that says who else is expected. `interval` is that of the return:
    "" stands for the decision interval, else it is that of a model.
    """

    symbol: str
    time: int
    universe: int
    log_return: float
    present: bool
    speaks: bool
    interval: str = ""


@dataclass(frozen=True, slots=True)
class MarketFrame(Frozen):
    """Who moved with whom when candle `time` closed, seen from one symbol.

    Returns are log returns of the decision interval, or of the model's `interval` where that is another one;
    nan = not known yet. `filled` is how many frames the window holds.
    """

    symbol: str
    time: int
    present: int
    expected: int
    btc_return: float
    sector_return: float
    market_return: float
    own_return: float
    beta: float
    btc_correlation: float
    btc_correlation_before: float
    sector_correlation: float
    sector_beta: float
    spread_z: float
    lead: float
    interval: str = field(default="", kw_only=True)
    filled: int = field(default=0, kw_only=True)


@dataclass(frozen=True, slots=True)
class Moment(Frozen):
    """Everything known about one symbol when its decision candle closes at `time`.

    `features` holds the newest closed Features of every interval a layer reads; `degraded` names what is
    missing. `market` is None until the market frame has come; `frames` holds that of each model's interval
    which closes at this moment. `activations` says which version of each model serves it. `readings` are of
    the metrics that had been learned before the close, by name; `moods` of the headlines; `extras` are
    the optional inputs of models.
    """

    symbol: str
    interval: str
    time: int
    listing: Listing
    features: Mapping[str, Features]
    degraded: tuple[str, ...] = ()
    market: MarketFrame | None = None
    feed: Feed = "live"
    frames: Mapping[str, MarketFrame] = field(default_factory=dict)
    activations: Mapping[str, Activation] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    moods: tuple[Mood, ...] = ()
    extras: tuple[float, ...] = ()

    @property
    def candle(self) -> Candle:
        return self.features[self.interval].candle

    @property
    def now(self) -> Features:
        """The decision interval's features."""
        return self.features[self.interval]


@dataclass(frozen=True, slots=True)
class Prediction(Frozen):
    """What a model says of one symbol, as it stands at the moment of `time`.

    It was made when candle `made` of the model's interval closed; in between the last one stands. `p_up` is
    the calibrated P(close at the horizon > close now), `p3` the calibrated probabilities of a move down, of
    none and up, at the segment's threshold; `expected_move` the mean of |move| as a fraction. All None where
    the model has nothing to say, and `fault` says why. `skill` is False for a model that knew nothing on data
    it had not seen. `novelty` is the distance from what it was fitted on, 1 = the farthest that is usual.
    `quantile` bounds 1 - p of the classes of a 90 % set. `contributions` are (input, log-odds) pairs, the
    largest first.
    """

    symbol: str
    time: int
    model: str
    made: int
    version: str | None = None
    p_up: float | None = None
    p3: tuple[float, float, float] | None = None
    skill: bool = False
    expected_move: float | None = None
    novelty: float | None = None
    quantile: float | None = None
    contributions: tuple[tuple[str, float], ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Reason(Frozen):
    """One addend of a layer's score: `points` is what it moved the score by, `text` says why in words."""

    component: str
    points: float
    text: str


@dataclass(frozen=True, slots=True)
class LayerScore(Frozen):
    """One layer's opinion of one moment.

    `score` is in -100..+100 and equals the sum of its reasons' points; `coverage` in 0..1 is the share of
    what the layer reads that was there; 0 = it has nothing to say.
    """

    layer: str
    symbol: str
    time: int
    score: float
    coverage: float
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerVote(Frozen):
    """A layer's score as composed: `weight_raw` by market condition, `weight` after coverage (sums to 1)."""

    score: float
    weight_raw: float
    weight: float
    coverage: float
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Signal(Frozen):
    """One honest opinion about one symbol at one close; the published JSON has these fields and no others.

    `confidence` is 0-100; `p_up` and `p3` stay None until a calibrated model speaks, and then `degraded`
    no longer holds "uncalibrated". `entry`, `stop_loss`, `take_profit` are prices, None when NEUTRAL
    except `entry`. Times are ms UTC.
    """

    id: str
    symbol: str
    interval: str
    time: int
    horizon_end: int
    valid_until: int
    direction: Direction
    confidence: float
    score: float
    p_up: float | None
    p3: tuple[float, float, float] | None
    position_size: float
    entry: float
    stop_loss: float | None
    take_profit: float | None
    risk_reward: float | None
    layers: Mapping[str, LayerVote]
    degraded: tuple[str, ...]
    sources: Mapping[str, int]
    feed: Feed
    regime: Mapping[str, Any] | None = None
    models: Mapping[str, Any] = field(default_factory=dict)
    risk: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Frozen):
    """What became of a signal at its horizon.

    `hit` is the event its confidence speaks of (LONG/SHORT: the close is on its side; NEUTRAL: the move
    stayed below the segment's threshold); None when candles were missing and it cannot be told. `move` is
    the relative close-to-close move.
    """

    id: str
    symbol: str
    time: int
    direction: Direction
    confidence: float
    resolved_at: int
    entry: float
    close: float | None
    move: float | None
    hit: bool | None


@dataclass(frozen=True, slots=True)
class Status(Frozen):
    """How one part of the engine is; published, never journaled. `topic` is the Redis key's last part."""

    topic: Literal["streams", "providers", "serving"]
    body: Mapping[str, Any]


NOT_YET: Final = nan
"""What every computation answers before it has seen enough."""
