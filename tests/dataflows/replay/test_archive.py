"""The archive of whole months and days: what is in a file, what its checksum says, and when it is there."""

from __future__ import annotations

import csv
import hashlib
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from dataflows.replay.archive import bounds, label
from dataflows.replay.candles import DAY, HOUR
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.faults import Fault
from dataflows.replay.history import History
from tests.dataflows.replay.clients import get, klines
from tests.dataflows.replay.conftest import START, Opener, write_klines

SPOT = "/data/spot/{}/klines/BTCUSDT/1h/BTCUSDT-1h-{}.zip"
UM = "/data/futures/um/{}/klines/BTCUSDT/1h/BTCUSDT-1h-{}.zip"
FUNDING = "/data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2025-04.zip"
METRICS = "/data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-{}.zip"


async def rows(exchange: ReplayExchange, path: str) -> list[list[str]]:
    """The lines of the one file in a zip."""
    answer = await get(exchange, path)
    answer.raise_for_status()
    with zipfile.ZipFile(BytesIO(answer.content)) as file:
        (name,) = file.namelist()
        assert name == path.rsplit("/", 1)[-1].replace(".zip", ".csv")
        return list(csv.reader(file.read(name).decode().splitlines()))


async def status(exchange: ReplayExchange, path: str) -> int:
    return (await get(exchange, path)).status_code


async def test_a_month_holds_what_rest_answers_digit_by_digit(opened: Opener) -> None:
    exchange = await opened()
    found = await rows(exchange, SPOT.format("monthly", "2024-12"))
    begin, end = bounds("2024-12")
    asked = await klines(exchange, "BTCUSDT", "1h", startTime=begin, endTime=end - 1, limit=1000)

    assert found == [[str(field) for field in row] for row in asked]
    assert len(found) == 744


async def test_spot_is_in_microseconds_from_2025_on_and_contracts_never(opened: Opener) -> None:
    spot, um = await opened(), await opened("um")
    old = (await rows(spot, SPOT.format("daily", "2024-12-31")))[0]
    new = (await rows(spot, SPOT.format("daily", "2025-01-01")))[0]
    contract = (await rows(um, UM.format("daily", "2025-01-01")))[1]

    assert (old[0], old[6]) == ("1735603200000", "1735606799999")
    assert (new[0], new[6]) == ("1735689600000000", "1735693199999999")
    assert (contract[0], contract[6]) == ("1735689600000", "1735693199999")


async def test_only_futures_have_a_header(opened: Opener) -> None:
    um = await opened("um")
    klines_header = (await rows(um, UM.format("monthly", "2025-04")))[0]

    assert (await rows(await opened(), SPOT.format("monthly", "2025-04")))[0][0].isdigit()
    assert (klines_header[:2], klines_header[8:]) == (
        ["open_time", "open"],
        ["count", "taker_buy_volume", "taker_buy_quote_volume", "ignore"],
    )
    assert (await rows(um, FUNDING))[0] == ["calc_time", "funding_interval_hours", "last_funding_rate"]
    assert (await rows(um, METRICS.format("2025-04-01")))[0][:2] == ["create_time", "symbol"]


async def test_a_checksum_is_that_of_its_zip_and_names_it(opened: Opener) -> None:
    exchange = await opened()
    path = SPOT.format("daily", "2025-05-01")
    zipped, line = await get(exchange, path), await get(exchange, path + ".CHECKSUM")

    assert line.text == f"{hashlib.sha256(zipped.content).hexdigest()}  BTCUSDT-1h-2025-05-01.zip\n"


