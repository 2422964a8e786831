"""The rows a training learns from: which closes, what followed them, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.history import History
from dataflows.connectors.journal import Journal
from dataflows.training.dataset import (
    HORIZON,
    STRIDE,
    Ask,
    Source,
    candle_of,
    featured,
    sound,
    sources,
    usable,
)
from dataflows.training.learnt import compact
from dataflows.training.run import quiet, side_by_side
from engine.extras import EXTRAS, Extras
from engine.records import INTERVALS, Candle, Listing, Metric
from engine.research.rows import INPUTS, MARKET, frames, track
from engine.settings import Settings, load
from engine.symbols import asset_of, instant
from tests.checks import START, market
from tests.dataflows.test_history import RENAME, save

HOUR, FIVE = INTERVALS["1h"], INTERVALS["5m"]
DAY = 24 * HOUR
CANDLES = 2_500
END = START + CANDLES * HOUR
MINIMUM = 500
SYMBOLS = {"majors": ("BTCUSDT", "ETHUSDT"), "alts": ("SOLUSDT",), "memes": ("DOGEUSDT",)}
PAIRS = [(symbol, segment) for segment, symbols in SYMBOLS.items() for symbol in symbols]
TREES = {
    "max_depth": 2,
    "learning_rate": 0.1,
    "n_estimators": 6,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "min_child_weight": 1,
}


def settings_of(symbols: Mapping[str, Sequence[str]] = SYMBOLS, **more: str) -> Settings:
    """The settings of these symbols, with trees that are grown in no time; decisions are hourly."""
    told = {
        "SYMBOLS": orjson.dumps({name: list(of) for name, of in symbols.items()}).decode(),
        "MODELS__BOOSTED__TREES": orjson.dumps(dict.fromkeys(symbols, TREES)).decode(),
        "DECIDE__INTERVAL": "1h",
        **more,
    }
    return load("config.yaml", {f"SIGNAL_ENGINE_{name}": value for name, value in told.items()})


def written(folder: Path, symbols: Mapping[str, Sequence[str]] = SYMBOLS, n: int = CANDLES) -> Path:
    """A folder of hourly candles, some hours missing; every symbol a market of its own."""
    for seed, symbol in enumerate(symbol for of in symbols.values() for symbol in of):
        candles = market(n, seed, symbol=symbol, holes=0.002)
        save(folder, symbol, [candle for candle in candles if candle.time <= START + n * HOUR])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("history"))


def ask_of(folder: Path, **changes: Any) -> Ask:
    return replace(Ask(folder, "spot", "1h", START + 1_100 * HOUR, END), **changes)


def read(ask: Ask, pairs: Sequence[tuple[str, str]] = PAIRS) -> dict[str, Source]:
    with side_by_side(1) as pool:
        return {one.symbol: one for one in sources(ask, pairs, MINIMUM, pool, quiet)}


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Source]:
    return read(ask_of(folder, begin=START))


def test_closes_are_taken_on_one_grid_for_all_symbols_and_times(
    folder: Path, found: dict[str, Source]
) -> None:
    later = read(ask_of(folder, begin=START + 1_101 * HOUR))
    for symbol, one in found.items():
        assert set(one.time // HOUR % STRIDE) == {0}
        newer = one.time > START + 1_101 * HOUR
        assert later[symbol].time.tolist() == one.time[newer].tolist()
        assert later[symbol].inputs.tobytes() == one.inputs[newer].tobytes()
        assert later[symbol].moves.tobytes() == one.moves[newer].tobytes()


def test_all_hours_of_the_day_come(found: dict[str, Source]) -> None:
    for one in found.values():
        hours, counts = np.unique(one.time // HOUR % 24, return_counts=True)

        assert hours.tolist() == list(range(24))
        assert counts.max() - counts.min() < 5


def test_no_row_comes_before_the_minimum(folder: Path, found: dict[str, Source]) -> None:
    for symbol, one in found.items():
        closes = History(folder, "spot").candles(symbol, "1h", START, END)["time"].to_list()

        assert one.closes.tolist() == closes
        due = [time for time in closes[MINIMUM - 1 :] if time // HOUR % STRIDE == 0]
        assert one.time.tolist() == due
        assert one.candles(closes[9]) == 10
        assert one.candles(closes[9] + HOUR // 2) == 10


def test_a_row_is_what_the_flow_would_read_at_that_close(folder: Path, found: dict[str, Source]) -> None:
    rows = History(folder, "spot").candles("SOLUSDT", "1h", START, END)
    alone = track("SOLUSDT", "1h", [Candle(*row) for row in rows.iter_rows()])
    kept = np.isin(alone.time, found["SOLUSDT"].time)

    assert found["SOLUSDT"].inputs.shape == (kept.sum(), len(INPUTS))
    assert found["SOLUSDT"].inputs[:, : -len(MARKET)].tobytes() == alone.ratios[kept].tobytes()


def test_market_frames_measured_in_parts_are_those_measured_at_once(
    folder: Path, found: dict[str, Source]
) -> None:
    tracks = [featured(ask_of(folder, begin=START), symbol) for symbol, _ in PAIRS]
    listings = [Listing(name, name, asset_of(name), segment) for name, segment in sorted(PAIRS)]
    whole = frames({one.symbol: (one.time, one.returns) for one in tracks}, listings, "1h", START, END)
    for one in tracks:
        kept = np.isin(one.time, found[one.symbol].time)
        measured = found[one.symbol].inputs[:, -len(MARKET) :]

        assert np.isfinite(measured[:, MARKET.index("market_return")]).mean() > 0.9
        assert measured.tobytes() == whole[one.symbol][kept].tobytes()


def test_a_move_is_that_to_the_close_twelve_candles_later_or_unknown(
    folder: Path, found: dict[str, Source]
) -> None:
    for symbol, one in found.items():
        rows = History(folder, "spot").candles(symbol, "1h", START, END)
        close = dict(zip(rows["time"], rows["close"], strict=True))
        wanted = [
            close[time + HORIZON * HOUR] / close[time] - 1 if time + HORIZON * HOUR in close else np.nan
            for time in one.time.tolist()
        ]

        assert np.isnan(wanted).any()
        assert one.moves.tolist() == pytest.approx(wanted, nan_ok=True, abs=0)


FINE = 600
"""Hours that are recorded in candles of five minutes."""


@pytest.fixture
def fine(tmp_path: Path) -> Path:
    """Hours of one symbol, of whose last ones the five minutes are there too, some missing."""
    save(tmp_path, "BTCUSDT", market(CANDLES, 1))
    begin = END - FINE * HOUR
    save(tmp_path, "BTCUSDT", market(FINE * 12 - 60, 2, interval="5m", start=begin, holes=0.001))
    return tmp_path


def looped(folder: Path, time: Sequence[int]) -> list[list[float]]:
    """The moves of an hour's twelve signals, as anybody would write it down."""
    rows = History(folder, "spot").candles("BTCUSDT", "5m", 0, END)
    close = {candle.time: candle.close for row in rows.iter_rows() if (candle := candle_of(row)) is not None}
    found = []
    for begin in time:
        signals = [begin + FIVE * number for number in range(12)]
        found.append([close.get(at + HORIZON * FIVE, np.nan) / close.get(at, np.nan) - 1 for at in signals])
    return found


