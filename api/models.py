"""Every answer's shape, for the OpenAPI document and the tests that hold real answers against it.

Bodies from Redis and the record are passed on as they were published, never built anew from these.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Direction = Literal["LONG", "SHORT", "NEUTRAL"]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Ms = Annotated[int, Field(description="UTC in ms")]
Iso = Annotated[str, Field(description="the same as ISO-8601 UTC", examples=["2026-11-22T16:05:00Z"])]


class Shape(BaseModel):
    """An answer with these fields and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reason(Shape):
    component: str
    points: float = Field(description="what it moved the layer's score by")
    text: str


class Layer(Shape):
    score: Annotated[float, Field(ge=-100, le=100)]
    weight_raw: float = Field(description="by market condition, in percent")
    weight: Share = Field(description="after coverage; the weights of one signal sum to 1")
    coverage: Share = Field(description="the share of what the layer reads that was there")
    reasons: list[Reason]


class Thirds(Shape):
    down: Share
    neutral: Share
    up: Share


class Model(Shape):
    """What one model said at a signal's close; null where it has nothing to say, and `fault` says why."""

    version: str | None
    made: int = Field(description="close of the model's own candle it was made at, ms UTC")
    age: Annotated[float, Field(ge=0, description="seconds from `made` to the signal's close")]
    p_up: Share | None = Field(description="calibrated probability of a higher close at the horizon")
    p3: Thirds | None = Field(description="calibrated, at the segment's threshold")
    skill: bool = Field(description="false: it knew nothing on data it had not seen; no side is taken")
    expected_move: float | None = Field(description="mean absolute move to the horizon, a fraction")
    novelty: float | None = Field(description="distance from what it was fitted on; 1 = the farthest usual")
    set: list[Literal["down", "neutral", "up"]] | None = Field(description="holds what comes in 90 %")
    coverage: Share | None = Field(description="share of this symbol's last sets that held what came")
    covered: int = Field(description="how many sets `coverage` is told of")
    contributions: list[tuple[str, float]] = Field(description="(input, log-odds), the largest first")
    fault: str | None


class Signal(Shape):
    """One opinion about one symbol at one close; numbers are finite or null."""

    id: str
    seq: int = Field(description="its place in the record; what `since` and `before_seq` count in")
    symbol: str
    interval: str
    time: int = Field(description="the close it speaks of, ms UTC")
    time_iso: Iso
    horizon_end: int = Field(description="when it is judged, ms UTC")
    horizon_end_iso: Iso
    valid_until: int = Field(description="ms UTC; after this the next one is due")
    valid_until_iso: Iso
    published_at: int = Field(description="when it was committed, ms UTC of this machine")
    direction: Direction
    confidence: Percent = Field(
        description="how likely its direction is right; only a guess while `degraded` holds 'uncalibrated'"
    )
    score: Annotated[float, Field(ge=-100, le=100)]
    p_up: Share | None = Field(description="null until a calibrated model speaks")
    p3: Thirds | None = Field(description="null until a calibrated model speaks")
    position_size: Share
    entry: float
    stop_loss: float | None
    take_profit: float | None
    risk_reward: float | None
    layers: dict[str, Layer]
    degraded: list[str] = Field(description="what was missing when it was made")
    sources: dict[str, int] = Field(description="stream or provider -> as-of time, ms UTC")
    feed: Literal["live", "replay", "simulated"]
    regime: dict[str, Any] | None
    models: dict[str, Model]
    risk: dict[str, float] | None


class Outcome(Shape):
    """What became of a signal at its horizon; `hit` null = candles were missing."""

    id: str
    seq: int
    symbol: str
    time: int
    time_iso: Iso
    direction: Direction
    confidence: Percent
    resolved_at: int
    resolved_at_iso: Iso
    published_at: int
    entry: float
    close: float | None
    move: float | None = Field(description="relative, close to close")
    hit: bool | None


class Signals(Shape):
    seq: int = Field(description="the newest number this answer knows; pass it as `since` to /ws/signals")
    redis: Literal["up", "down"] = Field(description="down: these are the last ones read before it was lost")
    signals: list[Signal]


class History(Shape):
    symbol: str
    source: Literal["record", "log"]
    truncated: bool = Field(description="true: only Redis' log could be read, older ones may exist")
    next_before_seq: int | None = Field(description="pass as `before_seq` for the page before; null: no more")
    signals: list[Signal] = Field(description="newest first")


