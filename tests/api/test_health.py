from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.board import Board, Entry, Statuses
from api.health import View, judge
from api.models import Health
from api.providers import providers
from engine.signal_json import publish_bytes
from tests.api.conftest import (
    CLOSE,
    FIVE,
    Publisher,
    Relay,
    Valkey,
    models_status,
    serving_status,
    signal,
    streams_status,
    until,
)

NOW = 1_800_000_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def known(**changed: Any) -> Board:
    """A healthy engine's board at `NOW`, but for what is changed; a status that is None is not there."""
    board = Board(SYMBOLS)
    at = changed.pop("signal_time", CLOSE)
    for seq, symbol in enumerate(SYMBOLS, 1):
        board.add(Entry.read("signal", publish_bytes(signal(symbol, at), seq, NOW)))
    board.redis, board.redis_fault, board.loaded = "up", None, True
    serving = changed.pop("serving", {})
    streams = changed.pop("streams", {})
    board.learn(
        Statuses(
            read_at=changed.pop("read_at", NOW),
            heartbeat=changed.pop("heartbeat", NOW),
            serving=None if serving is None else serving_status(NOW, SYMBOLS, **serving),
            streams=None if streams is None else streams_status(NOW, SYMBOLS, **streams),
            **{"models": models_status(), **changed},
        )
    )
    return board


def verdict(board: Board, now: int = NOW) -> Health:
    return judge(View(board, now, "5m", 5.0))


def symbols(**states: str) -> dict[str, dict[str, str]]:
    return {name: {"state": states.get(name, "ok")} for name in SYMBOLS}


def test_fresh_data_and_fresh_signals_are_healthy() -> None:
    found = verdict(known())

    assert found.status == "healthy"
    assert found.reasons == []
    assert found.stream_time == CLOSE + 20_000
    assert found.symbols["BTCUSDT"].last_close_age == 20
    assert found.symbols["BTCUSDT"].signal_age == 20
    assert (found.feed, found.version, found.interval) == ("simulated", "0.1.0", "5m")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"heartbeat": None}, "no heartbeat: the engine is not running"),
        ({"heartbeat": NOW - 23_000}, "stale heartbeat: 23 s old"),
        ({"serving": None}, "no engine status in Redis"),
        ({"serving": {"written_at": NOW - 40_000}}, "stale engine status: 40 s old"),
        ({"streams": None}, "no stream status in Redis"),
        ({"streams": {"written_at": NOW - 40_000}}, "stale stream status: 40 s old"),
        ({"read_at": NOW - 12_000}, "the API has not read Redis for 12 s"),
        ({"serving": {"last_close": {}}}, "no stream data: no 5m close has come"),
        ({"streams": {"connections": []}}, "no connection to the exchange is open"),
        ({"streams": {"connections": [{"state": "reconnecting"}]}}, "no connection to the exchange is open"),
        ({"serving": {"faults": ["disk full"]}}, "fault: disk full"),
        ({"streams": {"faults": ["SHIBUSDT late"]}}, "fault: SHIBUSDT late"),
        (
            {"streams": {"rest": {"state": "banned", "retry_at": CLOSE}}},
            "REST banned by the exchange until 2026-11-22T16:05:00Z",
        ),
        ({"streams": {"symbols": symbols(ETHUSDT="silent")}}, "silent: ETHUSDT"),
        ({"serving": {"last_close": {"BTCUSDT": CLOSE}}}, "silent: ETHUSDT"),
        (
            {"serving": {"last_close": {"BTCUSDT": CLOSE, "ETHUSDT": CLOSE - 2 * FIVE}}},
            "silent: ETHUSDT",
        ),
        (
            {"signal_time": CLOSE - 2 * FIVE},
            "publisher lag: the newest signal is of 2026-11-22T15:55:00Z,"
            " the newest close 2026-11-22T16:05:00Z",
        ),
        ({"serving": {"record": {"waiting": 500}}}, "publisher lag: 500 records are not in Redis yet"),
        ({"serving": {"phase": "stopping"}}, "stopping"),
        ({"serving": {"phase": None}}, "the engine does not say what it is doing"),
    ],
)
def test_each_fault_alone_is_unhealthy_and_named(changed: dict[str, Any], reason: str) -> None:
    found = verdict(known(**changed))

    assert found.status == "unhealthy"
    assert found.reasons == [reason]


