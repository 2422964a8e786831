"""A backtest is the live flow over a folder: the same signals, the same bytes, never a look ahead."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from dataflows import backtest
from dataflows.backtest import Collected, chosen, run
from dataflows.connectors.history import History, Span, records
from dataflows.connectors.journal import Journaled
from dataflows.replay.exchange import ReplayExchange
from dataflows.replay.history import History as Played
from dataflows.replay.simulate import Simulated
from dataflows.signal_file import table, written
from engine.errors import SettingsError, StorageError, UnknownSymbol
from engine.models.manifest import Facts
from engine.models.shelf import Shelf
from engine.records import INTERVALS, NEVER, Activation, Candle, Signal
from engine.settings import Settings, load
from engine.symbols import instant
from tests.checks import market, market_data
from tests.dataflows.runs import engine, playing
from tests.dataflows.test_flow import Script
from tests.dataflows.test_flow import run as run_flow
from tests.dataflows.test_history import save

FIVE, HOUR = INTERVALS["5m"], INTERVALS["1h"]
BEGIN = instant("2025-10-09T08:55+00:00")
CLOSES = 60
END = BEGIN + CLOSES * FIVE
WARM_UP = 60
FIRST = BEGIN - (WARM_UP * 12 + 11) * FIVE  # on the hour: no higher candle is cut
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT")
VALUES = (
    *("open", "high", "low", "close", "volume", "quote_volume", "trades"),
    *("taker_buy_base", "taker_buy_quote"),
)
COLUMNS = [
    *("symbol", "time", "direction", "confidence", "score", "entry", "stop_loss", "take_profit"),
    *("position_size", "p_up", "p3_down", "p3_neutral", "p3_up", "novelty", "technical", "correlation"),
    *("onchain", "sentiment", "ml", "model_version"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candles of four simulated symbols; SOL is listed late, DOGE has a hole."""
    made = tmp_path_factory.mktemp("history")
    simulated = Simulated(SYMBOLS, 7)
    for symbol, interval in product(SYMBOLS, ("5m", "15m", "1h")):
        first = FIRST if symbol != "SOLUSDT" else BEGIN - 40 * FIVE
        candles = simulated.candles(symbol, interval, first, END)
        # No exchange tells more than eight decimals.
        frame = pl.DataFrame(candles.values.round(8), schema=list(VALUES), orient="row")
        frame = frame.with_columns(open_time=pl.Series(candles.time))
        if symbol == "DOGEUSDT":
            frame = frame.filter(pl.col("open_time") != BEGIN + 20 * FIVE)
        path = made / "klines" / "spot" / interval / f"{symbol}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path)
    return made


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(
        "config.yaml",
        {
            "SIGNAL_ENGINE_SYMBOLS": orjson.dumps({"majors": SYMBOLS}).decode(),
            "SIGNAL_ENGINE_DECIDE__WARM_UP": str(WARM_UP),
            "SIGNAL_ENGINE_DECIDE__MINIMUM": str(WARM_UP),
            "SIGNAL_ENGINE_BINANCE__INTERVALS": "5m,15m,1h",
        },
    )


