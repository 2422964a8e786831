"""What one source is asked again, what it is not, and how long it is left alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from dataflows.connectors.binance.backoff import Backoff
from dataflows.connectors.http.breaker import Breaker
from dataflows.connectors.http.budget import Budget
from dataflows.connectors.http.client import Call, Client
from dataflows.connectors.http.limits import Pace
from dataflows.connectors.http.polite import Polite
from dataflows.connectors.http.redaction import Secrets
from dataflows.connectors.http.wire import decoded
from engine.errors import NotServed, RateLimited, Refused, SourceError, Unreadable
from engine.providers.base import fault_of
from tests.dataflows.connectors.http.server import Act, Asked, Hostile, hostile, raw, reply

KEY = "canary-0123456789"
UNIX = 1_800_000_000.0


class Meaning:
    """Statuses as most sources mean them, and a header that says what is left."""

    def fault(self, status: int, headers: Mapping[str, str], body: Any) -> SourceError:
        return fault_of("x", status, headers, str(body))

    def remaining(self, headers: Mapping[str, str]) -> float | None:
        return float(headers["x-left"]) if "x-left" in headers else None


class Rig:
    """A source, the way to it, and a wall clock that stands still unless a test moves it."""

    def __init__(self, server: Hostile, client: Client, folder: Path, **budget: float) -> None:
        self.server = server
        self.now = 0.0
        self.breaker = Breaker(wall=lambda: self.now)
        self.polite = Polite(
            "x",
            client,
            Pace(1_000, lambda: self.now),
            Budget(folder / "x.json", unix=lambda: UNIX + self.now, **budget),
            self.breaker,
            Backoff(first=0.001, most=0.002, jitter=1.0, rng=np.random.default_rng(0)),
            unix=lambda: UNIX + self.now,
        )

    async def ask(self, cost: float = 1.0) -> Any:
        call = Call(httpx.URL(self.server.url), "x: /v1", keyed_query={"key": KEY}, timeout=0.1)
        return await self.polite.ask(call, cost, Meaning(), lambda body: decoded(body, "x: /v1"))


@asynccontextmanager
async def rig(act: Act, folder: Path, **budget: float) -> AsyncIterator[Rig]:
    async with hostile(act) as server, Client(Secrets([KEY])) as client:
        yield Rig(server, client, folder, **budget)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
async def test_what_may_pass_is_asked_again_until_the_answer_comes(status: int, tmp_path: Path) -> None:
    tries = count()

    async def act(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(raw(status, b"<html>busy") if next(tries) < 2 else raw(200, b"[1]", {"x-left": "41"}))

    async with rig(act, tmp_path) as one:
        assert await one.ask() == [1]
        assert len(one.server.asked) == 3
        assert one.breaker.state == "closed"
        assert one.polite.remaining == 41
        assert one.polite.latency is not None
        assert 0 < one.polite.latency < 1


async def test_a_source_that_goes_on_failing_is_left_alone_for_longer_and_longer(tmp_path: Path) -> None:
    async with rig(reply(500, {"e": "oops"}), tmp_path) as one:
        for _ in range(2):
            with pytest.raises(SourceError, match=r"x: 500 .*oops"):
                await one.ask()
        assert (len(one.server.asked), one.breaker.state, one.breaker.wait) == (5, "open", 30)

        with pytest.raises(RateLimited, match="not asked for another 30 s"):
            await one.ask()
        assert len(one.server.asked) == 5

        one.now = 30.0
        with pytest.raises(SourceError, match="500"):
            await one.ask()
        assert (len(one.server.asked), one.breaker.wait) == (6, 60)

        one.now, one.server.act = 90.0, reply(200, b"[1]")
        assert await one.ask() == [1]
        assert one.breaker.state == "closed"


async def test_a_poll_repeats_only_so_often(tmp_path: Path) -> None:
    async with rig(reply(500), tmp_path) as one:
        one.breaker.after = 1_000
        one.polite.begin()
        for _ in range(5):
            with pytest.raises(SourceError):
                await one.ask()
        assert len(one.server.asked) == 5 + 6

        one.polite.begin()
        with pytest.raises(SourceError):
            await one.ask()
        assert len(one.server.asked) == 11 + 3


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "17"}, 17),
        ({"retry-after": formatdate(UNIX + 90, usegmt=True)}, 90),
        ({"retry-after": formatdate(UNIX - 90, usegmt=True)}, 1),
        ({"retry-after": "99999999"}, 86_400),
        ({"retry-after": "soon"}, 60),
        ({}, 60),
    ],
)
async def test_who_asks_to_wait_is_not_asked(headers: dict[str, str], wait: float, tmp_path: Path) -> None:
    async with rig(reply(429, {}, headers), tmp_path) as one:
        for _ in range(3):
            with pytest.raises(RateLimited):
                await one.ask()
        assert (len(one.server.asked), one.breaker.wait) == (1, wait)
        assert one.breaker.state == "closed"


async def test_a_busy_server_that_says_for_how_long_is_not_asked_before(tmp_path: Path) -> None:
    async with rig(reply(503, b"", {"retry-after": "30"}), tmp_path) as one:
        with pytest.raises(SourceError, match="503"):
            await one.ask()
        assert (len(one.server.asked), one.breaker.wait) == (1, 30)


@pytest.mark.parametrize("status", [401, 402, 403, 451])
async def test_a_refusal_ends_it_for_hours(status: int, tmp_path: Path) -> None:
    async with rig(reply(status, {"error": "no"}), tmp_path) as one:
        with pytest.raises(Refused) as refused:
            await one.ask()
        assert refused.value.status == status
        assert (len(one.server.asked), one.breaker.state, one.breaker.wait) == (1, "open", 6 * 3600)


async def test_what_is_not_served_says_nothing_against_the_rest(tmp_path: Path) -> None:
    async with rig(reply(404, b"unknown"), tmp_path) as one:
        for _ in range(7):
            with pytest.raises(NotServed):
                await one.ask()
        assert (len(one.server.asked), one.breaker.state) == (7, "closed")


@pytest.mark.parametrize(
    "body", [b"<!doctype html><title>Just a moment</title>", b'{"a": [1, 2', b"", b"NaN"]
)
async def test_what_cannot_be_read_is_not_asked_again_at_once(body: bytes, tmp_path: Path) -> None:
    async with rig(reply(200, body), tmp_path) as one:
        with pytest.raises(Unreadable, match="no JSON"):
            await one.ask()
        assert len(one.server.asked) == 1


async def test_a_large_body_is_read_beside_the_loop(tmp_path: Path) -> None:
    threads = []

    def read(body: bytes) -> int:
        threads.append(threading.current_thread() is threading.main_thread())
        return len(body)

    async with rig(reply(200, b"[]"), tmp_path) as one:
        call = Call(httpx.URL(one.server.url), "x")
        await one.polite.ask(call, 1, Meaning(), read)
        one.server.act = reply(200, orjson.dumps("x" * 300_000))
        assert await one.polite.ask(call, 1, Meaning(), read) == 300_002
    assert threads == [True, False]


async def test_a_metered_source_is_asked_within_its_budget_however_often_it_fails(tmp_path: Path) -> None:
    async with rig(reply(500), tmp_path, per_month=4) as one:
        for _ in range(3):
            one.now += 3600.0
            with pytest.raises(SourceError):
                await one.ask()
        assert len(one.server.asked) == 4
        assert one.polite.budget.left_in_month == 0
        assert one.breaker.wait > 0


async def test_without_its_account_a_metered_source_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("torn")
    async with rig(reply(200), tmp_path, per_day=4) as one:
        with pytest.raises(RateLimited, match="nothing is asked"):
            await one.ask()
        assert one.server.asked == []


async def test_no_words_of_the_other_side_bring_the_key_back(tmp_path: Path) -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    for body in (f'{{"error": "no key {KEY}"}}', f'{{"error": "no key {escaped}"}}', f"<title>{KEY}"):
        async with rig(reply(400, body.encode()), tmp_path) as one:
            with pytest.raises(NotServed) as caught:
                await one.ask()
            assert one.server.asked[0].query == {"key": KEY}
            assert "***" in str(caught.value)
            assert "0123456789" not in str(caught.value)
