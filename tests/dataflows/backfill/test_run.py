"""Whole backfills against the replay exchange: what comes, from where, and what is asked again."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from dataflows.backfill.store import Store
from dataflows.connectors.history import History
from dataflows.replay.answers import Answer, Request
from dataflows.replay.candles import Candles
from dataflows.replay.faults import Fault
from dataflows.replay.history import History as Folder
from dataflows.replay.simulate import Simulated
from engine.errors import SettingsError, StorageError
from engine.records import INTERVALS
from engine.symbols import names
from tests.checks import market_data
from tests.dataflows.backfill.rig import DAY, HOUR, NOVEMBER, NOW, Rig, Spoilt, rig
from tests.dataflows.replay.conftest import write_klines

LAST = NOW // HOUR * HOUR - HOUR


def times(begin: int, end: int = NOW // HOUR * HOUR) -> list[int]:
    return list(range(begin, end, HOUR))


@pytest.mark.parametrize("interval", ["1h", "15m"])
def test_the_folder_holds_exactly_the_candles_of_the_exchange(spot: Rig, interval: str) -> None:
    report = spot.run(begin=NOVEMBER + 9 * DAY, intervals=(interval,))
    rows = spot.rows(interval=interval)
    until = NOW // INTERVALS[interval] * INTERVALS[interval]

    assert [list(row) for row in rows.iter_rows()] == spot.answered(
        "BTCUSDT", NOVEMBER + 9 * DAY, until, interval
    )
    assert (report.failed, report.refused, report.corrupt) == ([], [], 0)
    assert spot.history(interval=interval)["time"].to_list() == [
        time + INTERVALS[interval] for time in rows["open_time"]
    ]


def test_contracts_come_with_a_header_and_in_milliseconds(um: Rig) -> None:
    um.run("BTCUSDT", "PEPEUSDT")

    for name in ("BTCUSDT", "1000PEPEUSDT"):
        assert [list(row) for row in um.rows(name).iter_rows()] == um.answered(name, NOVEMBER, LAST + HOUR)
    assert um.history("PEPEUSDT")["close"][-1] == um.rows("1000PEPEUSDT")["close"][-1] / 1000


def test_months_come_from_the_archive_then_days_and_only_the_newest_from_rest(spot: Rig) -> None:
    spot.run()
    files = {path.rsplit("/", 1)[-1] for path in spot.archived() if path.endswith(".zip")}

    assert files == {
        *(f"BTCUSDT-1h-{month}.zip" for month in ("2024-11", "2024-12", "2025-01", "2025-02")),
        *(f"BTCUSDT-1h-2025-03-0{day}.zip" for day in range(1, 9)),
    }
    assert spot.asked["/api/v3/klines"] == 1


def test_a_second_run_asks_for_nothing_but_the_time(spot: Rig) -> None:
    spot.run()
    before = spot.asked
    report = spot.run()

    assert spot.asked - before == Counter({"/api/v3/time": 1})
    assert (report.months, [file.added for file in report.files]) == (0, [0])


def test_a_later_run_asks_only_for_what_has_closed_since(tmp_path: Path) -> None:
    with rig(tmp_path) as early:
        early.run(end=NOW - 3 * HOUR)
        early.run()
        grown = early.rows()
        assert early.asked["/api/v3/klines"] == 2
        assert grown["open_time"].to_list() == times(NOVEMBER)


@pytest.mark.parametrize(("after", "closed"), [(0, False), (1_000, False), (3_000, True), (600_000, True)])
def test_a_candle_that_is_not_surely_closed_is_never_written(
    tmp_path: Path, after: int, closed: bool
) -> None:
    hour = NOW // HOUR * HOUR
    with rig(tmp_path, now=hour + after) as made:
        made.run(begin=hour - DAY, end=hour + DAY)

        assert made.rows()["open_time"][-1] == (hour - HOUR if closed else hour - 2 * HOUR)


def test_existing_rows_stay_as_they_are_and_grow_at_both_ends(spot: Rig, tmp_path: Path) -> None:
    other = Rig(spot.exchange, tmp_path / "other")
    other.run(begin=NOVEMBER + 40 * DAY, end=NOVEMBER + 70 * DAY)
    mine = other.rows().with_columns(volume=pl.lit(7.0), close=pl.col("open"))
    spot.file().parent.mkdir(parents=True)
    mine.write_parquet(spot.file())
    spot.run()
    rows = spot.rows()

    assert rows["open_time"].to_list() == times(NOVEMBER)
    assert rows.filter(pl.col("open_time").is_in(mine["open_time"].to_list())).equals(mine)
    assert (rows["volume"] == 7.0).sum() == mine.height


def test_a_hole_in_a_strange_file_is_filled_from_the_archive(spot: Rig) -> None:
    spot.run()
    whole = spot.rows()
    hole = pl.col("open_time").is_between(NOVEMBER + 5 * DAY, NOVEMBER + 6 * DAY)
    whole.filter(~hole).write_parquet(spot.file())
    before = spot.asked
    spot.run()
    asked = spot.asked - before

    assert spot.rows().equals(whole)
    assert [path for path in asked if path.endswith(".zip")] == [
        "/data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-11.zip"
    ]
    assert asked["/api/v3/klines"] == 0


def test_a_gap_stays_a_gap_is_asked_of_rest_once_and_then_known(spot: Rig) -> None:
    hole = (NOVEMBER + 3 * DAY, NOVEMBER + 3 * DAY + 5 * HOUR)
    spot.exchange.add(hidden(*hole))
    spot.run(end=NOVEMBER + 10 * DAY)
    first = spot.asked
    spot.run(end=NOVEMBER + 10 * DAY)

    assert first["/api/v3/klines"] == 1
    assert spot.asked["/api/v3/klines"] == 1
    assert spot.rows()["open_time"].to_list() == [
        time for time in times(NOVEMBER, NOVEMBER + 10 * DAY) if not hole[0] <= time < hole[1]
    ]


def test_what_the_archive_lacks_and_rest_has_is_filled(spot: Rig) -> None:
    """The hole is closed between the answer of the archive and that of REST."""
    spot.exchange.add(hidden(NOVEMBER + 3 * DAY, NOVEMBER + 4 * DAY))

    def mend(request: Request, answer: Answer) -> Answer:
        if request.path.endswith(".zip"):
            spot.exchange.faults.clear()
        return answer

    spot.exchange.spoil = mend
    spot.run(end=NOVEMBER + 10 * DAY)

    assert spot.rows()["open_time"].to_list() == times(NOVEMBER, NOVEMBER + 10 * DAY)


def hidden(begin: int, end: int) -> Fault:

    return Fault("missing", symbol="BTCUSDT", at=begin, until=end)


class Crooked(Simulated):
    """A market with one hour whose high is below its low."""

    def candles(self, symbol: str, interval: str, start: int, end: int) -> Candles:
        found = super().candles(symbol, interval, start, end)
        values = found.values.copy()
        values[found.time == NOVEMBER + 7 * HOUR, 1] = 1e-3
        return Candles(found.time, values)


def test_a_row_no_market_can_have_made_is_left_out_and_counted_once(tmp_path: Path) -> None:
    with rig(tmp_path, source=Crooked(("BTCUSDT",), 3)) as made:
        report = made.run(end=NOVEMBER + 5 * DAY)

        assert report.corrupt == 1
        assert str(NOVEMBER + 7 * HOUR) in str(report.first_corrupt)
        assert made.rows()["open_time"].to_list() == [
            time for time in times(NOVEMBER, NOVEMBER + 5 * DAY) if time != NOVEMBER + 7 * HOUR
        ]


def test_a_coin_with_two_names_has_two_files_each_for_its_time(tmp_path: Path) -> None:
    matic, pol = names("POLUSDT")
    assert matic.ends is not None
    data = tmp_path / "exchange"
    first = (matic.ends - 40 * DAY) // DAY * DAY
    write_klines(data, "1h", "MATICUSDT", [(at, 4.0) for at in range(first, matic.ends, HOUR)])
    write_klines(data, "1h", "POLUSDT", [(at, 5.0) for at in range(pol.begins, pol.begins + 60 * DAY, HOUR)])
    now = pol.begins + 55 * DAY + 60_000
    with rig(tmp_path / "history", source=Folder(data), now=now, end=now) as made:
        report = made.run("POLUSDT", begin=first, end=now)
        read = made.history("POLUSDT")["time"].to_list()

        assert report.failed == []
        assert made.rows("MATICUSDT")["open_time"].to_list() == list(range(first, matic.ends, HOUR))
        assert read == [
            *range(first + HOUR, matic.ends + HOUR, HOUR),
            *range(pol.begins + HOUR, now, HOUR),
        ]


def test_months_before_the_listing_cost_one_question_each(tmp_path: Path) -> None:
    data = tmp_path / "exchange"
    listed = NOVEMBER + 45 * DAY
    write_klines(data, "1h", "BTCUSDT", [(at, 9.0) for at in range(listed, NOW + DAY, HOUR)])
    with rig(tmp_path / "history", source=Folder(data)) as made:
        made.run(begin=NOVEMBER - 300 * DAY)
        absent = [path for path in made.archived() if "2024" in path and "2024-12" not in path]

        assert made.rows()["open_time"].to_list() == times(listed)
        assert len(absent) == 11
        assert all(path.endswith(".CHECKSUM") for path in absent)
        before = made.asked
        made.run(begin=NOVEMBER - 300 * DAY)
        assert made.asked - before == Counter({"/api/v3/time": 1})


def test_a_symbol_the_exchange_does_not_have_is_named_and_nothing_is_written(spot: Rig) -> None:
    report = spot.run("NOSUCHUSDT", begin=NOW - 40 * DAY)

    assert report.empty == ["klines/spot/1h/NOSUCHUSDT.parquet"]
    assert not spot.file("NOSUCHUSDT").exists()


def test_several_intervals_and_symbols_come_at_once(tmp_path: Path) -> None:
    with rig(tmp_path, symbols=("BTCUSDT", "ETHUSDT")) as made:
        report = made.run("BTCUSDT", "ETHUSDT", begin=NOW - 20 * DAY, intervals=("1h", "4h"))

        assert sorted(file.file for file in report.files) == [
            f"klines/spot/{interval}/{symbol}.parquet"
            for interval in ("1h", "4h")
            for symbol in ("BTCUSDT", "ETHUSDT")
        ]


class Counting(Spoilt):
    """An exchange that counts how many archive requests it answers at a time."""

    at_once = most = 0

    async def answer(self, request: Request) -> Answer:
        if not request.path.startswith("/data/"):
            return await super().answer(request)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.01)
        answer = await super().answer(request)
        self.at_once -= 1
        return answer


def test_the_archive_is_asked_eight_questions_at_a_time_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.dataflows.backfill.rig.Spoilt", Counting)
    with rig(tmp_path) as made:
        made.run(begin=NOVEMBER - 500 * DAY, intervals=("1h", "4h"))
        exchange = made.exchange

        assert isinstance(exchange, Counting)
        assert exchange.most == 8


@pytest.mark.market
def test_real_candles_come_through_the_archive_as_they_were(tmp_path: Path) -> None:
    begin, end = 1_738_368_000_000, 1_746_057_600_000  # 2025-02-01, 2025-05-01
    real = market_data("klines", "spot", "1h", "BTCUSDT.parquet").parents[3]
    with rig(tmp_path, source=Folder(real, "spot", ("BTCUSDT",)), now=end + 60_000, end=end) as made:
        report = made.run(begin=begin, end=end)
        original = History(real, "spot").candles("BTCUSDT", "1h", begin, end)

        assert (report.corrupt, report.failed) == (0, [])
        assert made.history().equals(original)


def test_two_runs_never_write_one_folder(spot: Rig) -> None:
    with Store(spot.folder).held(), pytest.raises(StorageError, match="is writing it"):
        spot.run()
    spot.run(begin=NOW - DAY)


def test_a_span_without_time_is_refused(spot: Rig) -> None:
    with pytest.raises(SettingsError, match="--from must be before --to"):
        spot.run(begin=NOW, end=NOW)


def test_a_file_that_is_no_parquet_is_named(spot: Rig) -> None:
    spot.file().parent.mkdir(parents=True)
    spot.file().write_bytes(b"not a table")

    with pytest.raises(StorageError, match="BTCUSDT"):
        spot.run()