class SegmentSkill(BaseModel):
    """How a version was judged on one segment, on data it had not seen; a model adds figures of its own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    skill: bool | None = Field(default=None, description="false: its signals are NEUTRAL on its account")
    auc: float | None = Field(default=None, description="of p_up")
    auc_ci: list[float] | None = Field(default=None, description="95 % interval of it")
    brier: float | None = None
    brier_skill: float | None = Field(default=None, description="against the base rate; above 0 is better")
    ece: float | None = Field(default=None, description="expected calibration error of p_up")
    log_loss: float | None = None
    log_loss_base: float | None = Field(default=None, description="of the base rate")
    rows: int | None = None
    rounds: dict[str, int] | None = Field(default=None, description="boosting rounds used")
    reliability: list[list[float]] | None = Field(
        default=None, description="[rows, mean p_up, share that rose] by band of p_up"
    )
    chosen: str | None = Field(default=None, description="which parameters the folds chose")


class ModelStatus(Shape):
    """One model's current version."""

    version: str
    interval: str
    data_from: Ms
    data_until: Ms
    serves_from: Ms
    speaks: bool = Field(description="whether its first moment has come")
    age: float | None = Field(description="seconds of stream time since data_until")
    expires: Ms
    expired: bool = Field(description="too old to be used; its signals say so")
    promoted: bool
    reason: str = Field(description="why it was promoted or not")
    trials: int = Field(description="how many fits were compared")
    segments: dict[str, SegmentSkill]
    gate: dict[str, Any] = Field(description="how it compared with the version before")
    parameters: dict[str, Any]


class Progress(Shape):
    stage: str
    share: Share


class TrainingAttempt(Shape):
    at: Ms = Field(description="when it began, stream time in ms UTC")
    result: Literal["running", "trained", "failed"]
    seconds: float = Field(description="of wall time")
    reason: str
    version: str | None
    promoted: bool


class ModelsStatus(Shape):
    """What training is doing, and what the models are worth. Ages are in stream time."""

    state: Literal["none", "collecting", "training", "trained", "failed"]
    reason: str | None = Field(description="why there is nothing, or nothing new")
    models: dict[str, ModelStatus] = {}
    progress: Progress | None = None
    last_attempt: TrainingAttempt | None = None
    failures: int = Field(default=0, description="failed attempts in a row")
    next_due: int | None = Field(default=None, description="stream time in ms UTC")
    stream_time: int | None = Field(default=None, description="when this was written, stream time in ms UTC")
    written_at: int | None = Field(default=None, description="the same in ms UTC of this machine")
    faults: list[str] = Field(default=[], description="what is wrong around training")
    live: dict[str, Any] = Field(default={}, description="how the models do on what came after")


class Provider(BaseModel):
    """A source of data; a provider of its own adds fields."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    state: Literal["ok", "stale", "down", "disabled"]
    reason: str | None
    last_success: int | None = Field(description="ms UTC")


class Exchange(Provider):
    feed: str | None = None
    connections: int = Field(0, description="open WebSocket connections")
    used_weight: int | None = Field(None, description="REST weight used in this minute")
    budget: int | None = Field(None, description="REST weight the engine allows itself in a minute")


class Providers(Shape):
    providers: list[Provider | Exchange]


class SymbolHealth(Shape):
    state: str = Field(description="ok, silent, halted, absent, or unknown")
    last_close: int | None = Field(description="newest close of the decision interval, ms UTC")
    last_close_age: float | None = Field(description="seconds of stream time since then")
    signal_age: float | None = Field(description="seconds of stream time since its newest signal's close")
    candles: int | None = Field(description="candles of the decision interval seen")


class RedisHealth(Shape):
    state: Literal["up", "down"]
    kind: str = Field(description="embedded, configured, or unknown")


class Health(Shape):
    """Healthy only if fresh data comes in and signals come out, measured in stream time."""

    status: Literal["healthy", "warming", "unhealthy"]
    reasons: list[str] = Field(description="why not healthy; empty if and only if healthy")
    notes: list[str] = Field(description="worth knowing, not a fault")
    stream_time: int | None = Field(description="the exchange's time now, ms UTC, extrapolated")
    stream_rate: float | None
    feed: str | None
    phase: str | None
    progress: float | None
    interval: str | None
    symbols: dict[str, SymbolHealth]
    redis: RedisHealth
    version: str | None = Field(description="of the engine")


class Problem(Shape):
    """Every answer that is not what was asked for."""

    error: str
    details: list[str] = []


class UnknownSymbol(Shape):
    error: str
    known: list[str] = []
    near: list[str] = []