def test_moves_of_another_interval_are_those_of_its_own_closes(fine: Path) -> None:
    one = read(ask_of(fine, others=("5m",)), [("BTCUSDT", "majors")])["BTCUSDT"]
    moves = one.others["5m"]

    assert moves.shape == (len(one.time), 12)
    assert FINE / STRIDE * 12 * 0.8 < np.isfinite(moves).sum() < FINE / STRIDE * 12
    assert moves.tolist() == [
        pytest.approx(line, nan_ok=True, abs=1e-15) for line in looped(fine, one.time.tolist())
    ]


def test_rows_of_another_interval_that_cannot_be_are_no_closes(fine: Path) -> None:
    path = fine / "klines/spot/5m/BTCUSDT.parquet"
    rows = pl.read_parquet(path).with_row_index()
    at = pl.col("index")
    wrong = rows.with_columns(
        pl.when(at % 101 == 7).then(-1.0).when(at % 101 == 9).then(1e9).otherwise("close").alias("close"),
        pl.when(at % 101 == 11).then(pl.col("open_time") + 1).otherwise("open_time").alias("open_time"),
    )
    wrong.drop("index").write_parquet(path)
    one = read(ask_of(fine, others=("5m",)), [("BTCUSDT", "majors")])["BTCUSDT"]

    assert np.nanmax(np.abs(one.others["5m"])) < 1
    assert one.others["5m"].tolist() == [
        pytest.approx(line, nan_ok=True, abs=1e-15) for line in looped(fine, one.time.tolist())
    ]


