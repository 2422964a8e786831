"""The command: what it takes, what it prints, and the code it leaves with."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import typer
from typer.testing import CliRunner, Result

from dataflows.backfill.command import backfill
from dataflows.replay.faults import Fault
from engine.errors import SettingsError, UnknownSymbol
from tests.dataflows.backfill.rig import DAY, NOW, Rig
from tests.dataflows.backfill.test_killed import configured


def run(rig: Rig, *arguments: str, data: Path | None = None) -> Result:
    app = typer.Typer()
    app.command()(backfill)
    where = ("--config", str(configured(rig, rig.folder.parent)), "--archive", rig.exchange.url)
    span = () if "--from" in arguments else ("--from", "2025-02-20")
    market = ("--market", rig.exchange.market)
    return CliRunner().invoke(app, ["--data", str(data or rig.folder), *where, *market, *span, *arguments])


def test_json_tells_what_came(spot: Rig) -> None:
    done = run(spot, "--symbols", "BTCUSDT", "--interval", "1h,4h", "--interval", "15m", "--json")
    report = json.loads(done.stdout)

    assert done.exit_code == 0
    assert {file["file"] for file in report["files"]} == {
        f"klines/spot/{interval}/BTCUSDT.parquet" for interval in ("15m", "1h", "4h")
    }
    assert (report["failed"], report["refused"], report["corrupt"]) == ([], [], 0)
    assert report["zips"] == 3 * 9


def test_people_read_one_line_where_all_is_well(spot: Rig) -> None:
    done = run(spot, "--symbols", "BTCUSDT")

    assert done.exit_code == 0
    assert done.stdout.startswith("432 new rows, 432 in 1 files; 2 months asked for, 9 archive files in")
    assert done.stdout.count("\n") == 1


def test_it_leaves_with_3_when_something_could_not_be_had(spot: Rig) -> None:
    spot.exchange.add(Fault("status", path="/api/v3/klines", status=451))
    done = run(spot, "--symbols", "BTCUSDT")

    assert done.exit_code == 3
    assert "still missing: klines/spot/1h/BTCUSDT.parquet: 2025-03-09T00:00..2025-03-10T00:00" in done.stdout


def test_statistics_come_when_asked_for(um: Rig) -> None:
    done = run(um, "--symbols", "1000PEPEUSDT", "--funding", "--metrics", "--from", "2025-03-01")

    assert done.exit_code == 0
    assert {file.parent.name for file in (um.folder / "futures").rglob("*.parquet")} == {"funding", "5m"}


def test_the_span_ends_where_it_is_told(spot: Rig) -> None:
    run(spot, "--symbols", "BTCUSDT", "--from", "2025-03-01T00:00:00Z", "--to", "2025-03-02T00:00:00Z")
    times = pl.read_parquet(spot.file())["open_time"]

    assert (times[0], times[-1], len(times)) == (1_740_787_200_000, 1_740_870_000_000, 24)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("--interval", "7m"), SettingsError, "'7m' is not one of"),
        (("--symbols", "BTC"), UnknownSymbol, "not a USDT pair"),
        (("--from", "yesterday"), SettingsError, "'yesterday' is not a time"),
        (("--from", "2025-03-02", "--to", "2025-03-01"), SettingsError, "--from must be before --to"),
    ],
)
def test_what_cannot_be_used_is_named(
    spot: Rig, arguments: tuple[str, ...], error: type[Exception], said: str
) -> None:
    done = run(spot, *arguments)

    assert isinstance(done.exception, error)
    assert said in str(done.exception)
    assert not spot.folder.exists()


def test_all_configured_symbols_are_the_default(spot: Rig) -> None:
    done = run(spot, "--from", str(NOW - DAY), "--json")

    assert done.exit_code == 0
    assert len(json.loads(done.stdout)["empty"]) == 16