@pytest.mark.parametrize("phase", ["starting", "warming"])
def test_an_engine_that_is_not_ready_is_not_healthy(phase: str) -> None:
    found = verdict(known(serving={"phase": phase, "progress": 0.404, "last_close": {}}))

    assert found.status == "warming"
    assert found.reasons == ["warming 40 %" if phase == "warming" else "starting"]


def test_warming_hides_no_other_fault() -> None:
    found = verdict(known(serving={"phase": "warming", "progress": 0.4}, heartbeat=None))

    assert found.status == "unhealthy"
    assert "no heartbeat: the engine is not running" in found.reasons


def test_nothing_known_is_not_healthy() -> None:
    found = verdict(Board(SYMBOLS))

    assert found.status == "unhealthy"
    assert found.reasons == ["Redis unreachable: not asked yet"]


def test_no_signal_at_all_is_not_healthy() -> None:
    board = known()
    board.latest.clear()

    assert verdict(board).reasons == ["no signal yet: the newest close is 2026-11-22T16:05:00Z"]


@pytest.mark.parametrize(("late_by", "healthy"), [(FIVE + 20_000, True), (FIVE + 20_001, False)])
def test_a_close_may_be_an_interval_the_grace_and_the_margin_old(late_by: int, healthy: bool) -> None:
    found = verdict(known(serving={"stream_time": CLOSE + late_by}))

    assert (found.status == "healthy") is healthy
    if not healthy:
        assert found.reasons == ["no 5m close since 2026-11-22T16:05:00Z: 5 min of stream time"]


@pytest.mark.parametrize(("wall", "healthy"), [(14_000, True), (20_000, False)])
def test_age_is_measured_in_stream_time_that_runs_on(wall: int, healthy: bool) -> None:
    # At sixty times the speed, 14 s are 14 min, and the margin of 15 s is 15 min.
    board = known(serving={"stream_rate": 60.0, "stream_time": CLOSE + 20_000 + 60_000})
    assert board.statuses is not None
    board.learn(Statuses(NOW + wall, NOW + wall, board.statuses.serving, board.statuses.streams))
    found = verdict(board, NOW + wall)

    assert found.stream_time == CLOSE + 80_000 + 60 * wall
    assert (found.status == "healthy") is healthy


def test_a_stream_time_that_stands_still_is_noticed_by_our_own_clock() -> None:
    board = known()
    later = NOW + FIVE + 20_001
    serving = serving_status(later, SYMBOLS)
    board.learn(Statuses(later, later, serving, streams_status(later, SYMBOLS)))
    found = verdict(board, later)

    assert found.reasons == ["no new 5m close for 5 min by our own clock"]


def test_a_halted_and_an_absent_symbol_are_no_fault_of_ours() -> None:
    board = known(streams={"symbols": symbols(ETHUSDT="halted")}, serving={"last_close": {"BTCUSDT": CLOSE}})

    assert verdict(board).status == "healthy"
    assert verdict(board).notes == ["halted: ETHUSDT"]


def test_being_limited_is_a_note() -> None:
    found = verdict(known(streams={"rest": {"state": "limited", "retry_at": None}}))

    assert (found.status, found.notes) == ("healthy", ["REST limited by the exchange"])


@pytest.mark.parametrize(
    ("models", "notes"),
    [
        (None, ["models: no training process writes a status to this Redis"]),
        (models_status(state="none", models={}), ["models: none speaks yet"]),
        (
            models_status(state="failed", reason="WIFUSDT has 120 candles"),
            ["models: the last training failed: WIFUSDT has 120 candles"],
        ),
        (
            models_status(version={"expired": True}),
            ["model boosted: version 20261122T0300Z-0123abcd is too old to be used"],
        ),
        (
            models_status(version={"speaks": False}),
            ["model boosted: version 20261122T0300Z-0123abcd speaks from 2026-11-22T16:05:00Z on"],
        ),
        (models_status(version={"speaks": False, "serves_from": 1e30}), []),
        (models_status(state=5, models=[]), ["models: none speaks yet"]),
        (models_status(models={"boosted": 5}), []),
    ],
)
def test_models_that_are_missing_or_too_old_are_a_note_and_no_fault(models: Any, notes: list[str]) -> None:
    found = verdict(known(models=models))

    assert (found.status, found.notes) == ("healthy", notes)


