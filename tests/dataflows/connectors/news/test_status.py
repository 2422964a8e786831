"""What the feeds say of themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dataflows.connectors.news import NewsSource, status
from dataflows.connectors.news.feed import Standing
from engine.errors import Refused, SourceError
from engine.settings import Settings

KEYS = {
    "state", "reason", "last_success", "next", "error", "quota", "latency_ms", "breaker", "retry_at",
    "metrics",
}  # fmt: skip
HOUR = 3_600_000
NOW = 1_700_000_000_000
FEEDS = {
    "coins": {"url": "https://coin.example/feed/"},
    "blocks": {"url": "https://block.example/rss", "enabled": False},
}


def source(**news: Any) -> NewsSource:
    settings = Settings.model_validate({"news": {"feeds": FEEDS, **news}})
    return NewsSource(settings, tuple, rng=np.random.default_rng(1))


def standing(**facts: Any) -> Standing:
    return Standing(**{"last_success": 5, "newest": NOW - HOUR, "items": 3, **facts})


def test_every_feed_and_all_of_them_have_a_body_with_the_same_keys() -> None:
    told = source().told()

    assert set(told) == {"news", "news.coins", "news.blocks"}
    assert {frozenset(body) for body in told.values()} == {frozenset(KEYS)}


def test_before_the_first_answer_nothing_is_well() -> None:
    told = source().told()

    assert (told["news"]["state"], told["news.coins"]["state"]) == ("down", "down")
    assert told["news.coins"]["reason"] == "not asked yet"
    assert told["news.blocks"]["state"] == "disabled"


@pytest.mark.parametrize("news", [{"enabled": False}, {"feeds": {}}])
def test_without_feeds_the_news_are_disabled(news: dict[str, Any]) -> None:
    told = source(**news).told()

    assert {body["state"] for body in told.values()} == {"disabled"}
    assert told["news"]["reason"]


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, "ok"),
        ({"newest": NOW + HOUR}, "ok"),
        ({"newest": NOW - 24 * HOUR}, "ok"),
        ({"newest": NOW - 24 * HOUR - 1}, "stale"),
        ({"newest": None}, "stale"),
        ({"newest": None, "items": 0}, "stale"),
        ({"error": SourceError("x"), "failures": 1}, "stale"),
        ({"error": SourceError("x"), "failures": 2}, "stale"),
        ({"error": SourceError("x"), "failures": 3}, "down"),
        ({"error": Refused("x", 403), "failures": 1}, "down"),
        ({"error": SourceError("x"), "failures": 1, "last_success": None}, "down"),
        ({"last_success": None}, "down"),
    ],
)
def test_a_feed_is_as_well_as_its_last_answer_and_its_newest_item(facts: dict[str, Any], state: str) -> None:
    told, reason = status.state(standing(**facts), NOW)

    assert told == state
    assert (reason is None) == (state == "ok")


@pytest.mark.parametrize(
    ("states", "together"),
    [
        ("oooo", "ok"),
        ("oodd", "ok"),
        ("osss", "stale"),
        ("sddd", "stale"),
        ("oddd", "stale"),
        ("dddd", "down"),
    ],
)
def test_all_feeds_together_are_well_while_half_of_them_are(states: str, together: str) -> None:
    kinds = {
        "o": standing(newest=NOW, last_success=9, next=50),
        "s": standing(newest=NOW - 30 * HOUR, assets={"BTC"}, next=40),
        "d": standing(error=Refused("no", 403), error_at=7, failures=1, newest=None, last_success=None),
    }
    ones = source(feeds={f"feed_{n}": FEEDS["coins"] for n in range(len(states))})
    for feed, kind in zip(ones.feeds, states, strict=True):
        feed.standing = kinds[kind]

    told = status.summary(ones.feeds, NOW)

    assert told["state"] == together
    assert (told["reason"] is None) == (set(states) == {"o"})
    assert (told["error"] is not None) == ("d" in states)
    if "o" in states:
        assert told["last_success"] == 9
        assert told["metrics"]["headlines"]["age"] == 0
    if "s" in states:
        assert (told["next"], told["metrics"]["headlines"]["assets"]) == (40, 1)