PRICE = st.sampled_from([0.0, -1.0, 1.0, 2.0, 3.0, np.nan, np.inf])


@given(*[PRICE] * 5, st.sampled_from([HOUR, HOUR + 1]))
def test_what_a_candle_refuses_is_not_sound(
    open: float, high: float, low: float, close: float, volume: float, time: int
) -> None:
    row = ("BTCUSDT", "1h", time, open, high, low, close, volume)
    frame = pl.DataFrame(
        [row], schema=["symbol", "interval", "time", "open", "high", "low", "close", "volume"], orient="row"
    )

    assert (sound(frame, HOUR).height == 1) == (candle_of(row) is not None)


def test_rows_that_no_market_can_have_made_are_left_out(tmp_path: Path, folder: Path) -> None:
    candles = market(CANDLES, 1)
    path = save(tmp_path, "BTCUSDT", candles)
    rows = pl.read_parquet(path)
    wrong = rows[700:720].with_columns(pl.lit(-1.0).alias("close"))
    pl.concat([rows[:700], wrong, rows[720:]]).write_parquet(path)
    one = read(ask_of(tmp_path, begin=START), [("BTCUSDT", "majors")])["BTCUSDT"]
    save(tmp_path, "BTCUSDT", [*candles[:700], *candles[720:]])
    other = read(ask_of(tmp_path, begin=START), [("BTCUSDT", "majors")])["BTCUSDT"]

    assert len(one.closes) == CANDLES - 20
    assert one.inputs.tobytes() == other.inputs.tobytes()
    assert one.moves.tobytes() == other.moves.tobytes()


def test_both_names_of_one_coin_are_one_source(tmp_path: Path) -> None:
    save(tmp_path, "MATICUSDT", market(1_200, 1, start=RENAME - 1_200 * HOUR))
    reopened = instant("2024-09-13T10:00+00:00")
    save(tmp_path, "POLUSDT", market(800, 2, start=reopened))
    ask = Ask(tmp_path, "spot", "1h", RENAME - 1_200 * HOUR, reopened + 800 * HOUR)
    one = read(ask, [("POLUSDT", "alts")])["POLUSDT"]
    before, after = one.time <= RENAME, one.time > RENAME

    assert (one.symbol, len(one.closes)) == ("POLUSDT", 2_000)
    assert before.sum() == (1_200 - MINIMUM) // STRIDE
    assert after.sum() == 800 // STRIDE
    crossing = (one.time > RENAME - HORIZON * HOUR) & before
    assert np.isnan(one.moves[crossing]).all()
    assert np.isfinite(one.moves[before & ~crossing]).all()


def test_a_symbol_that_was_never_recorded_has_no_rows(folder: Path) -> None:
    found = read(ask_of(folder), [*PAIRS, ("WIFUSDT", "memes")])

    assert [len(part) for part in (found["WIFUSDT"].time, found["WIFUSDT"].closes)] == [0, 0]
    assert found["BTCUSDT"].inputs.tobytes() == read(ask_of(folder))["BTCUSDT"].inputs.tobytes()
    assert read(ask_of(folder), [("WIFUSDT", "memes")])["WIFUSDT"].candles(END) == 0


