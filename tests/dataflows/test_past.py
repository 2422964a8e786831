"""What was known beside the candles in the past: from the journal's own files and from archives."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dataflows.connectors.journal import Journal
from dataflows.connectors.past import DAY, HOUR, METRICS, POLLED, Past, amid
from dataflows.training.learnt import compact
from engine.errors import StorageError
from engine.records import Candle, Headline, Metric, Tick
from tests.checks import market_data

EIGHT = 8 * HOUR
STORY = Headline(
    "0" * 16, "wire", 5, "Ether rises", "https://example.org/1", ("ETH", "BTC"), 0.4, 0.9, learned=9
)


def funding(folder: Path, contract: str, *rates: float) -> None:
    """A file of funding rates; the exchange stamps them some ms late."""
    path = folder / "futures" / "funding" / f"{contract}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(EIGHT * number + 3, rate) for number, rate in enumerate(rates, start=1)]
    pl.DataFrame(rows, schema=["funding_time", "funding_rate"], orient="row").write_parquet(path)


def journaled(folder: Path, *records: Metric | Headline) -> None:
    """What the training process makes of a journal that holds these."""
    journal = Journal(folder / "engine")
    try:
        journal.append(records)
        compact(journal, folder)
    finally:
        journal.close()


def test_an_archived_rate_is_known_no_earlier_than_it_could_have_been_asked_for(tmp_path: Path) -> None:
    funding(tmp_path, "1000PEPEUSDT", 0.0001, -0.0002)
    past = Past(tmp_path)

    assert past.learned(["PEPEUSDT"], 0, 9 * EIGHT) == [
        Metric("binance.funding", "PEPE", EIGHT, 0.0001, learned=EIGHT + POLLED),
        Metric("binance.funding", "PEPE", 2 * EIGHT, -0.0002, learned=2 * EIGHT + POLLED),
    ]
    assert past.learned(["PEPEUSDT"], 0, EIGHT + POLLED - 1) == []
    assert past.learned(["BTCUSDT"], 0, 9 * EIGHT) == []


def test_open_interest_of_a_contract_of_a_thousand_coins_is_told_in_coins(tmp_path: Path) -> None:
    path = tmp_path / "futures" / "open_interest" / "5m" / "1000PEPEUSDT.parquet"
    path.parent.mkdir(parents=True)
    rows = {"time": [300_000], "sum_open_interest": [7.0], "sum_open_interest_value": [50.0]}
    pl.DataFrame(rows).write_parquet(path)
    found = {one.name: one for one in Past(tmp_path).learned(["PEPEUSDT"], 0, DAY) if isinstance(one, Metric)}

    assert found["binance.open_interest"].value == 7000.0
    assert found["binance.open_interest_usd"].value == 50.0


def test_what_the_engine_learned_itself_counts_as_of_then(tmp_path: Path) -> None:
    funding(tmp_path, "BTCUSDT", 0.0001)
    own = Metric("binance.funding", "BTC", EIGHT, 0.0001, learned=EIGHT + 400)
    whole = Metric("alternative_me.fear_greed", "", 0, 47.0, learned=EIGHT)
    journaled(tmp_path, whole, own, STORY)

    of_the_market = Metric("binance.market_funding", "", EIGHT, 0.0001, learned=EIGHT + POLLED)
    assert Past(tmp_path).learned(["BTCUSDT"], 0, DAY) == [STORY, whole, own, of_the_market]


def test_compacting_again_adds_only_what_is_new(tmp_path: Path) -> None:
    first = Metric("a.b", "BTC", 0, 1.0, learned=10)
    journaled(tmp_path, first, STORY)
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*.parquet")}
    journaled(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.glob("*/*.parquet")} == before

    again, second = Metric("a.b", "BTC", 0, 1.0, learned=11), Metric("a.b", "BTC", 5, 1.5, learned=11)
    other = Metric("c.d", "", 5, 2.0, learned=11)
    journaled(tmp_path, again, second, other)

    assert Past(tmp_path).learned(["BTCUSDT"], 0, 99) == [STORY, first, second, other]
    assert sorted(path.stem for path in (tmp_path / "metrics").glob("*")) == ["a", "c"]


def test_a_headline_comes_back_as_it_was_learned(tmp_path: Path) -> None:
    journaled(tmp_path, STORY)

    assert Past(tmp_path).learned([], 0, 99) == [STORY]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "a.parquet"
    path.parent.mkdir()
    path.write_bytes(b"no parquet")

    with pytest.raises(StorageError, match=r"a\.parquet"):
        Past(tmp_path).learned(["BTCUSDT"], 0, 99)


def test_each_number_stands_before_the_first_candle_that_closes_after_it_was_learned() -> None:
    minute = 60_000
    candles = [Candle.of(1.0, time=n * minute) for n in (1, 2, 3)]
    records: list[Candle | Tick] = [candles[0], Tick(minute), candles[1], candles[2], Tick(3 * minute)]
    at = [Metric("a.b", "", 0, float(time), learned=time) for time in (1, minute, minute + 1, 3 * minute)]

    assert list(amid(records, at)) == [
        at[0], candles[0], Tick(minute), at[1], at[2], candles[1], candles[2], Tick(3 * minute),
    ]  # fmt: skip


@pytest.mark.market
def test_real_files_give_numbers_in_the_order_they_were_learned() -> None:
    folder = market_data("futures").parent
    begin, end = 1_704_067_200_000, 1_706_745_600_000
    frame = Past(folder).metrics(["BTCUSDT", "ETHUSDT", "SOLUSDT"], begin, end)

    assert frame.schema == METRICS
    assert frame["learned"].is_sorted()
    assert frame["learned"].min() > begin  # type: ignore[operator]
    assert (frame["learned"] > frame["time"]).all()
    by_name = dict(
        frame.group_by("name", "asset").len().select(pl.concat_str("name", "asset"), "len").iter_rows()
    )
    assert by_name["binance.fundingBTC"] == 93
    assert by_name["alternative_me.fear_greed"] == 31
