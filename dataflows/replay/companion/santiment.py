"""Santiment's side: GraphQL for the one question that is asked of it, errors with status 200."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import DAY, Numbers
from engine.providers.santiment import ASSETS, SERIES

HOUR: Final = 3_600_000
MOST: Final = 100
"""Rows that one answer holds."""

METRIC: Final = re.compile(r'getMetric\(metric: ?"([a-z0-9_]+)"\)')
SLUG: Final = re.compile(r"slugs: ?\[([^\]]*)\]")
SPAN: Final = re.compile(r'from: ?"utc_now-(\d{1,4})([hd])".*interval: ?"1([hd])"')
MS: Final[Mapping[str, int]] = {"h": HOUR, "d": DAY}

USUAL: Final[Mapping[str, tuple[float, float]]] = {
    "social_volume_total": (60.0, 0.5),
    "whale_transaction_count_100k_usd_to_inf": (900.0, 0.3),
    "whale_transaction_count_1m_usd_to_inf": (120.0, 0.4),
    "mvrv_usd": (1.7, 0.2),
    "mvrv_usd_30d": (1.02, 0.08),
    "mean_age": (900.0, 0.003),
    "mean_dollar_invested_age": (420.0, 0.005),
    "age_consumed": (4e6, 0.6),
    "dev_activity": (85.0, 0.2),
}
"""What is usual of each, and the spread of its logarithm."""

WHOLE: Final = frozenset({"social_volume_total", *(name for name in USUAL if name.startswith("whale"))})
"""Counts, which have no fraction."""

NAMES: Final = frozenset(series.metric for series in SERIES.values())


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """What the real one answers to `request` at `now`, with simulated values."""
    if request.path != "/graphql":
        return Answer(404, b"Not Found", kind="text/plain")
    if not request.headers.get("authorization", "").startswith("Apikey "):
        return Answer.of({"errors": {"details": "The Apikey is missing or not valid"}}, 401)
    text = query(request.body)
    metric, slugs, span = METRIC.search(text), SLUG.search(text), SPAN.search(text)
    if metric is None or slugs is None or span is None:
        return wrong("syntax error before: '}'", None)
    if metric[1] not in NAMES:
        return wrong(f"The metric '{metric[1]}' is not supported or is mistyped.", None)
    step = MS[span[3]]
    count = min(int(span[1]) * MS[span[2]] // step, MOST)
    times = [(now // step - back) * step for back in range(count, -1, -1)]
    known = [slug for slug in re.findall(r'"([^"]+)"', slugs[1]) if slug in ASSETS]
    found = [
        {"datetime": iso(time), "data": [point(metric[1], slug, time, numbers) for slug in known]}
        for time in times
    ]
    return said({"data": {"getMetric": {"timeseriesDataPerSlugJson": found}}})


def query(body: bytes) -> str:
    """The GraphQL in a body, "" where there is none."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    return str(told.get("query", "")) if isinstance(told, dict) else ""


def point(metric: str, slug: str, time: int, numbers: Numbers) -> dict[str, Any]:
    """One value of one asset."""
    value = numbers.amount(metric, slug, time, *USUAL[metric])
    return {"slug": slug, "value": round(value) if metric in WHOLE else round(value, 6)}


def wrong(text: str, data: Any) -> Answer:
    """An error, which comes with status 200."""
    told = {"message": text, "path": ["getMetric"], "locations": [{"line": 1, "column": 3}]}
    return said({"data": data, "errors": [told]})


def said(body: Any) -> Answer:
    """An answer with what is left of the quotas."""
    left = (("x-ratelimit-remaining-month", "990"), ("x-ratelimit-remaining-minute", "99"))
    return Answer(200, orjson.dumps(body), (("x-ratelimit-remaining", "99"), *left))


def iso(time: int) -> str:
    return datetime.fromtimestamp(time // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
