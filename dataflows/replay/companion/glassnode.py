"""Glassnode's side: daily series under /metrics, errors as text or as an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import DAY, Numbers
from engine.providers.fields import number
from engine.providers.glassnode import BANDS, SERIES

MOST: Final = 60
"""Days that one answer holds."""

PRICES: Final[Mapping[str, float]] = {"BTC": 95_000.0, "ETH": 3_300.0, "LINK": 18.0}
COINS: Final[Mapping[str, float]] = {"BTC": 2.6e6, "ETH": 1.7e7, "LINK": 1.5e8}
"""What an asset costs and how much of it lies on exchanges, about; other tokens are small change."""

USUAL: Final[Mapping[str, tuple[float, float]]] = {
    "nupl": (0.46, 0.08),
    "sopr": (1.01, 0.015),
    "sopr_adjusted": (1.012, 0.016),
    "mvrv_z_score": (1.9, 0.5),
    "puell_multiple": (0.95, 0.25),
    "reserve_risk": (0.0022, 0.0005),
    "leverage_ratio": (0.24, 0.007),
}
"""Mean and deviation of what has no better origin."""

WAVES: Final = (0.01, 0.02, 0.035, 0.07, 0.14, 0.12, 0.12, 0.065, 0.1, 0.067, 0.08, 0.173)
"""The usual share of each band."""

NAMES: Final[Mapping[str, str]] = {f"/metrics/{series.path}": name for name, series in SERIES.items()}


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """What the real one answers to `request` at `now`, with simulated values."""
    metric, asset = NAMES.get(request.path), request.query.get("a", "")
    if not request.query.get("api_key"):
        return said(Answer.of({"error": "api key is missing or not valid"}, 401), left=600)
    if metric is None:
        return Answer.of({"error": "there is no such metric"}, 404)
    if asset not in SERIES[metric].assets:
        return Answer(400, b"unsupported asset", kind="text/plain")
    newest = now // DAY
    since = number(request.query.get("s")) or 0.0
    oldest = max(int(since * 1000) // DAY, newest - MOST)
    told = waves if metric == "hodl_waves" else levels(metric)
    days = [{"t": day * DAY // 1000, **told(asset, day * DAY, numbers)} for day in range(oldest, newest + 1)]
    return said(Answer.of(days), left=598)


def said(answer: Answer, left: int) -> Answer:
    """An answer with what is left of the minute's quota."""
    quota = (("x-rate-limit-remaining", str(left)), ("x-rate-limit-reset", "60"))
    return Answer(answer.status, answer.body, (*answer.headers, *quota), answer.kind)


def levels(metric: str) -> Callable[[str, int, Numbers], dict[str, Any]]:
    def row(asset: str, time: int, numbers: Numbers) -> dict[str, Any]:
        return {"v": round(level(metric, asset, time, numbers), 6)}

    return row


def level(metric: str, asset: str, time: int, numbers: Numbers) -> float:
    """One number; flows are about a percent of what lies on exchanges, the net is in minus out."""
    if metric in USUAL:
        return numbers.level(metric, asset, time, *USUAL[metric])
    if metric == "exchange_netflow":
        came, went = (level(f"exchange_{way}flow", asset, time, numbers) for way in ("in", "out"))
        return came - went
    coins, price = COINS.get(asset, 1e13), PRICES.get(asset, 2e-5)
    if metric == "exchange_balance":
        return numbers.amount(metric, asset, time, coins, 0.0015)
    return numbers.amount(metric, asset, time, 0.01 * coins * price, 0.2)


def waves(asset: str, time: int, numbers: Numbers) -> dict[str, Any]:
    """The shares of all bands, which add up to one."""
    parts = {
        band: numbers.amount(f"hodl_waves_{band}", asset, time, usual, 0.15)
        for band, usual in zip(BANDS, WAVES, strict=True)
    }
    whole = sum(parts.values())
    return {"o": {band: round(part / whole, 6) for band, part in parts.items()}}
