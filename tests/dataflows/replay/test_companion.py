"""The companion over real sockets: addresses, feeds, and everything that can be wrong with an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import replace
from difflib import SequenceMatcher
from email.utils import parsedate_to_datetime
from typing import Any
from xml.etree import ElementTree

import feedparser
import httpx
import orjson
import pytest

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion import answering, feeds
from dataflows.replay.companion.door import Reply
from dataflows.replay.companion.faults import NAMES, Fault, Faults, read_faults
from dataflows.replay.companion.numbers import Numbers
from dataflows.replay.companion.server import Companion, environ
from dataflows.replay.companion.spoiling import spoilt
from dataflows.replay.companion.stories import ASSETS, SLOT, story
from engine.errors import SettingsError, SourceError
from engine.providers import PROVIDERS, Provider
from engine.providers import Request as Question
from engine.records import Metric
from engine.settings import load
from engine.settings.sources import Providers
from tests.providers import sent

NOW = 1_790_000_000_000 + 13_000
ENTRIES = tuple(ASSETS)
FNG = "/alternative_me/fng/?limit=3"


class Hands:
    """A clock that goes when it is told to."""

    def __init__(self, at: int = NOW) -> None:
        self.at = at

    def __call__(self) -> int:
        return self.at


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
async def companion(clock: Hands) -> AsyncIterator[Companion]:
    async with Companion(clock, seed=3) as opened:
        yield opened


@pytest.fixture
async def client(companion: Companion) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(companion) as opened:
        yield opened


def browser(companion: Companion) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=companion.url, verify=False, trust_env=False, timeout=5)


def asked(path: str, **headers: str) -> Request:
    return Request("GET", path, {}, headers)


def told(name: str, at: int = NOW, **headers: str) -> Answer:
    sent_ = {key.replace("_", "-"): value for key, value in headers.items()}
    return feeds.answer(name, asked(f"/{name}", **sent_), at, 3, ENTRIES)


def titles(name: str, at: int = NOW) -> list[str]:
    return [item.title for item in feeds.items(name, at, 3, ENTRIES)]


# Addresses


def test_every_provider_of_the_settings_is_answered_for() -> None:
    assert list(Providers.model_fields) == list(answering.ANSWERS)


async def test_providers_lie_below_their_names_and_other_hosts_beside_them(client: httpx.AsyncClient) -> None:
    fng = await client.get(FNG)
    bearer = {"Authorization": "Bearer any"}
    trending = await client.get("/thetie@trending/trending_news/historical", headers=bearer)

    assert [row["timestamp"] for row in fng.json()["data"]] == ["1789948800", "1789862400", "1789776000"]
    assert "tweet_count" in trending.json()["data"][0]
    assert (await client.get("/thetie/trending_news/historical", headers=bearer)).status_code == 404
    assert (await client.get("/nobody/at/home")).status_code == 404


async def test_a_posted_body_reaches_the_provider(
    client: httpx.AsyncClient, companion: Companion, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Request] = []

    def listen(request: Request, now: int, numbers: Numbers) -> Answer:
        heard.append(request)
        return Answer.of({"now": now, "seed": numbers.seed})

    monkeypatch.setattr("dataflows.replay.companion.server.ANSWERS", {"nansen": listen})
    answer = await client.post("/nansen/tgm/flows?page=2", json={"chain": "solana"}, headers={"apikey": "x"})

    assert answer.json() == {"now": NOW, "seed": 3}
    [request] = heard
    assert (request.method, request.path, dict(request.query)) == ("POST", "/tgm/flows", {"page": "2"})
    assert orjson.loads(request.body) == {"chain": "solana"}
    assert request.headers["apikey"] == "x"


async def test_its_numbers_follow_the_clock_and_the_seed(client: httpx.AsyncClient, clock: Hands) -> None:
    first = (await client.get("/coingecko/global")).json()
    again = (await client.get("/coingecko/global")).json()
    clock.at += 3_600_000
    later = (await client.get("/coingecko/global")).json()

    assert first == again
    assert later["data"]["updated_at"] - first["data"]["updated_at"] == 3600
    assert later["data"]["total_market_cap"] != first["data"]["total_market_cap"]


async def test_a_connection_is_kept_for_many_questions(
    client: httpx.AsyncClient, companion: Companion
) -> None:
    for _ in range(20):
        await client.get(FNG)

    assert len(companion._doors) == 1
    assert (await client.head(FNG)).content == b""
    assert (await client.get("/companion/state")).json()["requests"] == {"alternative_me": 21}


async def test_what_is_no_http_is_refused_and_a_taken_port_is_named(companion: Companion) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", companion.port)
    writer.write(b"this is no http\r\n\r\n")
    with closing(writer):
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
    with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{companion.port}"):
        await Companion(Hands(), companion.port).start()


async def test_the_variables_point_an_engine_at_it_and_settings_take_them(companion: Companion) -> None:
    found = environ(companion.url)
    settings = load("config.yaml", found)

    for name in Providers.model_fields:
        polled, real = getattr(settings.providers, name), getattr(Providers(), name)
        assert polled.enabled, name
        assert polled.base_url == f"{companion.url}/{name}"
        assert set(polled.hosts) == set(real.hosts), name
        assert all(url.startswith(companion.url) for url in polled.hosts.values())
        assert (polled.keyless is None) == (real.keyless is None), name
        assert (polled.per_day, polled.per_month) == (None, None)
    assert settings.news.local
    assert len(settings.news.feeds) >= 20
    assert {feed.kind for feed in settings.news.feeds.values()} == {"news", "social"}
    assert {one.key for one in PROVIDERS.values() if one.needs_key} <= found.keys()


# Feeds


@pytest.mark.parametrize("name", list(feeds.FEEDS))
def test_a_feed_reads_as_what_it_says_it_is(name: str) -> None:
    answer = told(name)
    read = feedparser.parse(answer.body)
    form = feeds.FEEDS[name].form

    assert answer.kind.startswith(f"application/{form}+xml")
    assert read.version.startswith(form)
    assert not read.bozo
    assert [entry.title for entry in read.entries] == titles(name)
    assert 5 <= len(read.entries) <= feeds.MOST
    assert ElementTree.fromstring(answer.body.decode()).tag.endswith("rss" if form == "rss" else "feed")


def test_nothing_is_published_before_its_time_and_it_stays_as_it_was() -> None:
    early = {item.slot: item for item in feeds.items("ledger_wire", NOW, 3, ENTRIES)}
    late = {item.slot: item for item in feeds.items("ledger_wire", NOW + 3_600_000, 3, ENTRIES)}
    common = early.keys() & late.keys()

    assert all(item.published <= NOW for item in early.values())
    assert all(item.published >= story(3, item.slot, ENTRIES).time - 1000 for item in early.values())
    assert len(common) > 5
    assert all(early[slot] == late[slot] for slot in common)
    assert any(item.published > NOW for item in late.values())


def test_the_same_story_is_told_by_several_feeds_in_other_words() -> None:
    tellers: dict[int, set[str]] = {}
    for name in feeds.FEEDS:
        for item in feeds.items(name, NOW, 3, ENTRIES):
            tellers.setdefault(item.slot, set()).add(item.title.rstrip("?!"))
    told_often = [words for words in tellers.values() if len(words) > 1]

    assert len(told_often) > 10
    alike = [SequenceMatcher(a=min(words), b=max(words)).ratio() for words in told_often]
    assert min(alike) < 0.7


def test_stories_are_about_the_assets_given_and_the_first_most() -> None:
    found = [story(3, slot, ("BTC", "ETH", "WIF")).asset for slot in range(600)]

    assert set(found) == {"BTC", "ETH", "WIF", ""}
    assert found.count("BTC") > found.count("ETH")
    assert story(3, 7, ENTRIES) != story(4, 7, ENTRIES)


def test_every_story_has_a_tone_and_words_for_it() -> None:
    found = [story(3, slot, ENTRIES) for slot in range(400)]

    assert {one.topic.tone > 0 for one in found} == {True, False}
    for one in found:
        assert one.slot * SLOT <= one.time < (one.slot + 1) * SLOT
        assert len({one.headline(variant) for variant in range(9)}) == len(one.topic.words) >= 3
        assert "{" not in one.headline(1)


def test_a_feed_is_not_sent_again_to_who_has_it() -> None:
    whole = told("coin_courier")
    marks = dict(whole.headers)
    tag, date = marks["etag"], marks["last-modified"]
    day_before = parsedate_to_datetime(date).replace(year=2020).strftime("%a, %d %b %Y %H:%M:%S GMT")

    def status(**headers: str) -> int:
        return told("coin_courier", NOW, **headers).status

    assert status(if_none_match=tag) == status(if_none_match=f'"x", W/{tag}') == 304
    assert status(if_modified_since=date) == 304
    assert status(if_none_match='"x"', if_modified_since=date) == 200
    assert status(if_modified_since=day_before) == status(if_modified_since="yesterday") == 200
    assert told("coin_courier", NOW + 3_600_000, if_none_match=tag).status == 200
    assert told("no_such_feed").status == 404


async def test_feeds_are_served_with_their_304(client: httpx.AsyncClient) -> None:
    first = await client.get("/feeds/chain_observer")
    second = await client.get("/feeds/chain_observer", headers={"If-None-Match": first.headers["etag"]})

    assert (second.status_code, second.content) == (304, b"")
    assert (await client.get("/feeds/chain_observer")).content == first.content


# Faults


async def spoil(client: httpx.AsyncClient, *faults: dict[str, Any]) -> None:
    (await client.delete("/companion/faults")).raise_for_status()
    (await client.post("/companion/faults", json=list(faults))).raise_for_status()


async def test_an_answer_can_be_late_or_never_come(client: httpx.AsyncClient) -> None:
    await spoil(
        client, {"name": "hang", "of": "alternative_me"}, {"name": "slow", "of": "coingecko", "by": 0.2}
    )
    with pytest.raises(httpx.ReadTimeout):
        await client.get(FNG, timeout=0.1)
    begun = time.monotonic()
    late = await client.get("/coingecko/ping")

    assert late.status_code == 200
    assert time.monotonic() - begun >= 0.2
    state = (await client.get("/companion/state")).json()
    assert state["statuses"] == {"alternative_me": {"none": 1}, "coingecko": {"200": 1}}


async def test_a_client_that_leaves_leaves_nothing_behind(
    client: httpx.AsyncClient, companion: Companion
) -> None:
    await spoil(client, {"name": "hang"})
    for _ in range(5):
        with pytest.raises(httpx.ReadTimeout):
            await client.get(FNG, timeout=0.05)
    await asyncio.sleep(0.05)

    assert len(companion._doors) <= 1
    assert not [task for task in asyncio.all_tasks() if "Door" in repr(task.get_coro())]


async def test_an_answer_can_drip(client: httpx.AsyncClient) -> None:
    await spoil(client, {"name": "drip", "by": 0.01})
    begun = time.monotonic()
    async with client.stream("GET", "/coingecko/ping") as dripping:
        sizes = [len(piece) async for piece in dripping.aiter_raw()]

    assert sum(sizes) == len(b'{"gecko_says":"(V3) To the Moon!"}')
    assert time.monotonic() - begun >= 0.01 * sum(sizes)
    assert len(sizes) > sum(sizes) / 2


async def test_a_connection_can_be_reset(client: httpx.AsyncClient) -> None:
    await spoil(client, {"name": "reset", "times": 1})
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await client.get(FNG)

    assert (await client.get(FNG)).status_code == 200


async def test_a_body_can_be_huge_without_saying_so(client: httpx.AsyncClient) -> None:
    await spoil(client, {"name": "huge", "size": 3 << 20})
    answer = await client.get(FNG)

    assert "content-length" not in answer.headers
    assert len(answer.content) >= 3 << 20
    assert len(orjson.loads(answer.content)["padding"]) > 1_000_000


async def test_a_redirect_can_lead_to_itself(client: httpx.AsyncClient) -> None:
    await spoil(client, {"name": "redirect_loop"})
    answer = await client.get("/thetie@trending/trending_news/historical")

    assert (answer.status_code, answer.headers["location"]) == (
        302,
        "/thetie@trending/trending_news/historical",
    )
    with pytest.raises(httpx.TooManyRedirects):
        await client.get(FNG, follow_redirects=True)


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ({"name": "html"}, 200, "text/html"),
        ({"name": "error200"}, 200, "application/json"),
        ({"name": "wrong_type"}, 200, "text/plain"),
        ({"name": "wrong_type", "kind": "image/png"}, 200, "image/png"),
        ({"name": "401"}, 401, "application/json"),
        ({"name": "429"}, 429, "application/json"),
        ({"name": "5xx"}, 503, "text/html"),
        ({"name": "5xx", "status": 520}, 520, "text/html"),
    ],
)
async def test_status_and_type_can_be_wrong(
    client: httpx.AsyncClient, fault: dict[str, Any], status: int, kind: str
) -> None:
    await spoil(client, {**fault, "of": "alternative_me"})
    answer = await client.get(FNG)

    assert answer.status_code == status
    assert answer.headers["content-type"].startswith(kind)
    assert "retry-after" not in answer.headers
    assert (await client.get("/coingecko/ping")).json() == {"gecko_says": "(V3) To the Moon!"}


def worse(name: str, body: Any, of: str = "somebody") -> Any:
    """What becomes of a JSON body by one fault."""
    reply = spoilt(Reply(Answer.of(body)), [Fault(name)], asked("/x"), of, lambda: Answer.of({}, 404))
    return orjson.loads(reply.answer.body)


def test_values_can_be_null_or_text_and_rows_turned_about() -> None:
    body = {"data": [{"timestamp": "1790000000", "v": 2, "name": "a"}, {"time": 5, "v": "1.5", "name": "b"}]}

    assert worse("nulls", body)["data"] == [
        {"timestamp": "1790000000", "v": None, "name": "a"},
        {"time": 5, "v": None, "name": "b"},
    ]
    assert worse("strings", body)["data"][1] == {"time": "5", "v": "1.5", "name": "b"}
    assert worse("newest_first", body)["data"] == body["data"][::-1]


def test_an_error_in_a_200_has_the_words_of_its_provider() -> None:
    assert worse("error200", {}, "santiment") == {"errors": [{"message": "Internal error, please try again"}]}
    assert worse("error200", {}, "intotheblock")["Response"] == "Error"
    assert "error" in worse("error200", {})


def test_half_an_answer_is_no_json_and_feeds_keep_their_words() -> None:
    whole = told("node_times")
    half = spoilt(
        Reply(whole), [Fault("truncated"), Fault("nulls")], asked("/x"), "node_times", lambda: whole
    )

    assert half.answer.body == whole.body[: len(whole.body) // 2]
    with pytest.raises(orjson.JSONDecodeError):
        worse("truncated", {"data": [1, 2, 3]})


async def test_a_wrong_key_is_told_in_the_words_of_its_provider(client: httpx.AsyncClient) -> None:
    await spoil(client, {"name": "401"})

    bearer = {"Authorization": "Bearer right"}
    assert (await client.get("/thetie/news_sentiment", headers=bearer)).json() == {"message": "Unauthorized"}
    assert (await client.get("/artemis/data/api/TVL/?APIKey=right")).json() == {"detail": "Invalid API key"}


async def test_faults_are_of_one_feed_or_of_all(client: httpx.AsyncClient) -> None:
    await spoil(client, {"name": "5xx", "of": "node_times"})
    one = [(await client.get(f"/feeds/{name}")).status_code for name in ("node_times", "fork_finder")]
    await spoil(client, {"name": "html", "of": "feeds"})
    all_ = [(await client.get(path)).headers["content-type"] for path in ("/feeds/node_times", FNG)]

    assert one == [503, 200]
    assert [kind.partition(";")[0] for kind in all_] == ["text/html", "application/json"]


def test_a_fault_comes_and_goes_in_stream_time_in_wall_time_and_by_count() -> None:
    faults = Faults(read_faults(["hang:of=kaiko@2026-09-21T00:00", "slow:seconds=10", "5xx:times=2"]))
    begins = 1_789_948_800_000

    def names(of: str, now: int, wall: float) -> list[str]:
        return [fault.name for fault in faults.strike(of, now, wall)]

    assert names("kaiko", begins - 1, 0.0) == ["slow", "5xx"]
    assert names("kaiko", begins, 9.9) == ["hang", "slow", "5xx"]
    assert names("kaiko", begins, 10.0) == ["hang"]
    assert names("nansen", begins, 10.0) == []
    assert [one["name"] for one in faults.listed()] == ["hang"]
    faults.add(Fault("html", until=begins))
    assert names("nansen", begins - 1, 0.0) == ["html"]
    assert names("nansen", begins, 0.0) == []
    faults.clear(of="kaiko")
    assert [one["name"] for one in faults.listed()] == ["html"]


async def test_faults_are_listed_and_forgotten_over_the_wire(client: httpx.AsyncClient) -> None:
    await spoil(client, {"name": "hang", "of": "kaiko"}, {"name": "nulls"})
    listed = (await client.get("/companion/faults")).json()["faults"]
    left = (await client.delete("/companion/faults", params={"of": "kaiko"})).json()["faults"]

    assert [fault["name"] for fault in listed] == ["hang", "nulls"]
    assert [fault["name"] for fault in left] == ["nulls"]
    assert (await client.get("/companion/nothing")).status_code == 404


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"name": "hangs"}', "fault 'hangs' is unknown; did you mean 'hang'?"),
        (b'{"name": "hang", "off": "kaiko"}', "fault key 'off' is unknown"),
        (b'[{"name": "slow", "by": "long"}]', "fault slow: by cannot be 'long'"),
        (b'[{"name": "slow", "by": -1}]', "fault slow: by cannot be -1"),
        (b'["hang"]', "a fault must be an object with a name"),
        (b"hang", "unexpected character"),
    ],
)
async def test_a_fault_that_cannot_be_is_refused_with_a_hint(
    client: httpx.AsyncClient, body: bytes, why: str
) -> None:
    answer = await client.post("/companion/faults", content=body)

    assert answer.status_code == 400
    assert why in answer.json()["error"]
    assert (await client.get("/companion/faults")).json() == {"faults": []}


@pytest.mark.parametrize("name", sorted(NAMES))
async def test_every_fault_can_be_asked_for_and_taken_back(name: str) -> None:
    async with AsyncExitStack() as stack:
        spoiled = await stack.enter_async_context(Companion(Hands(), faults=[Fault(name, by=30.0)]))
        client = await stack.enter_async_context(browser(spoiled))
        plain = await whatever(client)
        await client.delete("/companion/faults")

        assert plain != await whatever(client)
        assert (await client.get("/companion/state")).json()["faults"] == []


async def whatever(client: httpx.AsyncClient) -> object:
    """What a client sees of one question."""
    try:
        answer = await client.get(
            "/coingecko/coins/markets?vs_currency=usd&ids=bitcoin,ethereum", timeout=0.1
        )
    except httpx.HTTPError as error:
        return type(error).__name__
    return answer.status_code, answer.headers["content-type"], answer.content


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", sorted(NAMES - {"hang", "slow", "drip", "reset"}))
def test_whatever_goes_wrong_a_plug_reads_numbers_or_says_what_it_is(provider: str, name: str) -> None:
    plug, spoiled = PROVIDERS[provider], Companion(Hands(), faults=[Fault(name, size=20_000)])
    kinds = {request.metric: request for request in plug.requests(ENTRIES[:2], NOW)}
    for request in list(kinds.values())[:6]:
        heard = sent(plug, request)
        answer = spoiled.reply(replace(heard, path=address(provider, heard.path))).answer
        found, error = read(plug, request, answer)

        assert error is None or provider in str(error)
        assert not (found and name in WHOLLY_LOST), f"{request.path}: {found[:2]}"


WHOLLY_LOST = {"html", "error200", "truncated", "401", "429", "5xx", "huge", "redirect_loop"}
"""Faults of which no number can come."""


def address(provider: str, path: str) -> str:
    """Where a path below a provider's base URL, or below another host of it, lies at the companion."""
    return f"/{provider}{path[1:] if path.startswith('/@') else path}"


def read(plug: Provider, request: Question, answer: Answer) -> tuple[list[Metric], SourceError | None]:
    """What becomes of an answer without the network between: numbers, or what is wrong with it."""
    body: Any = answer.body.decode(errors="replace")
    with suppress(orjson.JSONDecodeError):
        body = orjson.loads(answer.body)
    if answer.status >= 300:
        return [], plug.fault(answer.status, {}, body)
    try:
        return list(plug.parse(request, body)), None
    except SourceError as error:
        return [], error


@pytest.mark.parametrize("wrong", [lambda: Fault.of_json({}), lambda: read_faults(["hang:by=soon"])])
def test_faults_need_a_name_and_numbers(wrong: Callable[[], object]) -> None:
    with pytest.raises(SettingsError):
        wrong()
