"""IntoTheBlock's signals as the companion plays CryptoCompare's route of them."""

from __future__ import annotations

from typing import Any

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import DAY, Numbers
from engine.providers.intotheblock import ASSETS, SIGNALS

SPREADS = {"inOutVar": 4e-3, "addressesNetGrowth": 3e-3, "concentrationVar": 3e-4, "largetxsVar": 5e-2}


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """What CryptoCompare would say at `now`: the signals of the last midnight."""
    if not request.headers.get("authorization", "").startswith("Apikey ") and not request.query.get(
        "api_key"
    ):
        text = "You need a valid auth key or api key to access this endpoint"
        return Answer.of(envelope("Error", text, 1, {}), 401)
    if request.path != "/data/tradingsignals/intotheblock/latest":
        return Answer.of(envelope("Error", "Path does not exist", 1, {}), 404)
    asset = request.query.get("fsym", "")
    if asset not in ASSETS:
        return Answer.of(envelope("Error", f"No signals for symbol {asset}", 2, {}))
    time = now // DAY * DAY
    data: dict[str, Any] = {
        "id": 1000 + len(asset),
        "time": time // 1000,
        "symbol": asset,
        "partner_symbol": asset,
    }
    data |= {theirs: signal(numbers, theirs, asset, time) for theirs in SIGNALS}
    return Answer.of(envelope("Success", "", 100, data))


def signal(numbers: Numbers, theirs: str, asset: str, time: int) -> dict[str, Any]:
    """One signal: its measure, and a score that follows it."""
    value = numbers.level(f"intotheblock.{theirs}", asset, time, 0.0, SPREADS[theirs])
    score = min(max(0.5 + value / SPREADS[theirs] / 6.0, 0.0), 1.0)
    mood = "bullish" if score > 0.75 else "bearish" if score < 0.25 else "neutral"
    return {
        "category": "on_chain",
        "sentiment": mood,
        "value": value,
        "score": score,
        "score_threshold_bearish": 0.25,
        "score_threshold_bullish": 0.75,
    }


def envelope(response: str, message: str, of: int, data: dict[str, Any]) -> dict[str, Any]:
    """What CryptoCompare wraps everything in."""
    return {
        "Response": response,
        "Message": message,
        "HasWarning": False,
        "Type": of,
        "RateLimit": {},
        "Data": data,
    }