def test_health_is_200_only_when_healthy(relay: Relay, publisher: Publisher) -> None:
    assert relay.get("/health").status_code == 503

    publisher.publish(signal("BTCUSDT"), signal("ETHUSDT"))
    publisher.healthy()
    until(lambda: relay.get("/health").status_code == 200, "healthy")

    assert relay.get("/health").json()["reasons"] == []

    publisher.redis.delete("heartbeat")
    until(lambda: relay.get("/health").status_code == 503, "the missing heartbeat is noticed")

    assert relay.get("/health").json()["reasons"] == ["no heartbeat: the engine is not running"]


def test_a_redis_that_hangs_is_noticed(relay: Relay, publisher: Publisher, valkey: Valkey) -> None:
    publisher.publish(signal("BTCUSDT"), signal("ETHUSDT"))
    publisher.healthy()
    until(lambda: relay.get("/health").status_code == 200, "healthy")
    valkey.hang()
    until(lambda: relay.get("/health").status_code == 503, "the silence is noticed")
    reasons = relay.get("/health").json()["reasons"]
    valkey.kill()

    assert reasons[0].startswith("Redis unreachable: Redis does not answer")


def exchange_of(board: Board, now: int = NOW) -> dict[str, Any]:
    return providers(View(board, now, "5m", 5.0)).providers[0].model_dump()


def test_the_exchange_is_a_provider_with_its_weight_and_last_success() -> None:
    assert exchange_of(known()) == {
        "name": "binance",
        "state": "ok",
        "reason": None,
        "last_success": NOW,
        "feed": "simulated",
        "connections": 1,
        "used_weight": 12,
        "budget": 3000,
    }


@pytest.mark.parametrize(
    ("make", "state", "reason"),
    [
        (lambda: Board(SYMBOLS), "down", "not known: Redis unreachable: not asked yet"),
        (lambda: known(heartbeat=None), "down", "no heartbeat: the engine is not running"),
        (lambda: known(streams=None), "down", "no stream status in Redis"),
        (lambda: known(streams={"connections": []}), "down", "no connection to the exchange is open"),
        (lambda: known(streams={"rest": {"state": "banned"}}), "down", "REST banned by the exchange"),
        (lambda: known(streams={"rest": {"state": "limited"}}), "stale", "REST limited by the exchange"),
        (lambda: known(streams={"faults": ["ETHUSDT silent"]}), "stale", "fault: ETHUSDT silent"),
        (lambda: known(serving={"last_close": {}}), "stale", "no 5m close has come yet"),
        (
            lambda: known(serving={"stream_time": CLOSE + 3 * FIVE}),
            "stale",
            "the newest 5m close is 15 min old",
        ),
    ],
)
def test_an_exchange_that_is_not_well_says_why(make: Callable[[], Board], state: str, reason: str) -> None:
    found = exchange_of(make())

    assert (found["state"], found["reason"]) == (state, reason)


def test_other_providers_are_shown_as_they_say() -> None:
    said = {
        "glassnode": {"state": "ok", "last_success": NOW, "requests": 5},
        "kaiko": {"state": "no key", "last_success": None},
        "broken": 5,
    }
    board = known(providers={"written_at": NOW, "providers": said})
    found = [each.model_dump() for each in providers(View(board, NOW, "5m", 5.0)).providers[1:]]

    assert found == [
        {"name": "glassnode", "state": "ok", "reason": None, "last_success": NOW, "requests": 5},
        {"name": "kaiko", "state": "down", "reason": "says 'no key'", "last_success": None},
    ]


def test_providers_are_answered_even_without_an_engine(relay: Relay) -> None:
    answer = relay.get("/providers/status")

    assert answer.status_code == 200
    assert answer.json()["providers"][0]["state"] == "down"
