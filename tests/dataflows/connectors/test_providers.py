"""Providers polled over real sockets: whatever they answer, it ends as a line in the status."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from dataflows.connectors.background import Mailbox
from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.binance.outbox import Outbox
from dataflows.connectors.clock import StreamClock
from dataflows.connectors.hearing import Hearing
from dataflows.connectors.http.breaker import Breaker
from dataflows.connectors.http.budget import Budget
from dataflows.connectors.http.client import Client
from dataflows.connectors.http.limits import Pace
from dataflows.connectors.http.polite import Polite
from dataflows.connectors.http.redaction import LOGGERS, Secrets
from dataflows.connectors.providers import Poller, Pollers
from dataflows.connectors.providers.newest import MOST_AT_FIRST, Newest
from engine.errors import SettingsError, SourceError, Unreadable
from engine.providers.base import HOUR, Promise, Request, fault_of
from engine.records import Metric
from engine.settings import Settings
from engine.settings.keys import provider_keys
from engine.settings.sources import Polled
from tests.dataflows.connectors.http.server import (
    Act,
    Asked,
    Hostile,
    cut,
    drip,
    hang,
    hostile,
    reply,
    reset,
)

NOW = 1_800_000_000_000
KEY = "canary-0123456789-canary"
DEADLINE = 8.0


class Ledger:
    """A journal in memory: what was handed on."""

    def __init__(self) -> None:
        self.records: list[Metric] = []

    def append(self, records: Iterable[Any]) -> list[int]:
        new = list(records)
        self.records += new
        return list(range(len(new)))


class Stream:
    """A stream clock that a test moves, at `rate` as the exchange would."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now
        self.clock = StreamClock(wall=lambda: self.now / 1000, unix=lambda: self.now / 1000)
        self.clock.sample(self.now / 1000, self.now / 1000, now)
        self.journal = Ledger()
        self.outbox = Outbox(self.journal, Mailbox())
        self.hearing = Hearing(self.clock, self.outbox, lambda: self.now)

    @property
    def heard(self) -> list[Metric]:
        return self.journal.records


