"""Which addresses are public, which URLs may be read, and that what is checked is what is connected to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.news.addresses import (
    CheckedNetwork,
    is_public,
    permitted,
    resolved,
)
from engine.errors import Refused, SourceError
from engine.settings.sources import News
from tests.dataflows.connectors.news.names import NAME, PUBLIC, Internet
from tests.dataflows.connectors.news.site import site

PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1", "127.9.9.9", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::a00:1",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1",
    "fd12:3456::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1", "", "localhost", "1", "0x7f000001",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_of_the_open_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.169.0.1", "2606:4700::1111"],
)
def test_an_address_of_the_open_internet_is_public(address: str) -> None:
    assert is_public(address)


@given(st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address))
def test_nothing_is_public_that_python_knows_as_special(address: IPv4Address | IPv6Address) -> None:
    special = (
        address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
        or address.is_reserved or address.is_unspecified or not address.is_global
    )  # fmt: skip

    assert not (special and is_public(str(address)))


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_no_ipv4_address_becomes_public_by_dressing_as_an_ipv6_one(address: IPv4Address) -> None:
    mapped = IPv6Address(0xFFFF << 32 | int(address))
    nat64 = IPv6Address(int(ip_address("64:ff9b::")) | int(address))
    six_to_four = IPv6Address(0x2002 << 112 | int(address) << 80)

    assert not any(is_public(str(dressed)) for dressed in (mapped, nat64, six_to_four))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://news.example/feed", "not https"),
        ("file:///etc/passwd", "not https"),
        ("gopher://news.example/1", "not https"),
        ("ftp://news.example/feed", "not https"),
        ("data:text/xml,<rss/>", "not https"),
        ("//news.example/feed", "not https"),
        ("https://news.example:8443/feed", "port 8443"),
        ("https://news.example:22/feed", "port 22"),
        ("https://user:secret@news.example/feed", "user or password"),
        ("https://token@news.example/feed", "user or password"),
        ("https:///feed", "no host"),
        ("https://127.0.0.1:8080/feed", "port 8080"),
    ],
)
@pytest.mark.parametrize("local", [False])
def test_a_url_that_may_not_be_read_is_refused_without_its_secrets(url: str, why: str, local: bool) -> None:
    with pytest.raises(Refused, match=why) as told:
        permitted(httpx.URL(url), local=local)

    assert not any(secret in str(told.value) for secret in ("secret", "token", "feed"))


@pytest.mark.parametrize("url", ["http://news.example/", "http://10.0.0.1/", "ftp://127.0.0.1/", "file:///x"])
def test_local_lets_in_this_machine_and_nobody_else(url: str) -> None:
    for here in ("http://127.0.0.1:8000/", "http://localhost/", "http://[::1]:80/"):
        assert permitted(httpx.URL(here), local=True) == httpx.URL(here)
    with pytest.raises(Refused):
        permitted(httpx.URL(url), local=True)


@pytest.mark.parametrize("url", ["https://news.example/a?b=c", "https://news.example:443/"])
def test_https_on_its_port_may_be_read(url: str) -> None:
    assert permitted(httpx.URL(url), local=False) == httpx.URL(url)


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fd00::1"])
async def test_a_name_is_refused_when_any_of_its_addresses_is_not_public(address: str) -> None:
    internet = Internet(0, {NAME: [[PUBLIC, address]]})
    network = CheckedNetwork(resolve=internet.resolve, dial=internet)

    with pytest.raises(Refused, match=f"{NAME} is not read: {address}"):
        await network.connect_tcp(NAME, 443)
    assert internet.dialled == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "2130706433", "0x7f.1", "localhost"])
async def test_this_machine_is_refused_under_each_of_its_names(host: str) -> None:
    internet = Internet(0)

    with pytest.raises(SourceError):
        await CheckedNetwork(resolve=resolved, dial=internet).connect_tcp(host, 443)
    assert internet.dialled == []


async def test_with_local_a_name_of_another_machine_still_must_be_public() -> None:
    internet = Internet(0, {NAME: [["127.0.0.1"]], "localhost": [["10.0.0.1"]]})
    network = CheckedNetwork(local=True, resolve=internet.resolve, dial=internet)

    for host in (NAME, "localhost"):
        with pytest.raises(Refused):
            await network.connect_tcp(host, 443)
    assert internet.dialled == []


async def test_the_next_checked_address_is_tried_where_one_is_dead() -> None:
    async with site() as one:
        addresses = ["2606:4700::1111", "1.1.1.1", PUBLIC, "8.8.8.8"]
        internet = Internet(one.port, {NAME: [addresses]}, dead=frozenset(addresses[:2]))

        stream = await CheckedNetwork(resolve=internet.resolve, dial=internet).connect_tcp(NAME, 443)
        await stream.aclose()

    assert internet.dialled == [(address, 443) for address in addresses[:3]]
    assert internet.looked_up == [NAME]


async def test_a_name_without_an_address_says_so() -> None:
    internet = Internet(0, {"empty.example": [[]]})
    network = CheckedNetwork(resolve=internet.resolve, dial=internet)

    with pytest.raises(SourceError, match=r"empty\.example has no address"):
        await network.connect_tcp("empty.example", 443)
    with pytest.raises(SourceError, match=r"unknown\.example cannot be resolved"):
        await network.connect_tcp("unknown.example", 443)
    with pytest.raises(SourceError, match="cannot be resolved"):
        await CheckedNetwork(resolve=resolved, dial=internet).connect_tcp("a" * 70 + ".example", 443)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://news.example/feed?token=secret", False),
        ("http://news.example/feed?token=secret", True),
        ("http://127.0.0.1/feed?token=secret", False),
        ("https://news.example:8443/feed?token=secret", True),
    ],
)
def test_the_settings_refuse_a_feed_that_could_not_be_read(url: str, local: bool) -> None:
    with pytest.raises(ValueError, match=r"feeds\.coins\.url must be https") as told:
        News.model_validate({"local": local, "feeds": {"coins": {"url": url}}})

    assert "secret" not in str(told.value)


@pytest.mark.parametrize("url", ["https://news.example/feed/", "https://news.example", "http://127.0.0.1:1/"])
def test_the_settings_keep_an_address_as_it_was_written(url: str) -> None:
    assert News.model_validate({"local": True, "feeds": {"coins": {"url": url}}}).feeds["coins"].url == url
