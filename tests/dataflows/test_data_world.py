"""What the data world shows, says and writes, and that signals need none of it: see `data_world`."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from bytewax.testing import cluster_main, run_main

from dataflows.connectors.ingest import STOP
from dataflows.connectors.journal import Journaled
from dataflows.signals import build
from dataflows.world import World
from engine.providers import PROVIDERS
from engine.records import Headline, Metric, Outcome, Signal
from engine.settings import load
from engine.signal_json import canonical
from tests.dataflows.data_world import (
    CANARY,
    HARMLESS,
    HOSTILE,
    SYMBOLS,
    Said,
    Story,
    key_of,
    promised,
    tell,
)
from tests.dataflows.test_flow import Listener, Script


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with tell(tmp_path_factory.mktemp("data_world")) as told:
        yield told


def written(secret: str) -> list[bytes]:
    """A secret as it may stand anywhere: as it is, in any case, and in base64, wherever that begins."""
    shifted = [base64.b64encode(b"x" * at + secret.encode())[4:-4] for at in range(3)]
    return [secret.encode().lower(), *(form.lower() for form in shifted)]


def test_every_source_is_well_and_tells_the_age_of_each_metric(story: Story) -> None:
    for name in PROVIDERS:
        body = story.well[name]
        ages = {metric: told["age"] for metric, told in body["metrics"].items()}

        assert (body["state"], body["error"], body["breaker"]) == ("ok", None, "closed")
        assert body["last_success"] > 0
        assert body["latency_ms"] > 0
        assert ages.keys() == promised(name)
        assert all(age >= 0 for age in ages.values()), ages
    assert len(story.well["binance_futures"]["metrics"]) >= 12
    assert story.well["news"]["metrics"]["headlines"]["assets"] > 0


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_signal_hears_both_layers_and_names_its_sources(story: Story, symbol: str) -> None:
    said = story.newest(symbol, story.killed_at)
    onchain, sentiment = said["layers"]["onchain"], said["layers"]["sentiment"]
    heard = {source for source in said["sources"] if not source.startswith("binance.")}

    assert onchain["coverage"] > 0.6
    assert sentiment["coverage"] > 0.4
    assert {"funding", "crowding", "mood", "capital"} <= {one["component"] for one in onchain["reasons"]}
    assert {"market_news", "social"} <= {one["component"] for one in sentiment["reasons"]}
    assert all(one["text"] for one in (*onchain["reasons"], *sentiment["reasons"]))
    assert {"binance", "news", "alternative_me", "coingecko", "defillama", "kaiko"} <= heard
    assert len(heard & set(PROVIDERS)) >= 12, heard
    assert all(at <= said["time"] for at in said["sources"].values())


def test_each_key_reached_its_provider_and_nobody_else(story: Story) -> None:
    keyed = {name for name, provider in PROVIDERS.items() if provider.key}

    assert story.shown.keys() == keyed
    assert all(held.endswith(key_of(name)) for name, held in story.shown.items())


def test_no_key_is_in_any_log_file_table_status_or_answer(story: Story) -> None:
    found = {
        place
        for place, text in story.texts.items()
        for form in written(CANARY)
        if form in text.lower()
    }  # fmt: skip

    assert not found
    # What is there is found, in each kind of place.
    for place, words in {
        "file flow.log": b"DEBUG:httpcore",
        "file journal.db": b"glassnode.nupl",
        "file record.db": b"onchain",
        "file recovery/part-0.sqlite3": b"SQLite format 3",
        "redis status:providers": b"no such key: ***",
        "GET /providers/status": b"no such key: ***",
        "GET /metrics": b"signal_engine_",
        "GET /signals/BTCUSDT": b"onchain",
    }.items():
        assert words in story.texts[place], place


def test_providers_that_misbehave_are_told_by_name_and_delay_no_signal(story: Story) -> None:
    for name, fault in HOSTILE.items():
        body = story.ill[name]
        if name in HARMLESS:
            assert body["state"] == "ok", (name, body["reason"])
        elif fault != "nulls":
            assert body["state"] in ("down", "stale"), (name, fault)
            assert body["error"]["class"]
            assert name in body["error"]["message"], (name, body["error"])
    assert story.ill["glassnode"]["breaker"] == "open"
    assert story.ill["binance_futures"]["state"] == "ok"
    closes = sorted({at for kind, _, at in story.said if kind == "signal"})
    assert closes == list(range(closes[0], closes[-1] + 1, 60_000))
    assert closes[-1] > story.ill_at > story.killed_at


def test_what_was_known_before_the_kill_is_known_after_it(story: Story) -> None:
    before, after = story.newest("BTCUSDT", story.killed_at), story.newest("BTCUSDT")
    lost = {name for name in before["sources"] if name not in after["sources"]}

    assert not lost
    assert after["layers"]["onchain"]["coverage"] > 0.6
    assert "glassnode" in after["sources"]


@pytest.fixture(autouse=True)
def running() -> Iterator[None]:
    STOP.clear()
    yield
    STOP.clear()


def replayed(story: Story, records: Sequence[Journaled], workers: int = 1) -> Said:
    """What a fresh flow says of these records."""
    listener = Listener()
    flow = build(World(Script(records, 500), listener), load("config.yaml", dict(story.settings)))
    if workers == 1:
        run_main(flow)  # type: ignore[no-untyped-call]
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)  # type: ignore[no-untyped-call]
    return {
        ("signal" if isinstance(one, Signal) else "outcome", one.symbol, one.time): canonical(one)
        for one in listener.said
        if isinstance(one, Signal | Outcome)
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_the_journal_alone_says_the_same_bytes(story: Story, workers: int) -> None:
    again = replayed(story, story.records, workers)

    assert {key: again.get(key) for key in story.said} == story.said
    assert sum(isinstance(record, Metric) for record in story.records) > 1000
    assert sum(isinstance(record, Headline) for record in story.records) > 50


def without(story: Story, source: str) -> dict[str, Any]:
    """The last signal of BTC, had a source, "news" or "" for all of them, been switched off."""

    def kept(record: Journaled) -> bool:
        if isinstance(record, Headline):
            return source not in ("", "news")
        return not isinstance(record, Metric) or (source != "" and not record.name.startswith(f"{source}."))

    said = replayed(story, [record for record in story.records if kept(record)])
    last = max(key for key in story.said if key[:2] == ("signal", "BTCUSDT"))
    found: dict[str, Any] = orjson.loads(said[last])
    assert said.keys() >= {key for key in story.said if key[0] == "signal"}
    return found


@pytest.mark.parametrize(
    ("source", "layer", "missing"),
    [
        ("binance", "onchain", ("funding", "liquidations")),
        ("alternative_me", "onchain", ("mood",)),
        ("news", "sentiment", ("news",)),
    ],
)
def test_without_a_source_its_layer_covers_less_and_the_signal_says_why(
    story: Story, source: str, layer: str, missing: Sequence[str]
) -> None:
    whole, less = story.newest("BTCUSDT"), without(story, source)
    why = next((text for text in less["degraded"] if text.startswith(f"{layer} without ")), "")

    assert less["layers"][layer]["coverage"] < whole["layers"][layer]["coverage"]
    assert set(missing) <= set(why.removeprefix(f"{layer} without ").split(", ")), less["degraded"]
    assert source not in less["sources"]


def test_without_any_source_signals_still_flow_and_say_that_both_layers_are_silent(story: Story) -> None:
    less = without(story, "")

    assert {"layer onchain silent", "layer sentiment silent"} <= set(less["degraded"])
    assert less["layers"]["onchain"]["coverage"] == less["layers"]["sentiment"]["coverage"] == 0
    assert less["layers"]["technical"]["coverage"] > 0
    assert all(name.startswith("binance.") for name in less["sources"])
