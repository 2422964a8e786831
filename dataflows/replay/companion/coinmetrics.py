"""Coin Metrics' side: one table of all assets, numbers as text; without a key only the free columns.

The flags that leave out what is not served are honoured; without them one such thing fails the whole call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import DAY, Numbers
from engine.providers.coinmetrics import ASSETS, COLUMNS, HELPERS, PATH
from engine.providers.fields import day, instant

MOST: Final = 60
"""Days that one answer holds."""

PAID: Final = frozenset({"NVTAdj", "NVTAdj90", "CapRealUSD", "RevAllTimeUSD", "SplyUTXOProf"})
"""What the community tier does not hold."""

MINED: Final = frozenset({"HashRate", "RevAllTimeUSD"})
UTXO: Final = frozenset({"SplyUTXOProf"})
PROOF: Final = frozenset({"BTC", "DOGE"})
"""Assets that are mined and made of outputs; columns of that kind are of them alone."""

CAPS: Final[Mapping[str, float]] = {"BTC": 1.9e12, "ETH": 4e11, "SOL": 9e10, "BNB": 9e10, "DOGE": 3e10}

USUAL: Final[Mapping[str, tuple[float, float]]] = {
    "HashRate": (1.05e9, 0.03),
    "NVTAdj": (60.0, 0.2),
    "NVTAdj90": (62.0, 0.05),
    "AdrActCnt": (650_000.0, 0.1),
}
"""What is usual of each whatever the asset, and the spread of its logarithm."""

SHARES: Final[Mapping[str, tuple[float, float]]] = {
    "CapMrktCurUSD": (1.0, 0.05),
    "CapRealUSD": (0.6, 0.004),
    "RevAllTimeUSD": (0.04, 0.001),
    "FlowInExUSD": (0.001, 0.05),
    "FlowOutExUSD": (0.001, 0.05),
    "SplyExNtv": (0.0012, 0.0015),
    "SplyUTXOProf": (0.008, 0.05),
    "SplyCur": (0.01, 0.0001),
}
"""The same of what grows with an asset, as shares of its market cap."""


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """What the real one answers to `request` at `now`, with simulated values."""
    if request.path != PATH:
        return wrong(404, "not_found", "Path not found.")
    query = request.query
    lenient = [query.get(f"ignore_{kind}_errors") == "true" for kind in ("unsupported", "forbidden")]
    assets = [name for name in query.get("assets", "").split(",") if name]
    columns = [name for name in query.get("metrics", "").split(",") if name]
    unknown = [name for name in assets if name.upper() not in ASSETS]
    if not assets or (unknown and not lenient[0]):
        return wrong(400, "bad_parameter", f"Bad parameter 'assets'. Value {unknown[:1]} is not supported.")
    unknown = [name for name in columns if name not in (*COLUMNS, *HELPERS)]
    if not columns or (unknown and not lenient[0]):
        return wrong(400, "bad_parameter", f"Bad parameter 'metrics'. Value {unknown[:1]} is not supported.")
    paid = [name for name in columns if name in PAID and not query.get("api_key")]
    if paid and not lenient[1]:
        return wrong(
            403, "forbidden", f"Requested metric '{paid[0]}' is not available with these credentials."
        )
    known = [name for name in columns if name in (*COLUMNS, *HELPERS) and name not in paid]
    since = instant(query.get("start_time")) or 0
    days = range(max(-(-since // DAY), now // DAY - MOST), now // DAY + 1)
    places = [(name, at) for name in assets if name.upper() in ASSETS for at in days]
    return said({"data": [row(name, at * DAY, known, numbers) for name, at in places]})


def row(name: str, time: int, columns: list[str], numbers: Numbers) -> dict[str, str]:
    """One day of one asset, without the columns that it cannot have."""
    asset = name.upper()
    served = [one for one in columns if asset in PROOF or one not in MINED | UTXO]
    told = {column: f"{level(column, asset, time, numbers):.12f}" for column in served}
    return {"asset": name, "time": f"{day(time)}T00:00:00.000000000Z", **told}


def level(column: str, asset: str, time: int, numbers: Numbers) -> float:
    """One number; MVRV is market cap over realised cap."""
    if column == "CapMVRVCur":
        return level("CapMrktCurUSD", asset, time, numbers) / level("CapRealUSD", asset, time, numbers)
    if column in USUAL:
        return numbers.amount(column, asset, time, *USUAL[column])
    share, spread = SHARES[column]
    return numbers.amount(column, asset, time, share * CAPS.get(asset, 5e9), spread)


def wrong(status: int, kind: str, text: str) -> Answer:
    return Answer.of({"error": {"type": kind, "message": text}}, status)


def said(body: object) -> Answer:
    """An answer with what is left of the quota."""
    told = Answer.of(body)
    return Answer(200, told.body, (("x-ratelimit-limit", "6000"), ("x-ratelimit-remaining", "5999")))