@pytest.mark.parametrize(
    ("path", "there"),
    [
        (SPOT.format("daily", "2025-05-30"), True),
        (SPOT.format("daily", "2025-05-31"), False),
        (SPOT.format("daily", "2025-06-01"), False),
        (SPOT.format("monthly", "2025-04"), True),
        (SPOT.format("monthly", "2025-05"), False),
        (SPOT.format("monthly", "2019-12"), False),
        (SPOT.format("monthly", "2025-13"), False),
        (SPOT.format("daily", "2025-04"), False),
        (SPOT.format("monthly", "2025-04-01"), False),
        (UM.format("monthly", "2025-04"), False),
        (SPOT.format("monthly", "2025-04").replace("BTC", "NOSUCH"), False),
        ("/data/spot/monthly/klines/BTCUSDT/1h/ETHUSDT-1h-2025-04.zip", False),
        ("/data/spot/monthly/klines/BTCUSDT/7m/BTCUSDT-7m-2025-04.zip", False),
        (FUNDING, False),
        ("/data/", False),
        ("/data/../etc/passwd", False),
    ],
)
async def test_what_is_not_published_is_not_there(opened: Opener, path: str, there: bool) -> None:
    """Sunday 2025-06-01, 00:00: May comes on Monday, its last day tomorrow."""
    exchange = await opened()

    assert await status(exchange, path) == (200 if there else 404)
    assert await status(exchange, path + ".CHECKSUM") == (200 if there else 404)


async def test_a_month_comes_on_its_first_monday(opened: Opener) -> None:
    path = SPOT.format("monthly", "2025-05")
    eve, monday = await opened(start=START + DAY - 1000), await opened(start=START + DAY)

    assert (await status(eve, path), await status(monday, path)) == (404, 200)


async def test_funding_is_that_of_rest(opened: Opener) -> None:
    um = await opened("um")
    begin, end = bounds("2025-04")
    query = {"symbol": "BTCUSDT", "startTime": begin, "endTime": end - 1, "limit": 1000}
    asked = (await get(um, "/fapi/v1/fundingRate", **query)).json()

    assert (await rows(um, FUNDING))[1:] == [
        [str(row["fundingTime"]), "8", row["fundingRate"]] for row in asked
    ]


async def test_metrics_are_stamped_at_the_end_of_their_five_minutes_and_later_at_the_beginning(
    opened: Opener,
) -> None:
    um = await opened("um")
    later = await opened("um", start=bounds("2026-07-01")[0], end=None)
    old = (await rows(um, METRICS.format("2025-04-01")))[1:]
    new = (await rows(later, METRICS.format("2026-06-25")))[1:]
    begin = bounds("2025-04-01")[0]
    source = um.venue.source
    (_, amount, value), *_ = source.open_interest("BTCUSDT", begin + 300_000, begin + 300_001)
    accounts = source.ratio("accounts", "BTCUSDT", begin + 300_000, begin + 300_001)[0][1]

    assert (old[0][0], old[-1][0], len(old)) == ("2025-04-01 00:05:00", "2025-04-02 00:00:00", 288)
    assert (new[0][0], new[-1][0], len(new)) == ("2026-06-25 00:00:00", "2026-06-25 23:55:00", 288)
    assert [float(field) for field in old[0][2:4]] == [pytest.approx(amount), pytest.approx(value)]
    assert float(old[0][6]) == accounts


async def test_a_folder_gives_what_it_has(opened: Opener, tmp_path: Path) -> None:
    write_klines(tmp_path, "1h", "BTCUSDT", [(START - 40 * DAY + at * HOUR, 5.0) for at in (0, 1, 5)])
    exchange = await opened(source=History(tmp_path), start=START, end=START)
    found = await rows(exchange, SPOT.format("daily", label(START - 40 * DAY)[:10]))

    assert [int(row[0]) // 1000 for row in found] == [START - 40 * DAY + at * HOUR for at in (0, 1, 5)]
    assert await status(exchange, SPOT.format("daily", label(START - 39 * DAY)[:10])) == 404


async def test_a_hole_nobody_has_is_one_in_the_archive_too(opened: Opener) -> None:
    begin = bounds("2025-05-01")[0]
    exchange = await opened(faults=[Fault("missing", at=begin + HOUR, until=begin + 3 * HOUR)])
    found = await rows(exchange, SPOT.format("daily", "2025-05-01"))

    assert len(found) == 22


async def test_the_archive_weighs_nothing_and_fails_on_demand(opened: Opener) -> None:
    exchange = await opened(faults=[Fault("status", path="/data/", status=429, retry_after=3, times=1)])
    path = SPOT.format("daily", "2025-05-01")
    limited = await get(exchange, path)
    answer = await get(exchange, path)

    assert (limited.status_code, limited.headers["retry-after"]) == (429, "3")
    assert (answer.status_code, answer.headers["x-mbx-used-weight-1m"]) == (200, "0")
    assert exchange.gate.requests[path] == 2
