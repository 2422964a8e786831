"""Token Terminal as the companion plays it: one metric of many projects, a row a day."""

from __future__ import annotations

from typing import Any, Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import DAY, Numbers
from engine.providers.fields import instant, stamp
from engine.providers.token_terminal import PROJECTS

USUAL: Final = {
    "revenue": (400_000.0, 0.15),
    "fees": (1_500_000.0, 0.15),
    "earnings": (250_000.0, 0.2),
    "tvl": (6e9, 0.03),
    "user_dau": (420_000.0, 0.08),
    "market_cap_fully_diluted": (2e10, 0.05),
    "pf_fully_diluted": (36.0, 0.08),
    "ps_fully_diluted": (137.0, 0.08),
}
"""Of each metric what it usually is, and the spread of its logarithm."""

COUNTS: Final = {"user_dau"}
MOST: Final = 40
"""Days that are told at most."""


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """What Token Terminal would say at `now`; of today there is no row yet."""
    if not request.headers.get("authorization", "").startswith("Bearer "):
        return Answer.of({"message": "invalid token"}, 403)
    room, _, metric = request.path.removeprefix("/").partition("/")
    if room != "metrics" or metric not in USUAL:
        return Answer.of({"message": f"metric {metric[:40]} not found"}, 400)
    projects = request.query.get("project_ids", "").split(",")
    unknown = sorted(set(projects) - set(PROJECTS.values()))
    if unknown:
        return Answer.of({"message": f"project {unknown[0][:40]} not found"}, 400)
    today = now // DAY * DAY
    begin = max(instant(request.query.get("start")) or 0, today - MOST * DAY)
    data = [
        row(numbers, metric, project, time)
        for time in range(today - DAY, begin - 1, -DAY)
        for project in projects
    ]
    return Answer.of({"data": data})


def row(numbers: Numbers, metric: str, project: str, time: int) -> dict[str, Any]:
    """One day of one project."""
    value = numbers.amount(f"token_terminal.{metric}", project, time, *USUAL[metric])
    return {
        "timestamp": stamp(time).replace("Z", ".000Z"),
        "project_name": project.replace("-", " ").title(),
        "project_id": project,
        metric: round(value) if metric in COUNTS else value,
    }
