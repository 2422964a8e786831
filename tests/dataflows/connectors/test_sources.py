"""Which sources a run listens to: none of another time than its market's, and no number without a reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from dataflows.connectors.futures import FuturesSource
from dataflows.connectors.news import NewsSource
from dataflows.connectors.providers import Pollers
from dataflows.connectors.sources import FUTURE, Silenced, of_this_time, require_mapped, sources, unmapped
from dataflows.replay.companion.server import environ
from engine.errors import SettingsError
from engine.providers import PROMISES, PROVIDERS
from engine.settings import Settings, load

LIVE = "https://data-api.binance.vision"
HERE = "http://127.0.0.1:9000"
FREE = {"defillama", "alternative_me", "coingecko"}
KEYED = {one.key: f"a-key-of-{at:02}" for at, one in enumerate(PROVIDERS.values()) if one.key}


def settings(folder: Path, exchange: str = LIVE, **knobs: str) -> Settings:
    """The configuration as shipped, its candles from `exchange`."""
    own = {"BINANCE__SPOT__REST": exchange, "STORAGE__FOLDER": str(folder), **knobs}
    return load("config.yaml", {f"SIGNAL_ENGINE_{name}": value for name, value in own.items()})


def replayed(folder: Path, **knobs: str) -> Settings:
    """A replay with its companion and futures beside it."""
    played = {
        name.removeprefix("SIGNAL_ENGINE_"): value
        for name, value in environ("http://127.0.0.1:9001").items()
        if name.startswith("SIGNAL_ENGINE_")
    }
    return settings(folder, HERE, **{**played, "BINANCE__UM__REST": "http://127.0.0.1:9002", **knobs})


def heard(knobs: Settings, keys: Mapping[str, str] | None = None) -> dict[str, Mapping[str, Any]]:
    """How every source says it is before anything ran, by name."""
    found = sources(knobs, keys or {}, tuple)
    return {name: body for one in found for name, body in one.told().items()}


def on(told: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The sources that are not disabled, feeds apart."""
    return {name for name, body in told.items() if body["state"] != "disabled" and "." not in name}


def test_a_live_market_hears_the_free_providers_futures_and_news(tmp_path: Path) -> None:
    found = sources(settings(tmp_path), {}, tuple)

    assert [type(one) for one in found] == [Pollers, FuturesSource, NewsSource]
    assert on(heard(settings(tmp_path))) == {*FREE, "binance_futures", "news"}


def test_a_key_in_the_environment_switches_its_provider_on(tmp_path: Path) -> None:
    knobs = settings(tmp_path)

    assert on(heard(knobs, {"GLASSNODE_API_KEY": "0123456789abcdef"})) - on(heard(knobs)) == {"glassnode"}
    assert on(heard(knobs, KEYED)) >= {name for name, one in PROVIDERS.items() if one.key}


def test_what_is_switched_off_is_not_run(tmp_path: Path) -> None:
    off = {f"PROVIDERS__{name.upper()}__ENABLED": "false" for name in FREE}
    knobs = settings(tmp_path, FUTURES__ENABLED="false", NEWS__ENABLED="false", **off)

    assert [type(one) for one in sources(knobs, {}, tuple)] == [Pollers]
    assert on(heard(knobs)) == set()


def test_a_replay_hears_nothing_of_today_whatever_keys_there_are(tmp_path: Path) -> None:
    told = heard(settings(tmp_path, HERE), KEYED)

    assert on(told) == set()
    assert {name for name, body in told.items() if body["reason"] == FUTURE} == {
        *FREE,
        "binance_futures",
        "news",
    }


def test_a_replay_hears_a_companion_on_this_machine(tmp_path: Path) -> None:
    told = heard(replayed(tmp_path), KEYED)

    assert on(told) == {*PROVIDERS, "binance_futures", "news"}


@pytest.mark.parametrize(
    ("knob", "address", "silent"),
    [
        ("PROVIDERS__COINGECKO__BASE_URL", "https://api.coingecko.com/api/v3", "coingecko"),
        ("PROVIDERS__GLASSNODE__BASE_URL", "https://127.0.0.1.example", "glassnode"),
        ("BINANCE__UM__REST", "https://fapi.binance.com", "binance_futures"),
        ("NEWS__FEEDS", orjson.dumps({"away": {"url": "https://news.example/rss"}}).decode(), "news"),
    ],
)
def test_a_replay_silences_the_one_source_that_is_elsewhere(
    tmp_path: Path, knob: str, address: str, silent: str
) -> None:
    told = heard(replayed(tmp_path, **{knob: address}), KEYED)

    assert {*PROVIDERS, "binance_futures", "news"} - on(told) == {silent}
    assert told[silent]["reason"] == FUTURE


def test_a_replay_asks_the_feeds_on_this_machine_and_no_other(tmp_path: Path) -> None:
    feeds = {"here": {"url": f"{HERE}/feed"}, "away": {"url": "https://news.example/rss"}}
    kept, silenced = of_this_time(replayed(tmp_path, NEWS__FEEDS=orjson.dumps(feeds).decode()))

    assert list(kept.news.feeds) == ["here"]
    assert kept.news.enabled
    assert silenced == {}


def test_a_live_market_keeps_its_settings_as_they_are(tmp_path: Path) -> None:
    knobs = settings(tmp_path)

    assert of_this_time(knobs) == (knobs, {})


def test_a_silenced_source_of_which_nobody_asked_is_not_told_of_twice(tmp_path: Path) -> None:
    names = [name for one in sources(settings(tmp_path, HERE), {}, tuple) for name in one.told()]

    assert set(names) == {*PROVIDERS, "binance_futures", "news"}


async def test_silenced_sources_are_disabled_with_their_reason_and_end_at_once() -> None:
    silenced = Silenced({"news": "it is elsewhere"})
    await silenced.run(None)  # type: ignore[arg-type]

    assert silenced.told()["news"] == {
        "state": "disabled",
        "reason": "it is elsewhere",
        "last_success": None,
        "metrics": {},
    }


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings(tmp_path_factory.mktemp("shipped"))


def test_the_shipped_settings_map_every_metric_that_may_come(shipped: Settings) -> None:
    assert unmapped(shipped) == []
    require_mapped(shipped)


def less(knobs: Settings, gone: str) -> Settings:
    """Settings without one line of `metrics`."""
    lines = {
        source: {name: reader for name, reader in of.items() if f"{source}.{name}" != gone}
        for source, of in knobs.metrics.items()
    }
    return knobs.model_copy(update={"metrics": lines})


def test_a_metric_without_a_line_is_refused_by_its_name(shipped: Settings) -> None:
    for name in PROMISES:
        knobs = less(shipped, name)

        assert unmapped(knobs) == [name]
        with pytest.raises(SettingsError, match=rf"^metrics: no line for {name}: map each"):
            require_mapped(knobs)


def test_statistics_of_futures_need_no_line_where_futures_are_off(shipped: Settings) -> None:
    off = shipped.futures.model_copy(update={"enabled": False})
    knobs = less(shipped, "binance.funding")

    assert unmapped(knobs) == ["binance.funding"]
    assert unmapped(knobs.model_copy(update={"futures": off})) == []
