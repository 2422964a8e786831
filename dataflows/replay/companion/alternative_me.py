"""Alternative.me of the replay world: fear and greed, all in text, the newest day first."""

from __future__ import annotations

from typing import Any, Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import DAY, Numbers

BOUNDS: Final = ((25, "Extreme Fear"), (47, "Fear"), (55, "Neutral"), (76, "Greed"), (101, "Extreme Greed"))
MOST: Final = 60
"""Days it has."""


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """The index of as many days as asked for; `limit` 0 = all."""
    if request.path.rstrip("/") != "/fng":
        return Answer(404, b"<html><title>404 Not Found</title></html>", kind="text/html")
    limit = request.query.get("limit", "1")
    if not limit.isascii() or not limit.isdigit():
        return Answer.of(said([], "Invalid limit"), 400)
    today = now // DAY * DAY
    rows = [row(today - back * DAY, numbers) for back in range(min(int(limit) or MOST, MOST))]
    rows[0]["time_until_update"] = str((today + DAY - now) // 1000)
    return Answer.of(said(rows, None))


def said(rows: list[dict[str, str]], error: str | None) -> dict[str, Any]:
    return {"name": "Fear and Greed Index", "data": rows, "metadata": {"error": error}}


def row(day: int, numbers: Numbers) -> dict[str, str]:
    value = round(min(95.0, max(5.0, numbers.level("fear_greed", "", day, 50, 18))))
    word = next(word for bound, word in BOUNDS if value < bound)
    return {"value": str(value), "value_classification": word, "timestamp": str(day // 1000)}