class Fees:
    """A provider of two daily-looking series for each asset and one number of the market."""

    name = "glassnode"
    key = "GLASSNODE_API_KEY"
    needs_key = True
    metrics: Mapping[str, Promise] = {
        "fees": Promise("USD"),
        "users": Promise("count"),
        "mood": Promise("share", of="market"),
        "old": Promise("USD", gone="it was closed"),
    }
    every: float | None = None

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"x-api-key": key} if key else {}

    def query(self, key: str | None) -> Mapping[str, str]:
        return {"api_key": key} if key else {}

    def requests(self, assets: Iterable[str], now: int) -> Iterable[Request]:
        for asset in assets:
            params = {"a": asset, "since": str(now // 1000 - 3600)}
            yield Request("/fees", params, metric="fees", asset=asset, at=now, every=self.every)

    def parse(self, request: Request, body: Any) -> Iterable[Any]:
        if not isinstance(body, dict) or not isinstance(body.get("rows"), list):
            raise Unreadable(f"{self.name}: fees: no rows in {str(body)[:80]}")
        if "error" in body:
            raise SourceError(f"{self.name}: {body['error']}")
        rows = [(int(at), value) for at, value in body["rows"] if value is not None]
        return [Metric(f"{self.name}.fees", request.asset, at, float(v)) for at, v in sorted(rows)]

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of(self.name, status, headers, str(body))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return float(headers["x-left"]) if "x-left" in headers else None


class Rig:
    """One poller that runs against a server; `told` is its status."""

    def __init__(
        self,
        server: Hostile,
        client: Client,
        folder: Path,
        provider: Any,
        assets: Iterable[str],
        **polled: Any,
    ) -> None:
        self.server = server
        self.stream = Stream()
        self.wall = 0.0
        settings = {"base_url": server.url, "every": 3600, "timeout": 0.1, "per_minute": 100_000, **polled}
        one = Polled.model_validate(settings)
        self.polite = Polite(
            provider.name,
            client,
            Pace(one.per_minute),
            Budget(folder / "x.json", one.per_day, one.per_month),
            Breaker(after=3, wall=lambda: self.wall),
            Backoff(first=0.001, most=0.002, jitter=1.0, rng=np.random.default_rng(0)),
            attempts=2,
        )
        self.poller = Poller(
            provider.name,
            provider,
            one,
            SecretStr(KEY),
            self.polite,
            tuple(assets),
            floor=0.01,
            wall=lambda: self.wall + time.monotonic(),
        )
        self.tasks = [asyncio.create_task(self.stream.outbox.run())]
        self.tasks.append(asyncio.create_task(self.poller.run(self.stream.hearing)))

    @property
    def told(self) -> Mapping[str, Any]:
        (body,) = self.poller.told().values()
        orjson.dumps(body)
        return body

    @property
    def heard(self) -> list[Metric]:
        return self.stream.heard

    async def until(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + DEADLINE
        while not condition():
            for task in self.tasks:
                if task.done():
                    task.result()
            assert time.monotonic() < end, f"it never came: {self.told}, {self.heard[-3:]}"
            await asyncio.sleep(0.002)

    async def polled(self, polls: int = 1) -> None:
        """Wait for that many polls to be over."""
        standing = self.poller._standing
        before = standing.polls
        await self.until(lambda: standing.polls >= before + polls)
        await self.stream.outbox.drained()

    async def later(self, seconds: float) -> None:
        """Let stream time pass, and wait for the poll."""
        self.stream.now += int(seconds * 1000)
        await self.polled()


@asynccontextmanager
async def rig(
    act: Act, folder: Path, provider: Any = None, assets: Iterable[str] = ("BTC",), **polled: Any
) -> AsyncIterator[Rig]:
    async with hostile(act) as server, Client(Secrets([KEY])) as client:
        one = Rig(server, client, folder, provider or Fees(), assets, **polled)
        try:
            yield one
        finally:
            for task in one.tasks:
                task.cancel()
            await asyncio.wait(one.tasks)


def rows(*pairs: tuple[int, Any]) -> Act:
    return reply(200, {"rows": [[NOW + at, value] for at, value in pairs]})


async def test_a_poll_hands_on_what_it_hears_and_says_so(tmp_path: Path) -> None:
    async with rig(rows((-HOUR, 1.5), (-9, 2.5)), tmp_path, assets=("BTC", "ETH")) as one:
        await one.polled()
        told = one.told

        assert [(m.name, m.asset, m.time, m.value) for m in one.heard] == [
            ("glassnode.fees", asset, NOW + at, value)
            for asset in ("BTC", "ETH")
            for at, value in ((-HOUR, 1.5), (-9, 2.5))
        ]
        assert all(metric.learned == NOW for metric in one.heard)
        assert one.server.asked[0].query["api_key"] == one.server.asked[0].headers["x-api-key"] == KEY
        assert (told["state"], told["reason"], told["error"], told["retry_at"]) == ("ok", None, None, None)
        assert told["metrics"] == {"fees": {"age": 0.009, "time": NOW - 9, "assets": 2}}
        assert abs(told["last_success"] - time.time() * 1000) < 5_000
        assert abs(told["next"] - time.time() * 1000 - HOUR) < 5_000
        assert told["latency_ms"] > 0


PACKED = {"content-encoding": "gzip"}

HOSTILE: list[tuple[str, Act, str, str]] = [
    ("an error page", reply(200, b"<html><title>Just a moment...</title>"), "Unreadable", "Just a moment"),
    ("an error page with its status", reply(503, b"<html><title>Busy</title>"), "SourceError", "Busy"),
    ("an error with 200", reply(200, {"rows": [], "error": "limit"}), "SourceError", "limit"),
    ("another shape", reply(200, [1, 2]), "Unreadable", "no rows"),
    ("rows of nothing", reply(200, {"rows": [None]}), "Unreadable", "parse ended with TypeError"),
    ("truncated JSON", reply(200, b'{"rows": [[1, 2'), "Unreadable", "no JSON, or half of it"),
    ("not a number", reply(200, b'{"rows": [[1, NaN]]}'), "Unreadable", "no JSON"),
    ("deep nesting", reply(200, b"[" * 100_000), "Unreadable", "no JSON"),
    ("10 MB", reply(200, b"[" + b" " * (10 << 20) + b"]"), "Unreadable", "larger than 8 MiB"),
    (
        "a bomb",
        reply(200, gzip.compress(bytes(9 << 20)), {"content-encoding": "gzip"}),
        "Unreadable",
        "larger",
    ),
    ("a slow drip", drip, "SourceError", "no whole answer within 0.2 s"),
    ("a hang", hang, "SourceError", "ReadTimeout"),
    ("a reset", reset, "SourceError", "glassnode: /fees"),
    ("half a body", cut, "SourceError", "RemoteProtocolError"),
    ("a redirect loop", reply(302, b"", {"location": "/fees"}), "SourceError", "more than 3 redirects"),
    ("another scheme", reply(302, b"", {"location": "ftp://x/"}), "SourceError", "not followed"),
    ("429 without Retry-After", reply(429, b"slow down"), "RateLimited", "slow down"),
    ("5xx", reply(502), "SourceError", "502"),
    ("a refusal", reply(401, {"error": "bad key " + KEY}), "Refused", "bad key ***"),
    ("garbage", reply(200, b"\xff\xfe\x00"), "Unreadable", "no JSON"),
]


@pytest.mark.parametrize(("act", "kind", "words"), [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
async def test_whatever_comes_the_last_good_answer_stays_and_the_next_one_counts(
    act: Act, kind: str, words: str, tmp_path: Path
) -> None:
    async with rig(rows((-5, 1.0)), tmp_path) as one:
        await one.polled()
        one.server.act = act
        await one.later(3600)
        told = one.told

        assert told["state"] == ("down" if kind == "Refused" or told["breaker"] == "open" else "stale")
        assert (told["error"]["class"], words in told["error"]["message"]) == (kind, True), told
        assert words in told["reason"]
        assert told["metrics"]["fees"] == {"age": 3600.005, "time": NOW - 5, "assets": 1}
        assert KEY not in orjson.dumps(told).decode()
        assert len(one.heard) == 1

        one.server.act = rows((HOUR - 5, 2.0))
        one.wall += 7 * 3600
        await one.until(lambda: one.told["state"] == "ok")
        await one.stream.outbox.drained()
        assert [metric.value for metric in one.heard] == [1.0, 2.0]
        assert one.told["error"] is None


@pytest.mark.parametrize(
    ("act", "values"),
    [
        (rows((-9, 1), (-8, None), (-7, 3)), [1, 3]),
        (rows((-9, "1.5"), (-8, "2e3")), [1.5, 2000]),
        (rows((-7, 3), (-8, 2), (-9, 1)), [1, 2, 3]),
        (reply(200, {"rows": [[NOW - 9, 4]]}, {"content-type": "text/html"}), [4]),
        (reply(200, b"\xef\xbb\xbf" + orjson.dumps({"rows": [[NOW - 9, 5]]})), [5]),
        (
            reply(200, gzip.compress(orjson.dumps({"rows": [[NOW - 9, 6]]})), {"content-encoding": "gzip"}),
            [6],
        ),
        (reply(200, {"rows": [[NOW - 9, 7]], "more": "x" * 400_000}), [7]),
    ],
    ids=["nulls", "numbers as text", "newest first", "wrong type", "a mark", "packed", "large"],
)
async def test_odd_answers_that_hold_what_was_asked_are_read(
    act: Act, values: list[float], tmp_path: Path
) -> None:
    async with rig(act, tmp_path) as one:
        await one.polled()

        assert [metric.value for metric in one.heard] == values
        assert one.told["state"] == "ok"


async def test_only_what_is_new_is_handed_on(tmp_path: Path) -> None:
    async with rig(rows(*((-n, n) for n in range(1, 100))), tmp_path) as one:
        await one.polled()
        assert [metric.time - NOW for metric in one.heard] == list(range(-MOST_AT_FIRST, 0))

        one.heard.clear()
        one.server.act = rows((-2, 0), (-1, 7), (HOUR, 8), (2 * HOUR, 9))
        await one.later(3600)
        assert [(metric.time - NOW, metric.value) for metric in one.heard] == [(-1, 7), (HOUR, 8)]

        one.heard.clear()
        await one.later(3600)
        assert [(metric.time - NOW, metric.value) for metric in one.heard] == [(2 * HOUR, 9)]
        assert one.heard[0].learned == NOW + 2 * HOUR


async def test_a_number_just_ahead_of_our_clock_is_waited_for(tmp_path: Path) -> None:
    async with rig(rows((-1, 1), (300, 2)), tmp_path) as one:
        await one.until(lambda: one.server.asked)
        await asyncio.sleep(0.05)
        one.stream.now += 300
        await one.polled()

        assert [metric.value for metric in one.heard] == [1, 2]
        assert one.heard[1].learned >= one.heard[1].time


async def test_a_number_whose_time_does_not_come_is_held_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.connectors.providers.poller.AHEAD", 0.1)
    async with rig(rows((-1, 1), (50, 2)), tmp_path) as one:
        await one.polled()

        assert [metric.value for metric in one.heard] == [1]


class Odd(Fees):
    def parse(self, request: Request, body: Any) -> Iterable[Any]:
        good = Metric("glassnode.fees", "BTC", NOW - 1, 1.0)
        strangers = [
            replace(good, name="glassnode.price"),
            replace(good, name="glassnode.old"),
            replace(good, name="kaiko.fees"),
            replace(good, asset=""),
            Metric("glassnode.mood", "BTC", NOW - 1, 0.5),
            replace(good, asset="DOGE"),
            "BTC",
        ]
        return [*strangers, good, Metric("glassnode.mood", "", NOW - 1, 0.5)]


async def test_what_was_not_promised_or_not_asked_for_is_not_handed_on(tmp_path: Path) -> None:
    async with rig(reply(200, {}), tmp_path, Odd()) as one:
        await one.polled()

        assert [(metric.name, metric.asset) for metric in one.heard] == [
            ("glassnode.fees", "BTC"),
            ("glassnode.mood", ""),
        ]
        assert one.told["error"]["class"] == "Unreadable"
        assert one.told["state"] == "ok"


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 3)), max_size=60), st.integers(1, 9))
def test_every_number_is_told_once_and_in_order_however_answers_overlap(
    told: list[tuple[int, int]], size: int
) -> None:
    newest = Newest("x", {"fees": Promise("USD")}, ["BTC"])
    heard: list[Metric] = []
    for start in range(0, len(told), size):
        part = dict(told[start : start + size])
        answer = [Metric("x.fees", "BTC", at, float(value)) for at, value in part.items()]
        fresh, strange = newest.sift(answer, until=0)
        again = newest.sift(answer, until=0)[0]
        newest.keep(fresh)
        heard += fresh
        assert (strange, again) == ("", fresh)
        assert newest.sift(answer, until=0)[0] == []

    times = [metric.time for metric in heard]
    assert times == sorted(times)
    assert all(time <= 0 for time in times)
    assert max(times, default=None) == max((at for at, _ in told if at <= 0), default=None)
    assert all((a.time, a.value) != (b.time, b.value) for a, b in pairwise(heard))


class Mixed(Fees):
    """A question for each poll and one for each day; both name the time."""

    def requests(self, assets: Iterable[str], now: int) -> Iterable[Request]:
        yield Request("/fees", {"from": str(now)}, asset="BTC")
        day = {"range": {"from": "2027-01-15T08:00:00Z", "to": str(now)}}
        yield Request("/daily", body=day, asset="ETH", every=86_400)


async def test_daily_questions_are_asked_daily_and_the_source_stays_well(tmp_path: Path) -> None:
    async with rig(rows((-9, 1)), tmp_path, Mixed(), ("BTC", "ETH")) as one:
        await one.polled()
        for _ in range(25):
            await one.later(3600)
            assert one.told["state"] == "ok"

        paths = [asked.path for asked in one.server.asked]
        assert (paths.count("/fees"), paths.count("/daily")) == (26, 2)
        daily = next(asked for asked in one.server.asked if asked.path == "/daily")
        assert (daily.method, daily.headers["content-type"]) == ("POST", "application/json")


async def test_fast_streams_are_polled_no_faster_than_the_floor_and_still_ones_not_at_all(
    tmp_path: Path,
) -> None:
    async with rig(rows((-9, 1)), tmp_path) as one:
        await one.polled()
        await asyncio.sleep(0.1)
        assert len(one.server.asked) == 1

        one.poller._floor = 0.05
        began = time.monotonic()
        while time.monotonic() < began + 0.3:
            one.stream.now += HOUR
            await asyncio.sleep(0.001)
        assert 2 <= len(one.server.asked) <= 8


async def test_one_question_that_is_not_served_is_left_alone_for_a_day_and_harms_no_other(
    tmp_path: Path,
) -> None:
    async def act(asked: Asked, writer: asyncio.StreamWriter) -> None:
        known = asked.query["a"] != "PEPE"
        await (rows((-9, 1)) if known else reply(404, b"unknown asset"))(asked, writer)

    async with rig(act, tmp_path, assets=("PEPE", "BTC")) as one:
        await one.polled()
        assert (one.told["state"], one.told["reason"]) == ("ok", "1 of 2 questions are not served")
        assert one.told["error"]["class"] == "NotServed"

        await one.later(3600)
        assert [asked.query["a"] for asked in one.server.asked] == ["PEPE", "BTC", "BTC"]
        one.wall += 86_400
        await one.later(3600)
        assert [asked.query["a"] for asked in one.server.asked[3:]] == ["PEPE", "BTC"]


async def test_a_failing_question_keeps_no_other_from_being_asked(tmp_path: Path) -> None:
    async def act(asked: Asked, writer: asyncio.StreamWriter) -> None:
        bad = asked.query["a"].startswith("BAD")
        await (reply(500) if bad else rows((-9, 1)))(asked, writer)

    async with rig(act, tmp_path, assets=("BAD1", "BAD2", "BAD3", "BTC")) as one:
        await one.until(lambda: one.told["breaker"] == "open")
        assert one.told["state"] == "down"
        assert all(asked.query["a"] != "BTC" for asked in one.server.asked)

        for _ in range(2):
            one.wall += 3600
            await one.polled()
        assert [metric.asset for metric in one.heard] == ["BTC"]


async def test_answers_that_cannot_be_read_leave_the_others_alone(tmp_path: Path) -> None:
    async def act(asked: Asked, writer: asyncio.StreamWriter) -> None:
        bad = asked.query["a"].startswith("BAD")
        await (reply(200, b"<html>") if bad else rows((-9, 1)))(asked, writer)

    async with rig(act, tmp_path, assets=("BAD1", "BAD2", "BAD3", "BTC")) as one:
        await one.polled()

        assert [metric.asset for metric in one.heard] == ["BTC"]
        assert (one.told["state"], one.told["breaker"]) == ("stale", "closed")
        assert "3 of 4 questions" in one.told["reason"]


async def test_between_polls_only_what_failed_is_asked_again(tmp_path: Path) -> None:
    async def act(asked: Asked, writer: asyncio.StreamWriter) -> None:
        good = asked.query["a"] == "BTC" or one.wall > 0
        await (rows((-9, 1)) if good else reply(200, b"no"))(asked, writer)

    async with rig(act, tmp_path, assets=("BTC", "ETH")) as one:
        await one.polled()
        assert (one.told["state"], one.told["error"]["class"]) == ("stale", "Unreadable")
        one.wall += 61
        await one.until(lambda: one.told["state"] == "ok")

        assert [asked.query["a"] for asked in one.server.asked] == ["BTC", "ETH", "ETH"]
        assert one.stream.now == NOW


async def test_a_server_that_is_down_for_an_hour_is_asked_a_few_times_and_believed_again(
    tmp_path: Path,
) -> None:
    async with rig(rows((-9, 1)), tmp_path, assets=("BTC", "ETH")) as one:
        await one.polled()
        one.server.act = reply(503, b"<html><title>Down</title>")
        one.server.asked.clear()
        await one.later(3600)
        for _ in range(60):
            one.wall += 60
            await asyncio.sleep(0.005)
        assert 5 <= len(one.server.asked) <= 12
        assert (one.told["state"], one.told["breaker"]) == ("down", "open")
        assert one.told["metrics"]["fees"]["assets"] == 2

        one.wall += 3600
        one.server.act = rows((-9, 1), (HOUR, 2))
        await one.until(lambda: one.told["state"] == "ok")
        await one.stream.outbox.drained()
        assert [metric.value for metric in one.heard] == [1, 1, 2, 2]


async def test_a_source_that_fell_silent_is_stale(tmp_path: Path) -> None:
    async with rig(rows((-9, 1)), tmp_path) as one:
        await one.polled()
        one.server.act = hang
        one.stream.now += 4 * HOUR
        assert one.told["state"] == "stale"
        assert "no answer for 4.0 h" in one.told["reason"]


async def test_nobody_has_answered_yet_is_not_well(tmp_path: Path) -> None:
    async with rig(hang, tmp_path, timeout=5.0) as one:
        assert (one.told["state"], one.told["reason"]) == ("down", "no answer yet")


class Deriving(Fees):
    """The market's mood follows from the newest fees of two assets, which come in two answers."""

    def derive(self, metrics: Iterable[Any]) -> Iterable[Any]:
        newest = {one.asset: one for one in sorted(metrics, key=lambda one: one.time)}
        if len(newest) == 2:
            at = max(one.time for one in newest.values())
            yield Metric("glassnode.mood", "", at, sum(one.value for one in newest.values()))


async def test_what_follows_from_several_answers_is_handed_on_once(tmp_path: Path) -> None:
    async with rig(rows((-HOUR, 1.5)), tmp_path, Deriving(), ("BTC", "ETH")) as one:

        def moods() -> list[float]:
            return [metric.value for metric in one.heard if metric.name == "glassnode.mood"]

        await one.polled()
        assert moods() == [3.0]

        await one.later(3600)
        assert moods() == [3.0]

        one.server.act = rows((-HOUR, 1.5), (0, 2.0))
        await one.later(3600)
        assert moods() == [3.0, 4.0]


class Mistaken(Fees):
    def requests(self, assets: Iterable[str], now: int) -> Iterable[Request]:
        raise KeyError(KEY)


class Silent(Fees):
    def requests(self, assets: Iterable[str], now: int) -> Iterable[Request]:
        return []


async def test_a_mistake_of_a_plug_is_told_with_its_place_and_without_its_words(tmp_path: Path) -> None:
    async with rig(rows(), tmp_path, Mistaken()) as one:
        await one.polled()

        assert one.told["state"] == "down"
        assert "requests ended with KeyError in line" in one.told["reason"]
        assert "test_providers.py" in one.told["reason"]
        assert KEY not in one.told["reason"]


async def test_a_provider_of_none_of_the_symbols_is_not_on(tmp_path: Path) -> None:
    async with rig(rows(), tmp_path, Silent()) as one:
        await one.polled()
        assert one.told["state"] == "disabled"


async def test_a_metered_provider_stops_at_its_budget_and_says_until_when(tmp_path: Path) -> None:
    async with rig(rows((-9, 1)), tmp_path, assets=("BTC", "ETH", "BNB"), per_month=2) as one:
        await one.polled()

        assert len(one.server.asked) == 2
        assert (one.told["state"], one.told["error"]["class"]) == ("stale", "RateLimited")
        assert "budget" in one.told["reason"]
        assert one.told["quota"]["month"] == 0
        assert one.told["retry_at"] > time.time() * 1000


def pollers(tmp_path: Path, keys: Mapping[str, str], providers: Iterable[Any], **blocks: Any) -> Pollers:
    settings = Settings.model_validate(
        {
            "symbols": {"majors": ("BTCUSDT",)},
            "segments": {"majors": {"threshold": 0.5}},
            "providers": blocks,
        }
    )
    found = provider_keys([one.key for one in providers], keys)
    return Pollers(settings, found, tmp_path, providers={one.name: one for one in providers})


class Open(Fees):
    name = "coinmetrics"
    key = "COINMETRICS_API_KEY"
    needs_key = False


class Free(Fees):
    name = "defillama"
    key = ""
    needs_key = False


class Gone(Fees):
    name = "intotheblock"
    key = "INTOTHEBLOCK_API_KEY"
    metrics: Mapping[str, Promise] = {"fees": Promise("USD", gone="it was closed")}


@pytest.mark.parametrize(
    ("provider", "enabled", "key", "reason"),
    [
        (Fees(), None, "", "no key: GLASSNODE_API_KEY is not set"),
        (Fees(), True, "  ", "needs a key: GLASSNODE_API_KEY is not set"),
        (Fees(), False, KEY, "switched off in config.yaml"),
        (Open(), None, "", "no key: COINMETRICS_API_KEY is not set"),
        (Free(), None, "", "not switched on in config.yaml"),
        (Gone(), True, KEY, "it serves none of its metrics any longer"),
    ],
)
def test_a_provider_that_is_not_asked_says_why(
    provider: Any, enabled: bool | None, key: str, reason: str, tmp_path: Path
) -> None:
    block = {provider.name: {"base_url": "http://127.0.0.1:9", "enabled": enabled}}
    (told,) = pollers(tmp_path, {provider.key: key}, [provider], **block).told().values()

    assert (told["state"], told["reason"]) == ("disabled", reason)
    assert orjson.loads(orjson.dumps(told)) == told


@pytest.mark.parametrize(("key", "path"), [("", "/free/fees"), (KEY, "/paid/fees")])
async def test_without_a_key_the_keyless_address_is_asked(key: str, path: str, tmp_path: Path) -> None:
    async with hostile(rows((-9, 1))) as server:
        block = {"base_url": server.url + "/paid", "keyless": server.url + "/free", "enabled": True}
        many = pollers(tmp_path, {"COINMETRICS_API_KEY": key}, [Open()], coinmetrics=block)
        async with running(many) as stream:
            await settle(lambda: stream.heard)
        assert server.asked[0].path == path
        assert server.asked[0].query.get("api_key", "") == key


@asynccontextmanager
async def running(many: Pollers) -> AsyncIterator[Stream]:
    stream = Stream()
    tasks = [asyncio.create_task(stream.outbox.run()), asyncio.create_task(many.run(stream.hearing))]
    try:
        yield stream
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def settle(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.002)


async def test_one_that_hangs_delays_no_other_and_the_key_is_in_no_log(tmp_path: Path) -> None:
    file = logging.FileHandler(tmp_path / "log")
    loggers = [logging.getLogger(name) for name in ("", *LOGGERS)]
    levels = [one.level for one in loggers]
    loggers[0].addHandler(file)
    for one in loggers:
        one.setLevel(logging.DEBUG)
    try:
        async with hostile(hang) as slow, hostile(rows((-9, 1))) as quick:
            many = pollers(
                tmp_path,
                {"GLASSNODE_API_KEY": KEY, "COINMETRICS_API_KEY": KEY},
                [Fees(), Open(), Free()],
                glassnode={"base_url": slow.url, "timeout": 5},
                coinmetrics={"base_url": quick.url},
                defillama={"base_url": "http://127.0.0.1:9", "enabled": False},
            )
            began = time.monotonic()
            async with running(many) as stream:
                await settle(lambda: stream.heard and many.told()["coinmetrics"]["state"] == "ok")
                told = many.told()
        assert time.monotonic() - began < 2
        assert [body["state"] for body in told.values()] == ["down", "ok", "disabled"]
        assert list(told) == ["glassnode", "coinmetrics", "defillama"]
        assert quick.asked[0].query["api_key"] == KEY
    finally:
        loggers[0].removeHandler(file)
        file.close()
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
    logged = (tmp_path / "log").read_text()

    assert "/fees" in logged
    assert KEY not in logged + repr(many) + orjson.dumps(told).decode()


async def test_with_none_switched_on_nothing_ends(tmp_path: Path) -> None:
    async with running(pollers(tmp_path, {}, [Fees()])) as stream:
        await asyncio.sleep(0.05)
        assert stream.heard == []


@pytest.mark.parametrize("odd", ["two words", "kéy-012345", "a\nb", "a\x00b"])
def test_a_key_that_cannot_travel_is_refused_at_the_start_and_not_shown(odd: str) -> None:
    with pytest.raises(SettingsError, match="KAIKO_API_KEY") as caught:
        provider_keys(["KAIKO_API_KEY"], {"KAIKO_API_KEY": odd})

    assert odd not in str(caught.value)


def test_keys_are_read_from_the_environment_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAIKO_API_KEY", f" {KEY} ")
    monkeypatch.delenv("GLASSNODE_API_KEY", raising=False)
    keys = provider_keys(["KAIKO_API_KEY", "GLASSNODE_API_KEY", ""])

    assert list(keys) == ["KAIKO_API_KEY"]
    assert keys["KAIKO_API_KEY"].get_secret_value() == KEY
    assert KEY not in repr(keys)