def test_an_end_far_away_costs_nothing(folder: Path) -> None:
    far = read(ask_of(folder, end=instant("9999-01-01T00:00+00:00") // HOUR * HOUR))

    assert far["ETHUSDT"].inputs.tobytes() == read(ask_of(folder))["ETHUSDT"].inputs.tobytes()


def test_what_is_always_read_is_of_candles_only() -> None:
    for word in ("trades", "taker", "quote", "funding", "interest", "liquidation"):
        assert not [name for name in INPUTS if word in name]


@pytest.mark.parametrize(("missing", "refused"), [(25, False), (26, True)])
def test_an_optional_input_is_refused_below_its_share_by_name(missing: int, refused: bool) -> None:
    """25 of the 2,500 rows are one percent."""
    there = np.ones((CANDLES, len(EXTRAS)), np.float32)
    lacking = there.copy()
    lacking[:missing, EXTRAS.index("funding")] = np.nan
    names, why = usable({"BTCUSDT": there, "ETHUSDT": lacking})

    assert ("funding" in names) is not refused
    assert set(names) | set(why) == set(EXTRAS)
    if refused:
        assert why == {"funding": "known in 99.0 % of the rows of ETHUSDT: 99 % are needed"}


def recorded(folder: Path, *metrics: Metric) -> None:
    """Metrics as the training process keeps them."""
    journal = Journal(folder / "engine")
    try:
        journal.append(metrics)
        compact(journal, folder)
    finally:
        journal.close()


def moods(until: int, shift: int = 0) -> list[Metric]:
    """Fear & greed of every day, learned an hour after it was told."""
    return [
        Metric("alternative_me.fear_greed", "", at, float(at // DAY % 90) + shift, learned=at + HOUR)
        for at in range(START - 8 * DAY, until, DAY)
    ]


def test_an_input_of_a_row_is_what_had_been_learned_before_its_close(tmp_path: Path) -> None:
    save(tmp_path, "BTCUSDT", market(CANDLES, 1))
    recorded(tmp_path, *moods(END))
    found = read(ask_of(tmp_path), PAIRS[:1])["BTCUSDT"]
    told = found.extras[:, EXTRAS.index("fear_greed")]
    days = (found.time - HOUR - 1) // DAY * DAY

    assert told.tolist() == (days // DAY % 90).tolist()


def test_nothing_learned_later_reaches_a_row(tmp_path: Path) -> None:
    save(tmp_path, "BTCUSDT", market(CANDLES, 1))
    plain, planted = tmp_path / "plain", tmp_path / "planted"
    cut = START + 1_500 * HOUR
    for folder, shift in ((plain, 0), (planted, 50)):
        save(folder, "BTCUSDT", market(CANDLES, 1))
        recorded(folder, *moods(cut), *moods(END, shift)[(cut - START) // DAY + 9 :])
    before, after = (read(ask_of(folder), PAIRS[:1])["BTCUSDT"] for folder in (plain, planted))
    early = before.time <= cut

    assert before.extras[early].tobytes() == after.extras[early].tobytes()
    assert before.extras.tobytes() != after.extras.tobytes()


def test_the_numbers_of_a_row_are_those_a_live_symbol_has(tmp_path: Path) -> None:
    save(tmp_path, "BTCUSDT", market(CANDLES, 1))
    told = moods(END)
    recorded(tmp_path, *told)
    found = read(ask_of(tmp_path), PAIRS[:1])["BTCUSDT"]
    live, waiting = Extras("BTC"), list(told)
    for time, row in zip(found.time.tolist(), found.extras, strict=True):
        while waiting and waiting[0].learned < time:
            live.update(waiting.pop(0))
        assert np.array(live.at(time), np.float32).tobytes() == row.tobytes()


def test_without_recorded_metrics_every_optional_input_is_refused(folder: Path) -> None:
    found = read(ask_of(folder))["BTCUSDT"]

    assert found.extras.shape == (len(found.time), len(EXTRAS))
    assert usable({"BTCUSDT": found.extras})[0] == ()
