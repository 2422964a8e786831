"""One exchange with a server that does its worst: it ends in time, in memory, and in our own words."""

from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
from typing import Any

import httpx
import pytest

from dataflows.connectors.http.client import Answer, Call, Client
from dataflows.connectors.http.redaction import Secrets
from engine.errors import SourceError, Unreadable
from tests.dataflows.connectors.http.server import Act, Asked, cut, drip, hang, hostile, raw, reply, reset

KEY = "canary-0123456789-canary"


async def fetched(url: str, *, timeout: float = 2.0, largest: int = 100_000, **more: Any) -> Answer:
    async with Client(Secrets([KEY])) as client:
        call = Call(httpx.URL(url), "x: /v1", timeout=timeout, largest=largest, **more)
        return await client.fetch(call)


async def test_an_answer_comes_whole_whatever_its_status_and_its_content_type() -> None:
    async with hostile(reply(418, b'{"tea": 1}', {"content-type": "image/png", "X-Left": "7"})) as server:
        answer = await fetched(server.url + "/v1")

    assert (answer.status, answer.body, answer.headers["x-left"]) == (418, b'{"tea": 1}', "7")
    assert answer.seconds > 0


@pytest.mark.parametrize(
    ("act", "words"), [(hang, "ReadTimeout"), (drip, "no whole answer within 0.2 s"), (reset, "x: /v1: R")]
)
async def test_who_says_nothing_too_little_or_leaves_is_given_up_in_time(act: Act, words: str) -> None:
    async with hostile(act) as server:
        began = time.monotonic()
        with pytest.raises(SourceError, match=words) as caught:
            await fetched(server.url, timeout=0.1)

    assert time.monotonic() - began < 1.0
    assert type(caught.value) is SourceError


async def test_nobody_at_the_address_is_an_error_of_the_source() -> None:
    with pytest.raises(SourceError, match="x: /v1: ConnectError"):
        await fetched("http://127.0.0.1:9/")


async def test_half_a_body_is_no_answer() -> None:
    async with hostile(cut) as server:
        with pytest.raises(SourceError, match="RemoteProtocolError"):
            await fetched(server.url)


@pytest.mark.parametrize("size", [100_001, 10 << 20])
@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_over_the_cap_is_refused_before_it_is_whole(size: int, packed: bool) -> None:
    body = b"[" + b"1" * (size - 2) + b"]"
    sent = (gzip.compress(body), {"content-encoding": "gzip"}) if packed else (body, {})
    async with hostile(reply(200, *sent)) as server:
        with pytest.raises(Unreadable, match="larger than"):
            await fetched(server.url)


async def test_a_bomb_is_unpacked_only_as_far_as_it_fits() -> None:
    bomb = gzip.compress(bytes(32 << 20))
    assert len(bomb) < 64 << 10
    async with hostile(reply(200, bomb, {"content-encoding": "gzip"})) as server, Client() as client:
        tracemalloc.start()
        try:
            with pytest.raises(Unreadable, match="larger than"):
                await client.fetch(Call(httpx.URL(server.url), "x", largest=100_000))
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert most < 4 << 20


@pytest.mark.parametrize("packed", ["br", "gzip, gzip", "zstd", "deflate"])
async def test_what_is_packed_in_a_way_nobody_asked_for_is_not_unpacked(packed: str) -> None:
    async with hostile(reply(200, b"{}", {"content-encoding": packed})) as server:
        with pytest.raises(Unreadable, match="packed as"):
            await fetched(server.url)
        assert server.asked[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("body", "words"),
    [(gzip.compress(b"[1, 2]" * 99, mtime=0)[:-9], "half an answer"), (b"no gzip", "unpacked")],
)
async def test_a_damaged_packing_is_unreadable(body: bytes, words: str) -> None:
    async with hostile(reply(200, body, {"content-encoding": "gzip"})) as server:
        with pytest.raises(Unreadable, match=words):
            await fetched(server.url)


async def test_a_packed_answer_and_a_packed_nothing_are_read() -> None:
    async with hostile(reply(200, gzip.compress(b"[1]"), {"content-encoding": "gzip"})) as server:
        assert (await fetched(server.url)).body == b"[1]"
        server.act = reply(200, b"", {"content-encoding": "gzip"})
        assert (await fetched(server.url)).body == b""


async def test_of_a_huge_error_page_only_the_beginning_is_read() -> None:
    async with hostile(reply(500, b"<html>" + b"x" * (10 << 20))) as server:
        assert len((await fetched(server.url)).body) == 64 << 10


async def test_redirects_are_followed_to_the_third_and_a_loop_is_not() -> None:
    async def act(asked: Asked, writer: asyncio.StreamWriter) -> None:
        left = int(asked.path[1:])
        body = raw(308, b"", {"location": f"/{left - 1}"}) if left else raw(200, asked.body)
        writer.write(body)

    async with hostile(act) as server:
        answer = await fetched(server.url + "/3", method="POST", content=b'{"q": 1}')
        assert answer.body == b'{"q": 1}'
        assert [asked.method for asked in server.asked] == ["POST"] * 4

        server.act = reply(301, b"", {"location": server.url + "/again"})
        with pytest.raises(SourceError, match="more than 3 redirects"):
            await fetched(server.url + "/again")
        assert len(server.asked) == 8


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_after_other_redirects_a_question_is_asked_without_its_body(status: int) -> None:
    async with hostile() as other, hostile(reply(status, b"", {"location": other.url})) as server:
        await fetched(server.url, method="POST", content=b"{}")

    assert (other.asked[0].method, other.asked[0].body) == ("GET", b"")


@pytest.mark.parametrize(
    "place",
    [
        "http://api.example/x",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "https://10.0.0.1/x",
        "https://localhost.:1@127.0.0.1/x",
        "https://api.example/x?api_key=" + KEY,
        "//api.example/x",
    ],
)
async def test_a_redirect_that_leads_astray_is_not_followed(place: str) -> None:
    async with hostile(reply(302, b"", {"location": place})) as server:
        with pytest.raises(SourceError, match="not followed") as caught:
            await fetched(server.url)

    assert KEY not in str(caught.value)


async def test_a_redirect_that_is_no_address_is_an_error_of_the_source() -> None:
    async with hostile(reply(302, b"", {"location": "http://[::1"})) as server:
        with pytest.raises(SourceError, match="x: /v1"):
            await fetched(server.url)


async def test_the_key_goes_to_its_own_host_and_to_no_other() -> None:
    keyed: dict[str, Any] = {"keyed_headers": {"authorization": KEY}, "keyed_query": {"api_key": KEY}}
    async with hostile() as other, hostile(reply(307, b"", {"location": other.url + "/x?a=1"})) as server:
        await fetched(server.url + "/v1?b=2", **keyed)

        assert server.asked[0].query == {"b": "2", "api_key": KEY}
        assert server.asked[0].headers["authorization"] == KEY
        assert other.asked[0].query == {"a": "1"}
        assert KEY not in str(other.asked[0])


async def test_a_redirect_within_the_host_keeps_the_key() -> None:
    async def act(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(raw(200) if asked.path == "/v2" else raw(301, b"", {"location": "/v2"}))

    async with hostile(act) as server:
        await fetched(server.url + "/v1", keyed_query={"api_key": KEY})
        assert server.asked[1].query == {"api_key": KEY}


async def test_no_cookie_is_carried_and_no_proxy_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with hostile(reply(200, {}, {"set-cookie": "a=b"})) as server, Client() as client:
        for _ in range(2):
            await client.fetch(Call(httpx.URL(server.url), "x"))

        assert "cookie" not in server.asked[1].headers
