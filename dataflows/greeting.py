"""What `up` tells the person who started it: how the start goes, the first signals, and any turn after that.

It knows the engine only as every client does, through the API.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import floor, log10
from typing import Any, Final

import httpx
from rich import box
from rich.table import Table

Say = Callable[[str | Table], None]

STARTING: Final = 0.5
RUNNING: Final = 5.0
"""Seconds between two questions, until the first signals and from then on."""

PATIENCE: Final = 10.0
"""Seconds after the first signal that the others are waited for."""

GRAVE: Final = ("fault", "REST", "Redis", "silent")
"""How the reasons begin that are no mere part of a start."""

COLUMNS: Final = ("symbol", "direction", "confidence", "score", "entry", "stop", "target", "degraded")


class Greeting:
    """Asks the API at `site` now and then; only signals published after it was made count as first ones."""

    def __init__(self, site: str, symbols: Sequence[str], key: str | None = None) -> None:
        self.site = site
        self.symbols = symbols
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # A proxy has nothing to do with what listens on this machine.
        self._client = httpx.Client(base_url=site, timeout=2.0, headers=headers, trust_env=False)
        self._since = round(time.time() * 1000)
        self._due = 0.0
        self._stage = ""
        self._first: float | None = None
        self.greeted = False
        self._told = self._seen = "healthy"
        self._models = ""

    def news(self) -> list[str | Table]:
        """What there is to tell since the last time; nothing until it is time to ask again."""
        if time.monotonic() < self._due:
            return []
        self._due = time.monotonic() + (RUNNING if self.greeted else STARTING)
        health = self._ask("/health")
        return [*self._turn(health), *self._training()] if self.greeted else list(self._start(health))

    def close(self) -> None:
        """Ask no more."""
        self._client.close()

    def _ask(self, path: str) -> dict[str, Any]:
        try:
            found = self._client.get(path).json()
        except (httpx.HTTPError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _start(self, health: Mapping[str, Any]) -> Iterator[str | Table]:
        """Each stage once, then the table of first signals."""
        signals = [s for s in self._ask("/signals").get("signals", []) if s["published_at"] >= self._since]
        stage = stage_of(health)
        if stage != self._stage and not signals:
            self._stage = stage
            yield stage
        if signals and self._first is None:
            self._first = time.monotonic()
        if self._first is None:
            return
        if len(signals) >= len(self.symbols) or time.monotonic() - self._first > PATIENCE:
            self.greeted = True
            yield first_signals(signals, len(self.symbols))
            yield from self._addresses(signals[0]["symbol"])

    def _addresses(self, symbol: str) -> Iterator[str]:
        yield f"all of them  {self.site}/signals"
        yield f"one of them  {self.site}/signals/{symbol}"
        yield f"as they come {self.site.replace('http', 'ws', 1)}/ws/signals"
        yield f"how it is    {self.site}/health   every endpoint {self.site}/docs   Ctrl-C ends it all"

    def _turn(self, health: Mapping[str, Any]) -> Iterator[str]:
        """A change of health that was there twice in a row."""
        status = str(health.get("status", "unhealthy: the API does not answer"))
        if status == self._seen != self._told:
            reasons = "; ".join(health.get("reasons", []))
            yield f"{status}: {reasons}" if reasons else status
            self._told = status
        self._seen = status

    def _training(self) -> Iterator[str]:
        """Where the models are, each time that is something new."""
        found = training_of(self._ask("/models/status"))
        if found and found != self._models:
            self._models = found
            yield found


def training_of(status: Mapping[str, Any]) -> str:
    """What training is at, in words, in steps worth telling; nothing where nobody trains.

    >>> training_of({"state": "training", "progress": {"stage": "folds", "share": 0.47}})
    'models: training 40 %'
    >>> training_of({"state": "failed", "reason": "WIFUSDT has 120 candles"})
    'models: training failed: WIFUSDT has 120 candles'
    """
    state = status.get("state")
    if state in ("collecting", "training"):
        share = (status.get("progress") or {}).get("share") or 0
        return f"models: {'collecting candles' if state == 'collecting' else state} {20 * floor(5 * share)} %"
    if state == "failed":
        return f"models: training failed: {status.get('reason')}"
    spoken = [speech(name, model) for name, model in (status.get("models") or {}).items()]
    if spoken or state != "trained":
        return f"models: {'; '.join(spoken)}" if spoken else ""
    return f"models: {status.get('reason')}"


def speech(name: str, model: Mapping[str, Any]) -> str:
    """Since when a model's version speaks, and where it has no skill."""
    begins = datetime.fromtimestamp(model["serves_from"] / 1000, UTC)
    unskilled = [segment for segment, found in model["segments"].items() if found.get("skill") is False]
    lacks = f", without skill on {', '.join(unskilled)}" if unskilled else ""
    if model["expired"]:
        return f"{name} {model['version']} is too old to be used"
    return f"{name} {model['version']} speaks from {begins:%Y-%m-%dT%H:%M:%SZ} on{lacks}"


def stage_of(health: Mapping[str, Any]) -> str:
    """How far a start is, in words, in steps worth telling.

    >>> stage_of({"phase": "warming", "progress": 0.26, "reasons": ["warming 26 %"]})
    'warming 20 %'
    >>> stage_of({"phase": None, "reasons": ["Redis unreachable: refused"]})
    'waiting for the flow (Redis unreachable: refused)'
    """
    if not health:
        return "waiting for the API"
    stage = {
        None: "waiting for the flow",
        "starting": "connecting to the exchange",
        "warming": f"warming {10 * floor(10 * (health.get('progress') or 0))} %",
        "serving": "warm, waiting for the next close",
    }.get(health.get("phase"), "starting")
    grave = [reason for reason in health.get("reasons", []) if reason.startswith(GRAVE)]
    return f"{stage} ({'; '.join(grave)})" if grave else stage


def first_signals(signals: Sequence[Mapping[str, Any]], expected: int) -> Table:
    """The first signals as people read them; what all of them lack is said once, below."""
    shared = set.intersection(*(set(signal["degraded"]) for signal in signals))
    newest = max(signals, key=lambda signal: signal["time"])
    missing = f", {expected - len(signals)} symbols have none yet" if len(signals) < expected else ""
    table = Table(
        title=f"first signals: {newest['feed']} market, close {newest['time_iso']}{missing}",
        caption=f"degraded, all of them: {', '.join(sorted(shared)) or 'nothing'}",
        box=box.SIMPLE,
        pad_edge=False,
    )
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("symbol", "direction", "degraded") else "right")
    for one in signals:
        levels = (price(one[name]) for name in ("entry", "stop_loss", "take_profit"))
        lacks = "; ".join(lack for lack in one["degraded"] if lack not in shared)
        numbers = (f"{one['confidence']:.1f}", f"{one['score']:+.1f}")
        table.add_row(one["symbol"], one["direction"], *numbers, *levels, lacks)
    return table


def price(value: float | None) -> str:
    """A price with five digits that count, two decimals at least; nothing where there is no level.

    >>> price(67012.3), price(0.00001254), price(None)
    ('67012.30', '0.000012540', '')
    """
    if not value:
        return ""
    return f"{value:.{max(2, 4 - floor(log10(value)))}f}"
