"""One question to servers that do everything a server should not, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
import zlib

import pytest

from dataflows.connectors.news.fetch import Fetch, Page, Validators
from engine.errors import RateLimited, Refused, SourceError, Unreadable
from tests.dataflows.connectors.news.names import NAME, PUBLIC, Internet, serving, trusting
from tests.dataflows.connectors.news.site import (
    Reply,
    Site,
    hanging,
    head,
    page,
    pouring,
    raw,
    redirect,
    site,
)

SMALL = 10_000
SOON = 0.25
NONE = Validators()


async def ask(one: Site, reply: Reply, validators: Validators = NONE, *, deadline: float = SOON) -> Page:
    """What a feed on this site comes to, with tiny limits."""
    one.pages["/feed"] = reply
    fetch = Fetch(deadline=deadline, largest=SMALL, tls=trusting())
    return await fetch.get(one.url(), validators, local=True)


async def refusal(one: Site, reply: Reply, *, deadline: float = SOON) -> SourceError:
    with pytest.raises(SourceError) as told:
        await ask(one, reply, deadline=deadline)
    assert "secret" not in str(told.value)
    return told.value


async def test_a_body_comes_back_as_it_was_sent_packed_or_not() -> None:
    body = b"<rss>" + b"x" * (SMALL - 5)
    async with site() as one:
        plain = await ask(one, page(body, content_type="application/rss+xml"))
        packed = await ask(one, page(gzip.compress(body), content_encoding="gzip"))
        chunked = raw(head(200, {"transfer-encoding": "chunked"}) + b"5\r\n<rss>\r\n0\r\n\r\n")

        assert (plain.body, plain.content_type) == (body, "application/rss+xml")
        assert packed.body == body
        assert (await ask(one, chunked)).body == b"<rss>"


async def test_the_question_says_who_asks_and_what_is_wanted() -> None:
    async with site() as one:
        one.pages["/feed/?a=b%20c"] = page(b"<rss/>")
        fetch = Fetch("mail@somebody.example", tls=trusting())
        await fetch.get(one.url("/feed/?a=b%20c#part"), NONE, local=True)

    ((_, headers),) = one.asked
    assert headers["user-agent"] == (
        "signal-engine/0.1 (reader of rss and atom feeds; mail@somebody.example)"
    )
    assert headers["accept"].startswith("application/rss+xml, application/atom+xml")
    assert headers["accept-encoding"] == "gzip"
    assert headers["host"] == f"127.0.0.1:{one.port}"
    assert {"cookie", "authorization", "if-none-match", "if-modified-since"} & headers.keys() == set()


async def test_an_unchanged_feed_is_asked_by_its_validators_and_costs_no_body() -> None:
    async with site() as one:
        first = await ask(one, page(b"<rss/>", etag='W/"a1"', last_modified="Sun, 22 Nov 2026 10:00:00 GMT"))
        second = await ask(one, page(b"", 304), first.validators)

    assert second.body is None
    assert second.validators == first.validators
    assert one.asked[1][1]["if-none-match"] == 'w/"a1"'
    assert one.asked[1][1]["if-modified-since"] == "sun, 22 nov 2026 10:00:00 gmt"


async def test_unchanged_is_no_answer_to_who_has_nothing() -> None:
    async with site() as one:
        error = await refusal(one, page(b"", 304))

    assert type(error) is SourceError
    assert "304" in str(error)


async def test_validators_cannot_fill_the_next_question() -> None:
    async with site() as one:
        answer = await ask(one, page(b"<rss/>", etag="x" * 5000, last_modified="y" * 5000))

    assert answer.validators == NONE


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(pouring(b"x" * 5000), id="an endless body"),
        pytest.param(pouring(b"1388\r\n" + b"x" * 5000 + b"\r\n", transfer_encoding="chunked"), id="chunks"),
        pytest.param(hanging(head(200, {"content-length": str(50 << 20)})), id="50 MB announced"),
        pytest.param(pouring(b"x" * 65_536, content_length=str(50 << 20)), id="50 MB"),
        pytest.param(page(b"x" * (SMALL + 1)), id="a byte too many"),
        pytest.param(
            page(gzip.compress(b"x" * (SMALL + 1)), content_encoding="gzip"), id="one when unpacked"
        ),
        pytest.param(page(gzip.compress(b"\0" * (8 << 20)), content_encoding="gzip"), id="a gzip bomb"),
        pytest.param(
            pouring(b"\0\0\0\xff\xff" * 1000, content_encoding="gzip", first=gzip.compress(b"")[:10]),
            id="a gzip stream of nothing, for ever",
        ),
    ],
)
async def test_more_than_is_allowed_is_given_up_as_soon_as_it_is_seen(reply: Reply) -> None:
    async with site() as one:
        began = time.monotonic()
        tracemalloc.start()
        error = await refusal(one, reply, deadline=5)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert isinstance(error, Unreadable)
    assert f"larger than {SMALL} bytes" in str(error)
    assert time.monotonic() - began < 2
    assert most < 5 << 20


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (gzip.compress(b"<rss/>" * 99, mtime=0)[:-12], "gzip", "ends too early"),
        (b"not packed at all", "gzip", "damaged"),
        (zlib.compress(b"<rss/>"), "deflate", "packed as 'deflate'"),
        (b"\x1b", "br", "packed as 'br'"),
        (gzip.compress(gzip.compress(b"<rss/>", mtime=0), mtime=0), "gzip, gzip", "packed as 'gzip, gzip'"),
    ],
)
async def test_a_packing_that_cannot_be_undone_is_a_failure(body: bytes, encoding: str, why: str) -> None:
    async with site() as one:
        error = await refusal(one, page(body, content_encoding=encoding))

    assert isinstance(error, Unreadable)
    assert why in str(error)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(hanging(), id="silence"),
        pytest.param(hanging(b"HTTP/1.1 200 OK\r\n"), id="half a head"),
        pytest.param(hanging(head(200, {"content-length": "100"}) + b"<rss>"), id="half a body"),
        pytest.param(pouring(b"x", pause=0.01), id="a slow drip"),
        pytest.param(raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3), id="hints and no answer"),
    ],
)
async def test_a_slow_server_is_left_when_the_time_for_all_of_it_is_over(reply: Reply) -> None:
    async with site() as one:
        began = time.monotonic()
        error = await refusal(one, reply)

    assert type(error) is SourceError
    assert time.monotonic() - began < SOON + 1


async def test_the_deadline_is_one_for_all_hops_and_the_look_up() -> None:
    async def slow(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return [PUBLIC]

    began = time.monotonic()
    with pytest.raises(SourceError, match=r"no whole answer in 0\.25 s"):
        await Fetch(deadline=SOON, resolve=slow, tls=trusting()).get(
            "https://news.example/feed?token=secret", NONE
        )
    assert time.monotonic() - began < SOON + 1


@pytest.mark.parametrize(
    "text",
    [
        b"", b"SSH-2.0-OpenSSH_9.9\r\n", b"\x16\x03\x01\x02", b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n<rss/>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n<rss/>",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000 + b"\r\n",
    ],
)  # fmt: skip
async def test_what_is_not_http_is_a_failure_like_any_other(text: bytes) -> None:
    async with site() as one:
        error = await refusal(one, raw(text), deadline=3)

    assert type(error) is SourceError


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_three_redirects_are_followed(status: int) -> None:
    async with site() as one:
        one.pages |= {f"/{n}": redirect(f"/{n + 1}", status) for n in (1, 2)}
        one.pages["/3"] = page(b"<rss/>")
        answer = await ask(one, redirect("1", status))

        assert answer.body == b"<rss/>"
    assert [path for path, _ in one.asked] == ["/feed", "/1", "/2", "/3"]


@pytest.mark.parametrize("to", ["/1?secret", "/feed", "/loop"])
async def test_a_fourth_redirect_is_not(to: str) -> None:
    async with site() as one:
        one.pages |= {f"/{n}": redirect(f"/{n + 1}?secret") for n in (2, 3, 4, 5)}
        one.pages |= {"/1?secret": redirect("/2"), "/loop": redirect("/loop")}
        one.pages |= {f"/{n}?secret": redirect(f"/{n}") for n in (3, 4, 5)}
        error = await refusal(one, redirect(to))

    assert isinstance(error, Refused)
    assert "more than 3 redirects" in str(error)
    assert len(one.asked) == 4


@pytest.mark.parametrize(
    "to",
    [
        "file:///etc/passwd", "gopher://127.0.0.1:70/1", "ftp://127.0.0.1/feed", "data:text/xml,<rss/>",
        "javascript:alert(1)", "http://news.example/secret", "http://169.254.169.254/latest/secret",
        "http://10.0.0.1/", "http://[::ffff:169.254.169.254]/", "http://0.0.0.0/", "http://2130706433/",
        "//169.254.169.254/", "https://169.254.169.254/latest/secret", "https://10.0.0.1/", "https://[fd00::1]/",
        "https://[fe80::1]/", "https://100.64.0.1/", "https://0.0.0.0/", "https://[::]/", "https://2130706433/",
        "https://0x7f000001/", "https://017700000001/", "https://[::ffff:127.0.0.1]/", "https://localhost./",
        "https://[64:ff9b::7f00:1]/", "https://user:secret@1.1.1.1/", "https://1.1.1.1:8443/",
        "https://1.1.1.1:22/",
    ],
)  # fmt: skip
async def test_a_redirect_to_where_nobody_should_look_is_refused(to: str) -> None:
    async with site() as one:
        error = await refusal(one, redirect(to), deadline=2)

    # Plain numbers are addresses to some resolvers and no names to others: both ends are well.
    assert isinstance(error, Refused) or "cannot be resolved" in str(error)
    assert len(one.asked) == 1


@pytest.mark.parametrize(
    "to", ["http://127.0.0.1:{port}/feed", "https://127.0.0.1:{port}/", "https://[::1]/"]
)
async def test_a_feed_of_the_open_internet_cannot_lead_to_this_machine_even_with_local(to: str) -> None:
    async with site(serving()) as one:
        internet = Internet(one.port, {NAME: [[PUBLIC]], "127.0.0.1": [["127.0.0.1"]], "::1": [["::1"]]})
        one.pages["/feed"] = redirect(to.format(port=one.port))
        fetch = Fetch(resolve=internet.resolve, dial=internet, tls=trusting())

        with pytest.raises(Refused):
            await fetch.get(f"https://{NAME}/feed", NONE, local=True)
    assert internet.dialled == [(PUBLIC, 443)]


@pytest.mark.parametrize("location", ["", "http://[", "https://exa mple/\x7f", "https://" + "a" * 70_000])
async def test_a_redirect_to_no_address_is_a_failure(location: str) -> None:
    async with site() as one:
        await refusal(one, redirect(location))


async def test_the_connection_goes_to_the_checked_address_and_the_certificate_to_the_name() -> None:
    async with site(serving()) as one:
        internet = Internet(one.port, {NAME: [[PUBLIC]]})
        one.pages["/feed"] = page(b"<rss/>")
        fetch = Fetch(resolve=internet.resolve, dial=internet, tls=trusting())
        answer = await fetch.get(f"https://{NAME}/feed", NONE)

    assert answer.body == b"<rss/>"
    assert internet.dialled == [(PUBLIC, 443)]
    assert one.asked[0][1]["host"] == NAME


@pytest.mark.parametrize("name", ["other.example", "localhost"])
async def test_a_certificate_of_another_name_is_no_answer(name: str) -> None:
    async with site(serving(name)) as one:
        internet = Internet(one.port, {NAME: [[PUBLIC]]})
        fetch = Fetch(resolve=internet.resolve, dial=internet, tls=trusting(name))

        with pytest.raises(SourceError, match="Hostname mismatch"):
            await fetch.get(f"https://{NAME}/feed", NONE)
    assert one.asked == []


@pytest.mark.parametrize("rebound", ["127.0.0.1", "10.0.0.1", "::1", "169.254.169.254"])
async def test_a_name_that_changes_its_address_after_the_check_gains_nothing(rebound: str) -> None:
    async with site(serving()) as one:
        internet = Internet(one.port, {NAME: [[PUBLIC], [rebound]]})
        one.pages |= {"/feed": redirect("/other"), "/other": page(b"<rss/>")}
        fetch = Fetch(resolve=internet.resolve, dial=internet, tls=trusting())

        with pytest.raises(Refused, match=rebound):
            await fetch.get(f"https://{NAME}/feed", NONE)
    assert internet.dialled == [(PUBLIC, 443)]
    assert [path for path, _ in one.asked] == ["/feed"]


async def test_a_redirect_to_a_name_with_a_private_address_is_refused() -> None:
    async with site() as one:
        internet = Internet(one.port, {"intra.example": [["10.1.2.3"]], "127.0.0.1": [["127.0.0.1"]]})
        one.pages["/feed"] = redirect("https://intra.example/secret")

        with pytest.raises(Refused, match=r"intra\.example is not read: 10\.1\.2\.3"):
            await Fetch(resolve=internet.resolve, tls=trusting()).get(one.url(), NONE, local=True)
    assert internet.dialled == []


async def test_without_local_this_machine_is_not_read_at_all() -> None:
    async with site() as one:
        for url in (one.url(), one.url().replace("http", "https"), f"https://localhost:{one.port}/"):
            with pytest.raises(Refused):
                await Fetch(tls=trusting()).get(url, NONE)

    assert one.asked == []


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as proxy, site() as one:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        await ask(one, page(b"<rss/>"))

    assert (len(proxy.asked), len(one.asked)) == (0, 1)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, Refused, "login"), (402, Refused, "paid"), (403, Refused, "403, its firewall"),
        (404, Refused, "nothing at this address"), (410, Refused, "gone for good"), (418, Refused, "418"),
        (451, Refused, "451, it is not served in this location"), (429, RateLimited, "429"),
        (408, SourceError, "408"), (500, SourceError, "500"), (502, SourceError, "502"),
        (503, SourceError, "503"), (204, SourceError, "204"), (206, SourceError, "206"),
        (300, SourceError, "300"), (599, SourceError, "599"),
    ],
)  # fmt: skip
async def test_each_status_means_what_it_says(status: int, kind: type[SourceError], words: str) -> None:
    async with site() as one:
        error = await refusal(one, page(b"<html>secret</html>" if status != 204 else b"", status))

    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (429, {}, 60),
        (429, {"retry_after": "7"}, 7),
        (503, {"retry_after": "7"}, 7),
        (429, {"retry_after": "0"}, 1),
        (429, {"retry_after": "-5"}, 1),
        (429, {"retry_after": "nan"}, 60),
        (429, {"retry_after": "1e99"}, 86_400),
        (429, {"retry_after": "later"}, 60),
        (429, {"retry_after": "Thu, 01 Jan 2099 00:00:00 GMT"}, 86_400),
        (429, {"retry_after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 30),
        (429, {"retry_after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": "yesterday"}, 60),
    ],
)
async def test_a_server_that_asks_to_wait_is_believed_up_to_a_day(
    status: int, headers: dict[str, str], wait: float
) -> None:
    async with site() as one:
        error = await refusal(one, page(b"", status, **headers))

    assert isinstance(error, RateLimited)
    assert error.retry_after == wait
