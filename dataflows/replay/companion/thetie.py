"""The TIE of the replay world: scored and trending articles of the last hours; any key will do."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import Numbers

APART: Final = 20 * 60_000
"""Time between two articles, ms."""

MOST: Final = 60


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    if not request.headers.get("authorization", "").startswith("Bearer "):
        return Answer.of({"message": "Unauthorized"}, 401)
    newest = now // APART
    if request.path == "/news_sentiment":
        limit = request.query.get("limit", "50")
        count = min(int(limit) if limit.isascii() and limit.isdigit() else 50, MOST)
        return Answer.of({"data": [scored(newest - back, numbers) for back in range(count)]})
    if request.path == "/@trending/trending_news/historical":
        told = [spread(newest - back, now, numbers) for back in range(0, 40, 3)]
        return Answer.of({"data": told})
    return Answer.of({"message": "Not Found"}, 404)


def link(slot: int) -> str:
    return sha256(f"article {slot}".encode()).hexdigest()[:32]


def stamp(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def scored(slot: int, numbers: Numbers) -> dict[str, Any]:
    at = slot * APART
    score = numbers.level("news_sentiment", "", at, 3.1, 0.5) + numbers.level(
        "article", str(slot), at, 0, 0.4
    )
    return {
        "link_hash": link(slot),
        "timestamp": stamp(at),
        "sentiment_score": round(min(5.0, max(1.0, score)), 2),
        "sentiment_variance": round(numbers.amount("variance", str(slot), at, 0.5), 3),
    }


def spread(slot: int, now: int, numbers: Numbers) -> dict[str, Any]:
    at = slot * APART
    return {
        "link_hash": link(slot),
        "timestamp": stamp(at),
        "tweet_count": round(numbers.amount("tweets", str(slot), at, 40, 0.8)),
        "seconds_from_publication": (now - at) // 1000,
        "seconds_from_trending": (now - at) // 2000,
    }