@pytest.fixture(scope="module")
def whole(settings: Settings, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "signals.parquet"
    run(settings, folder, out, BEGIN, END, show=False)
    return out


def test_the_columns_are_those_that_judges_read(whole: Path) -> None:
    found = pl.read_parquet(whole)

    assert found.columns == COLUMNS
    assert found.schema["time"] == pl.Int64
    assert found.height > 150
    assert found.equals(found.sort("time", "symbol"))
    assert found.select("symbol", "time").is_duplicated().sum() == 0
    assert found["time"].min() == BEGIN + FIVE
    assert found["time"].max() == END
    assert found.select("p_up", "p3_down", "p3_neutral", "p3_up").null_count().row(0) == (found.height,) * 4


def test_two_runs_write_the_same_bytes(settings: Settings, folder: Path, whole: Path, tmp_path: Path) -> None:
    run(settings, folder, tmp_path / "again.parquet", BEGIN, END, show=False)

    assert (tmp_path / "again.parquet").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("closes", [1, 21, 22, 35, 59])
def test_a_shorter_span_says_the_first_part_of_a_longer_one(
    settings: Settings, folder: Path, whole: Path, tmp_path: Path, closes: int
) -> None:
    end = BEGIN + closes * FIVE
    run(settings, folder, tmp_path / "part.parquet", BEGIN, end, show=False)
    part, longer = pl.read_parquet(tmp_path / "part.parquet"), pl.read_parquet(whole)

    assert part.height > 0
    assert part.equals(longer.filter(pl.col("time") <= end))


def test_what_comes_later_changes_nothing_before(
    settings: Settings, folder: Path, whole: Path, tmp_path: Path
) -> None:
    cut = BEGIN + 30 * FIVE
    later = pl.col("open_time") >= cut
    for path in sorted(folder.rglob("*.parquet")):
        other = tmp_path / path.relative_to(folder)
        other.parent.mkdir(parents=True, exist_ok=True)
        moved = [
            pl.when(later).then(pl.col(name) * 3).otherwise(pl.col(name)).alias(name)
            for name in ("open", "high", "low", "close", "volume")
        ]
        pl.read_parquet(path).with_columns(moved).write_parquet(other)
    run(settings, tmp_path, tmp_path / "other.parquet", BEGIN, END, show=False)
    before, after = pl.col("time") <= cut, pl.col("time") > cut
    ours, other_said = pl.read_parquet(whole), pl.read_parquet(tmp_path / "other.parquet")

    assert other_said.filter(before).equals(ours.filter(before))
    assert not other_said.filter(after).equals(ours.filter(after))


def test_the_flow_says_the_same_of_the_same_records(settings: Settings, folder: Path, whole: Path) -> None:
    span = Span("5m", settings.read_intervals, BEGIN, END, WARM_UP, WARM_UP)
    pairs = [(symbol, "majors") for symbol in settings.all_symbols]
    journal = list(records(History(folder, "spot"), pairs, span)[0])
    heard = run_flow(settings, Script(journal, 7)).said

    assert table([said for said in heard if isinstance(said, Signal)]).equals(pl.read_parquet(whole))


def test_a_live_run_over_the_exchange_says_the_same(folder: Path, tmp_path: Path) -> None:
    symbols = ("BTCUSDT", "ETHUSDT")
    last = BEGIN + 24 * FIVE
    played = ReplayExchange("spot", Played(folder, "spot", symbols), BEGIN + 60_000, last, 900.0)
    # More warm-up than there is: both begin with the first candle.
    environ = {
        "SIGNAL_ENGINE_DECIDE__MINIMUM": str(WARM_UP),
        "SIGNAL_ENGINE_STORAGE__RECOVERY": "false",
        "SIGNAL_ENGINE_GATHER__GRACE": "60",  # so fast a market is patient with a busy machine
    }
    knobs = {"warm_up": 1000, "catch_up": 120, "environ": environ}
    with playing(played) as exchange, engine(tmp_path / "data", exchange, symbols, **knobs) as live:
        live.run_until(last)
        said = {key: orjson.loads(body) for key, body in live.signals().items()}
        same = load(
            "config.yaml", {k: v for k, v in live.variables.items() if k.startswith("SIGNAL_ENGINE_")}
        )
    first = min(time for _, time in said)
    run(same, folder, tmp_path / "signals.parquet", first - FIVE, last, show=False)
    found = pl.read_parquet(tmp_path / "signals.parquet").rows(named=True)

    assert len(said) >= 4
    assert {(row["symbol"], row["time"]) for row in found} == set(said)
    for row in found:
        signal = said[row["symbol"], row["time"]]
        assert {name: row[name] for name in COLUMNS[2:10]} == {name: signal[name] for name in COLUMNS[2:10]}
        for layer in ("technical", "correlation"):
            assert row[layer] == signal["layers"][layer]["score"]


def test_the_report_counts_what_happened(settings: Settings, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "klines/spot/5m"
    path.mkdir(parents=True)
    for name in ("BTCUSDT", "ETHUSDT"):
        (path / f"{name}.parquet").write_bytes((folder / "klines/spot/5m" / f"{name}.parquet").read_bytes())
    hurt = pl.when(pl.col("open_time") == BEGIN).then(0.0).otherwise(pl.col("low")).alias("low")
    pl.read_parquet(path / "ETHUSDT.parquet").with_columns(hurt).write_parquet(path / "ETHUSDT.parquet")
    report = run(settings, tmp_path, tmp_path / "deep/er/s.parquet", BEGIN, END, show=False)
    found = pl.read_parquet(report.out)

    assert report.symbols == ("BTCUSDT", "ETHUSDT")
    assert report.skipped == ("DOGEUSDT", "SOLUSDT")
    assert report.corrupt == 3  # itself, and the two higher candles it is part of
    assert report.signals == found.height == 2 * CLOSES - 1
    assert report.directional == (found["direction"] != "NEUTRAL").sum()
    assert 0 < report.hits <= report.outcomes <= report.signals
    assert "skipped, no candle in the span: DOGEUSDT, SOLUSDT" in report.text()
    assert "ETHUSDT 5m candle closing at" in report.text()


def test_too_little_history_gives_no_signal_and_says_why(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    report = run(settings, folder, tmp_path / "s.parquet", FIRST, FIRST + 10 * FIVE, show=False)

    assert report.signals == 0
    assert "decide.minimum" in report.text()
    assert pl.read_parquet(report.out).columns == COLUMNS


def test_an_empty_span_and_a_span_without_candles_are_refused(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="--from must be before --to"):
        run(settings, folder, tmp_path / "s.parquet", END, END)
    with pytest.raises(StorageError, match=r"no 5m candle of BTCUSDT, .* in that span"):
        run(settings, folder, tmp_path / "s.parquet", END + 1000 * FIVE, END + 2000 * FIVE)
    assert list(tmp_path.iterdir()) == []


def test_symbols_are_asked_for_by_any_of_their_names() -> None:
    spot, um = load("config.yaml", {}), load("config.yaml", {"SIGNAL_ENGINE_MARKET": "um"})

    assert chosen(spot, ["MATICUSDT", "BTCUSDT", "POLUSDT"]) == [("POLUSDT", "alts"), ("BTCUSDT", "majors")]
    assert chosen(um, ["1000PEPEUSDT", "PEPEUSDT"]) == [("PEPEUSDT", "memes")]
    assert chosen(spot, None) == [(symbol, spot.segment_of(symbol)) for symbol in spot.all_symbols]
    with pytest.raises(UnknownSymbol, match="FOOUSDT is not configured; near: "):
        chosen(spot, ["FOOUSDT"])
    with pytest.raises(UnknownSymbol, match="near: BTCUSDT"):
        chosen(spot, ["btcusdt"])


def test_rows_are_named_and_priced_as_the_exchanges_candles(tmp_path: Path) -> None:
    rename = instant("2024-09-10T03:00+00:00")
    hour = INTERVALS["1h"]
    old = market(80, 1, interval="1h", start=rename - 80 * hour, price=0.4)
    save(tmp_path, "MATICUSDT", old)
    save(tmp_path, "POLUSDT", market(40, 2, interval="1h", start=rename + 79 * hour, price=0.4))
    pepe = market(199, 3, interval="1h", start=rename - 80 * hour, price=0.00001)
    save(tmp_path, "1000PEPEUSDT", pepe, "um", factor=1000.0)
    knobs = {
        "SIGNAL_ENGINE_DECIDE__INTERVAL": "1h",
        "SIGNAL_ENGINE_DECIDE__WARM_UP": "60",
        "SIGNAL_ENGINE_DECIDE__MINIMUM": "60",
        "SIGNAL_ENGINE_BINANCE__INTERVALS": "1h",
    }
    begin, end = rename - 10 * hour, rename + 118 * hour
    spot = load("config.yaml", {**knobs, "SIGNAL_ENGINE_SYMBOLS": "{alts: [POLUSDT]}"})
    um = load(
        "config.yaml", {**knobs, "SIGNAL_ENGINE_SYMBOLS": "{memes: [PEPEUSDT]}", "SIGNAL_ENGINE_MARKET": "um"}
    )
    run(spot, tmp_path, tmp_path / "spot.parquet", begin, end, show=False)
    run(um, tmp_path, tmp_path / "um.parquet", begin, end, show=False)
    matic, contract = pl.read_parquet(tmp_path / "spot.parquet"), pl.read_parquet(tmp_path / "um.parquet")

    assert set(matic.filter(pl.col("time") <= rename)["symbol"]) == {"MATICUSDT"}
    assert set(matic.filter(pl.col("time") > rename)["symbol"]) <= {"POLUSDT"}
    assert set(contract["symbol"]) == {"1000PEPEUSDT"}
    assert contract["entry"].to_list() == pytest.approx(
        [c.close * 1000 for c in pepe if begin < c.time <= end]
    )


def test_a_file_appears_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "signals.parquet"
    out.write_text("the one before")
    with suppress(RuntimeError), written(out) as draft:
        draft.write_text("half")
        raise RuntimeError("the power went out")

    assert [path.name for path in tmp_path.iterdir()] == ["signals.parquet"]
    assert out.read_text() == "the one before"


@pytest.mark.parametrize("place", ["file/signals.parquet", ".", "/dev/null"])
def test_what_cannot_be_written_is_found_out_before_the_work(
    settings: Settings, folder: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="cannot be written"):
        run(settings, folder, tmp_path / place, BEGIN, END, show=False)
    assert not Path("/dev/null").is_file()


def test_told_to_stop_it_stops_and_writes_nothing(
    settings: Settings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    def interrupted(*given: Any) -> tuple[Iterator[Journaled], list[str], int]:
        def counted() -> Iterator[Journaled]:
            nonlocal taken
            for record in made:
                taken += 1
                if taken == 100:
                    os.kill(os.getpid(), signal.SIGINT)
                yield record

        made, skipped, candles = records(*given)
        return counted(), skipped, candles

    monkeypatch.setattr(backtest, "records", interrupted)
    monkeypatch.setattr(backtest, "BATCH", 10)
    with pytest.raises(KeyboardInterrupt):
        run(settings, folder, tmp_path / "s.parquet", BEGIN, END, show=False)

    assert taken < 200
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("expire", [False, True])
def test_every_promoted_version_joins_the_records_at_its_time(
    settings: Settings, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expire: bool
) -> None:
    heard: list[Any] = []

    def listening(settings: Settings, journal: Iterator[Journaled], *rest: Any, show: bool) -> Collected:
        heard.extend(journal)
        return Collected()

    shelf = Shelf(tmp_path / "shelf", "boosted")
    until = BEGIN // HOUR * HOUR
    made = [
        shelf.add(lambda to: save_json(to / "model.json"), Facts.of(until + hours * HOUR))
        for hours in (-300, -12)
    ]
    monkeypatch.setattr(backtest, "flowed", listening)
    run(settings, folder, tmp_path / "s.parquet", BEGIN, END, shelf=shelf, expire=expire, show=False)
    told = [one for one in heard if isinstance(one, Activation)]

    assert [one.version for one in told] == [one.version for one in made]
    assert [one.serves_from for one in told] == [until - 287 * HOUR, until + HOUR]
    lives = [one.expires - manifest.data_until for one, manifest in zip(told, made, strict=True)]
    assert lives == [168 * HOUR] * 2 if expire else {one.expires for one in told} == {NEVER}
    behind = heard[heard.index(told[1]) :]
    assert {one.time for one in behind if isinstance(one, Candle)} == set(range(until + HOUR, END + 1, FIVE))


def save_json(path: Path) -> None:
    path.write_text("{}")


@pytest.mark.market
def test_real_candles_make_a_signal_for_every_close_of_every_warm_symbol(tmp_path: Path) -> None:
    data = market_data("klines", "spot", "1h").parents[2]
    begin, end = instant("2024-06-01T00:00+00:00"), instant("2024-06-01T12:00+00:00")
    settings = load("config.yaml", {"SIGNAL_ENGINE_DECIDE__INTERVAL": "1h"})
    report = run(settings, data, tmp_path / "s.parquet", begin, end, ("BTCUSDT", "POLUSDT"), show=False)
    found = pl.read_parquet(report.out)

    assert found.height == 24
    assert set(found["symbol"]) == {"BTCUSDT", "MATICUSDT"}
    closes = pl.read_parquet(data / "klines/spot/1h/BTCUSDT.parquet")
    joined = found.filter(pl.col("symbol") == "BTCUSDT").join(
        closes.with_columns(time=pl.col("open_time") + INTERVALS["1h"]), on="time"
    )
    assert joined["entry"].to_list() == joined["close"].to_list()
