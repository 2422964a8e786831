"""Every block of config.yaml and what must hold inside and between them.

Frozen; each key's default is the value the file ships with, its comment there says the unit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from engine.errors import UnknownSymbol
from engine.records import INTERVALS
from engine.settings.block import Block
from engine.settings.readers import Reader
from engine.settings.secrets import ApiKeys
from engine.settings.sources import FuturesData, News, Providers
from engine.settings.values import (
    CorrelationWeight,
    Count,
    Folder,
    Interval,
    Intervals,
    Keys,
    MetricName,
    MlWeight,
    OnchainWeight,
    Origins,
    Pairs,
    Positive,
    RedisUrl,
    Rest,
    SegmentName,
    SentimentWeight,
    Share,
    SourceName,
    Stream,
    TechnicalWeight,
    Text,
    is_loopback,
)
from engine.symbols import RENAMED


class Segment(Block):
    threshold: Annotated[float, Field(gt=0, lt=100)]


class Decide(Block):
    interval: Interval = "5m"
    horizon: Annotated[int, Field(ge=1, le=1000)] = 12
    warm_up: Annotated[int, Field(ge=1, le=5000)] = 1200
    minimum: Count = 500

    @model_validator(mode="after")
    def reachable(self) -> Self:
        if self.minimum > self.warm_up:
            raise ValueError(f"minimum must not be above warm_up {self.warm_up}; was {self.minimum}")
        return self


class Gather(Block):
    grace: Annotated[float, Field(ge=3)] = 5
    catch_up: Annotated[float, Field(ge=0)] = 120


class Exchange(Block):
    """One market of the exchange: where it answers and what it allows."""

    rest: Rest
    stream: Stream
    weight_per_minute: Count


class Backoff(Block):
    first: Positive = 0.5
    factor: Annotated[float, Field(ge=1)] = 2
    most: Positive = 30
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def ordered(self) -> Self:
        if self.most < self.first:
            raise ValueError(f"most must not be below first {self.first:g}; was {self.most:g}")
        return self


SPOT: Final = Exchange(
    rest="https://data-api.binance.vision",
    stream="wss://data-stream.binance.vision",
    weight_per_minute=6000,
)
UM: Final = Exchange(
    rest="https://fapi.binance.com", stream="wss://fstream.binance.com/market", weight_per_minute=2400
)


class Binance(Block):
    intervals: Intervals = ("1m", "5m", "15m", "1h", "4h")
    spot: Exchange = SPOT
    um: Exchange = UM
    budget_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    streams_per_connection: Annotated[int, Field(ge=1, le=1024)] = 200
    connects_per_5_minutes: Annotated[int, Field(ge=1, le=300)] = 60
    rotate_after: Annotated[float, Field(gt=0, lt=86_400)] = 82_800
    silent_after: Positive = 120
    idle_timeout: Positive = 15
    cross_check_after: Positive = 2
    check_every: Positive = 900
    backoff: Backoff = Backoff()


class TechnicalWeights(Block):
    trending: TechnicalWeight = 45
    ranging: TechnicalWeight = 30
    mixed: TechnicalWeight = 37


class CorrelationWeights(Block):
    trending: CorrelationWeight = 10
    ranging: CorrelationWeight = 15
    mixed: CorrelationWeight = 12


class OnchainWeights(Block):
    trending: OnchainWeight = 20
    ranging: OnchainWeight = 25
    mixed: OnchainWeight = 22


class SentimentWeights(Block):
    trending: SentimentWeight = 10
    ranging: SentimentWeight = 15
    mixed: SentimentWeight = 12


class MlWeights(Block):
    trending: MlWeight = 35
    ranging: MlWeight = 35
    mixed: MlWeight = 35


class Layers(Block):
    technical: TechnicalWeights = TechnicalWeights()
    correlation: CorrelationWeights = CorrelationWeights()
    onchain: OnchainWeights = OnchainWeights()
    sentiment: SentimentWeights = SentimentWeights()
    ml: MlWeights = MlWeights()


class Trees(Block):
    """How one segment's trees are grown, to begin with; the search may leave it."""

    max_depth: Annotated[int, Field(ge=1, le=16)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    n_estimators: Annotated[int, Field(ge=1, le=5000)] = 200
    subsample: Share = 0.8
    colsample_bytree: Share = 0.8
    min_child_weight: Annotated[float, Field(ge=0)] = 1


FamilyName = Literal[
    "momentum", "trend", "volatility", "volume", "structure", "zones", "patterns", "derived", "market",
    "positions", "sentiment", "capital",
]  # fmt: skip
Chance = Annotated[float, Field(gt=0, le=100)]


class Boosted(Block):
    interval: Interval = "1h"
    embargo: Annotated[int, Field(ge=0, le=1000)] = 1
    minimum: Count = 500
    window_days: Positive = 1095
    retrain_hours: Positive = 6
    max_age_hours: Positive = 168
    trees: Mapping[SegmentName, Trees] = {
        "majors": Trees(max_depth=8, learning_rate=0.03),
        "alts": Trees(max_depth=7, learning_rate=0.05),
        "memes": Trees(max_depth=6, learning_rate=0.08, subsample=0.6, colsample_bytree=0.6),
    }

    chances: Mapping[SegmentName, Mapping[FamilyName, Chance]] = {
        "alts": {"momentum": 2.0},
        "memes": {"volume": 2.0, "sentiment": 2.0},
    }

    def chances_of(self, segment: str) -> dict[str, float]:
        """By family of inputs, how often this segment's trees look at one of it, the others 1."""
        return {str(family): chance for family, chance in self.chances.get(segment, {}).items()}

    def trees_of(self, segment: str) -> Trees:
        """How this segment's trees are grown; a segment without trees of its own has those of the alts."""
        return self.trees.get(segment) or Trees(max_depth=7, learning_rate=0.05)


class Models(Block):
    shelf: Folder | None = None
    keep: Annotated[int, Field(ge=2)] = 32
    boosted: Boosted = Boosted()


class Redis(Block):
    url: RedisUrl | None = None
    prefix: Annotated[str, Field(pattern=r"^\S*$")] = ""
    log_length: Count = 20_000


class Storage(Block):
    folder: Folder = Path("data")
    journal_days: Positive = 7
    recovery: bool = True
    snapshot_every: Count = 10


class Api(Block):
    host: Text = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8300
    allow_public: bool = False
    keys: Keys = Field(default=ApiKeys(), exclude=True, repr=False)
    origins: Origins = ()
    clients: Count = 1000
    clients_per_address: Count = 100
    queue: Count = 256
    resume: Annotated[int, Field(ge=0)] = 5000

    @model_validator(mode="after")
    def guarded(self) -> Self:
        if not (is_loopback(self.host) or self.keys or self.allow_public):
            raise ValueError(
                f"host {self.host} can be reached from outside without a key: set SIGNAL_ENGINE_API__KEYS, "
                "or allow_public: true to mean it"
            )
        return self


class Logging(Block):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json_lines: bool = Field(default=False, alias="json")


class Settings(Block):
    """The whole of config.yaml, with what the environment says laid over it.

    >>> settings = Settings()
    >>> settings.segment_of("PEPEUSDT"), settings.threshold_of("PEPEUSDT"), settings.read_intervals
    ('memes', 0.015, ('5m', '15m', '1h', '4h'))
    """

    symbols: Mapping[SegmentName, Pairs] = {
        "majors": ("BTCUSDT", "ETHUSDT", "BNBUSDT"),
        "alts": (
            "SOLUSDT", "AVAXUSDT", "LINKUSDT", "DOTUSDT", "POLUSDT", "NEARUSDT", "ARBUSDT", "OPUSDT",
        ),
        "memes": ("PEPEUSDT", "DOGEUSDT", "SHIBUSDT", "FLOKIUSDT", "BONKUSDT", "WIFUSDT"),
    }  # fmt: skip
    segments: Mapping[SegmentName, Segment] = {
        "majors": Segment(threshold=0.5),
        "alts": Segment(threshold=0.8),
        "memes": Segment(threshold=1.5),
    }
    market: Literal["spot", "um"] = "spot"
    decide: Decide = Decide()
    gather: Gather = Gather()
    binance: Binance = Binance()
    layers: Layers = Layers()
    futures: FuturesData = FuturesData()
    providers: Providers = Providers()
    news: News = News()
    metrics: Mapping[SourceName, Mapping[MetricName, Reader]] = Field(default_factory=dict)
    models: Models = Models()
    redis: Redis = Redis()
    storage: Storage = Storage()
    api: Api = Api()
    logging: Logging = Logging()

    @model_validator(mode="after")
    def agreeing(self, info: ValidationInfo) -> Self:
        """The blocks with each other; those named in the context's "broken" are not asked."""
        broken: frozenset[str] = (info.context or {}).get("broken", frozenset())
        found = [line for blocks, rule in RULES if broken.isdisjoint(blocks) for line in rule(self)]
        if found:
            raise ValueError("\n".join(found))
        return self

    @property
    def all_symbols(self) -> tuple[str, ...]:
        """Every symbol, in alphabetical order: no order of a file may reach a result."""
        return tuple(sorted(symbol for members in self.symbols.values() for symbol in members))

    @property
    def aliases(self) -> dict[str, str]:
        """Former names under which one of the symbols may be asked for -> its name."""
        return {former: symbol for former, symbol in RENAMED.items() if symbol in self.all_symbols}

    @property
    def exchange(self) -> Exchange:
        """The market candles come from."""
        return self.binance.spot if self.market == "spot" else self.binance.um

    @property
    def read_intervals(self) -> tuple[str, ...]:
        """The intervals a decision may read, shortest first: its own and the higher ones."""
        least = INTERVALS[self.decide.interval]
        return tuple(name for name in self.binance.intervals if INTERVALS[name] >= least)

    def segment_of(self, symbol: str) -> str:
        """Raises `UnknownSymbol`, naming near ones, for a symbol that is not configured."""
        for segment, members in self.symbols.items():
            if symbol in members:
                return segment
        near = get_close_matches(symbol, self.all_symbols)
        raise UnknownSymbol(f"{symbol} is not configured; near: {', '.join(near) or 'none'}")

    def threshold_of(self, symbol: str) -> float:
        """The move below which `symbol` went nowhere, as a fraction."""
        return self.thresholds[self.segment_of(symbol)]

    @property
    def thresholds(self) -> dict[str, float]:
        """Per segment, the move below which a symbol went nowhere, as a fraction."""
        return {name: segment.threshold / 100 for name, segment in self.segments.items()}

    @property
    def weights(self) -> dict[str, dict[str, float]]:
        """Raw weights in percent, by layer and market condition."""
        return self.layers.model_dump()

    @property
    def readers(self) -> dict[str, Reader]:
        """How each metric is read, by its full name: source.metric."""
        return {
            f"{source}.{name}": one for source, named in self.metrics.items() for name, one in named.items()
        }

    @property
    def shelf(self) -> Path:
        """Where trained models lie."""
        return self.models.shelf or self.storage.folder / "shelf"

    @property
    def model_intervals(self) -> dict[str, str]:
        """Each model's own interval; a model whose candles are not read, or finer, cannot speak."""
        wanted = {"boosted": self.models.boosted.interval}
        return {model: interval for model, interval in wanted.items() if interval in self.read_intervals}

    @property
    def config_hash(self) -> str:
        """16 hex digits of what can change a signal: no host, port or path, nothing of Redis or the relay."""
        hosts = {"rest", "stream"}
        sources: dict[str, Any] = {name: {"base_url", "hosts", "keyless"} for name in Providers.model_fields}
        feeds: dict[str, Any] = {
            "local": True,
            "contact": True,
            "feeds": {name: {"url"} for name in self.news.feeds},
        }
        kept = self.model_dump(
            mode="json",
            exclude={"redis": True, "api": True, "logging": True, "storage": True,
                     "binance": {"spot": hosts, "um": hosts}, "models": {"shelf", "keep"},
                     "providers": sources, "news": feeds},
        )  # fmt: skip
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return sha256(text.encode()).hexdigest()[:16]


def once_each(settings: Settings) -> Iterator[str]:
    seen: dict[str, str] = {}
    for segment, members in settings.symbols.items():
        for symbol in members:
            if symbol in seen:
                yield f"symbols.{segment}: {symbol} is already in {seen[symbol]}{formerly(symbol)}"
            seen[symbol] = segment
    if not seen:
        yield "symbols: must hold at least one symbol; was empty"


def formerly(symbol: str) -> str:
    former = [old for old, new in RENAMED.items() if new == symbol]
    return f" (formerly {', '.join(former)})" if former else ""


def measured(settings: Settings) -> Iterator[str]:
    for segment in settings.symbols:
        if segment not in settings.segments:
            yield f"segments.{segment}.threshold: missing, and symbols.{segment} needs it"


def followed(settings: Settings) -> Iterator[str]:
    if settings.decide.interval not in settings.binance.intervals:
        among = ", ".join(settings.binance.intervals)
        yield f"decide.interval: must be in binance.intervals ({among}); was {settings.decide.interval!r}"


RULES: Final[tuple[tuple[tuple[str, ...], Callable[[Settings], Iterator[str]]], ...]] = (
    (("symbols",), once_each),
    (("symbols", "segments"), measured),
    (("decide", "binance"), followed),
)
"""What must hold between blocks, each with the blocks it reads."""
