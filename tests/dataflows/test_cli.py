"""The command: one line for every error, stable exit codes, and JSON for machines."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import polars as pl
import pytest

from dataflows.cli import main
from engine.symbols import instant
from tests.checks import market
from tests.dataflows.runs import ROOT, until
from tests.dataflows.test_history import save

BEGIN = "2024-06-04"
HOURS = 200


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine's own; a data folder that is nobody else's."""
    for name in [name for name in os.environ if name.startswith("SIGNAL_ENGINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SIGNAL_ENGINE_STORAGE__FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("SIGNAL_ENGINE_DECIDE__MINIMUM", "20")
    monkeypatch.setenv("SIGNAL_ENGINE_DECIDE__WARM_UP", "20")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    start = instant("2024-06-02T00:00+00:00")
    save(tmp_path / "market", "BTCUSDT", market(HOURS, 1, interval="1h", start=start))
    save(tmp_path / "market", "ETHUSDT", market(HOURS, 2, interval="1h", start=start))
    return tmp_path / "market"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    """Exit code, what was printed, and the lines of what went wrong."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out, printed.err.splitlines()


def backtest(folder: Path, out: Path, *more: str) -> Sequence[str]:
    span = ("--from", BEGIN, "--to", "2024-06-05T12:00:00Z")
    return ("backtest", "--data", str(folder), "--interval", "1h", *span, "--out", str(out), *more)


def test_a_backtest_says_what_it_did(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    code, said, wrong = run(capsys, *backtest(folder, tmp_path / "s.parquet"))

    assert (code, wrong) == (0, [])
    assert "72 signals" in said
    assert "skipped, no candle in the span: ARBUSDT, " in said
    assert pl.read_parquet(tmp_path / "s.parquet").height == 72


def test_a_backtest_for_machines_is_one_document(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    more = ("--json", "--symbols", "ETHUSDT, BTCUSDT")
    code, said, wrong = run(capsys, *backtest(folder, tmp_path / "s.parquet", *more))
    report = json.loads(said)

    assert (code, wrong) == (0, [])
    assert report["symbols"] == ["ETHUSDT", "BTCUSDT"]
    assert (report["signals"], report["skipped"], report["corrupt"]) == (72, [], 0)


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--from", "soon"), 2, "'soon' is not an ISO-8601 time"),
        (("--to", "2024-06-04"), 2, "--from must be before --to"),
        (("--symbols", "FOOUSDT"), 2, "FOOUSDT is not configured; near: "),
        (("--symbols", "btcusdt"), 2, "near: BTCUSDT"),
        (("--market", "forex"), 2, "'--market'"),
        (("--interval", "7m"), 2, "decide.interval (SIGNAL_ENGINE_DECIDE__INTERVAL): must be one of"),
        (("--config", "nowhere.yaml"), 2, "nowhere.yaml: cannot be read: No such file"),
        (("--data", "/nowhere"), 4, "/nowhere: no recorded candles here"),
        (("--market", "um"), 4, "klines/um is missing"),
        (("--from", "2030-01-01", "--to", "2030-02-01"), 4, "in that span"),
        (("--out", "/proc/nowhere/s.parquet"), 4, "/proc/nowhere/s.parquet: cannot be written"),
        (("--out", "/"), 4, "cannot be written"),
        (("--speed", "1"), 2, "No such option: --speed"),
    ],
)
def test_bad_input_is_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
    more: Sequence[str],
    code: int,
    words: str,
) -> None:
    found, said, wrong = run(capsys, *backtest(folder, tmp_path / "s.parquet", *more))

    assert (found, said, len(wrong)) == (code, "", 1), wrong
    assert wrong[0].startswith("signal-engine: ")
    assert words in wrong[0]
    assert not (tmp_path / "s.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("frob",), 2, "No such command 'frob'. See signal-engine --help"),
        (("backtest",), 2, "Missing option '--data'. See signal-engine backtest --help"),
        (("replay-exchange",), 2, "give either a data folder or --simulate"),
        (("replay-exchange", "--data", "/nowhere"), 2, "--from is missing"),
        (("replay-exchange", "--data", "/nowhere", "--from", BEGIN), 4, "no klines in /nowhere/klines/spot"),
        (("replay-exchange", "--data", "/nowhere", "--simulate", "--from", BEGIN), 2, "either a data folder"),
        (("replay-exchange", "--simulate", "--speed", "fast"), 2, "speed must be a number above 0 or max"),
        (("replay-exchange", "--simulate", "--speed", "0"), 2, "speed must be a number above 0 or max"),
        (("replay-exchange", "--simulate", "--from", "now"), 2, "'now' is not an ISO-8601 time"),
        (("replay-exchange", "--simulate", "--port", "70000"), 2, "'--port'"),
        (("replay-exchange", "--simulate", "--market", "swap"), 2, "'--market'"),
        (("replay-exchange", "--simulate", "--faults", "sloth@1"), 2, "fault 'sloth' is unknown"),
        (("up", "--config", "nowhere.yaml"), 2, "nowhere.yaml: cannot be read"),
        (("demo", "--config", "nowhere.yaml"), 2, "nowhere.yaml: cannot be read"),
    ],
)
def test_a_wrong_command_is_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], code: int, words: str
) -> None:
    found, _, wrong = run(capsys, *arguments)

    assert (found, len(wrong)) == (code, 1), wrong
    assert wrong[0].startswith("signal-engine: ")
    assert words in wrong[0]


def test_an_unknown_key_is_named_with_the_nearest_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "c.yaml").write_text("decide: {intervl: 5m}\n")
    config = ("--config", str(tmp_path / "c.yaml"))
    for arguments in (("up", *config), ("live", *config), backtest(folder, tmp_path / "s.parquet", *config)):
        code, _, wrong = run(capsys, *arguments)

        assert code == 2
        assert wrong == [
            f"signal-engine: {tmp_path / 'c.yaml'}: decide.intervl: unknown key; did you mean 'interval'?"
        ]


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_port_in_use_is_exit_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        monkeypatch.setenv("SIGNAL_ENGINE_API__PORT", str(busy.getsockname()[1]))
        code, _, wrong = run(capsys, command)

    assert code == 3
    assert len(wrong) == 1
    assert "cannot be used: Address already in use" in wrong[0]
    assert not (tmp_path / "data" / "logs").exists()


def test_a_data_folder_that_cannot_be_written_is_exit_4(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIGNAL_ENGINE_STORAGE__FOLDER", str(tmp_path / "file"))
    code, _, wrong = run(capsys, "up")

    assert code == 4
    assert len(wrong) == 1
    assert f"{tmp_path / 'file'} cannot be used" in wrong[0]


def test_a_full_disk_is_exit_4(folder: Path, tmp_path: Path) -> None:
    arguments = backtest(folder, tmp_path / "s.parquet")
    text = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500));"
        f"from dataflows.cli import main; main({arguments!r})"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 4, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "s.parquet: cannot be written" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["market"]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "--help")
    bare_code, bare, wrong = run(capsys)

    assert (code, bare_code, wrong) == (0, 2, [])
    for command in ("up", "live", "demo", "doctor", "backtest", "replay-exchange"):
        assert f" {command} " in said
        assert f" {command} " in bare


def test_doctor_for_machines_is_one_document_and_its_code_a_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said, _ = run(capsys, "doctor", "--json", "--config", "nowhere.yaml")
    checks = json.loads(said)

    assert code == 1
    assert checks[0]["name"] == "configuration"
    assert checks[0]["ok"] is False


def test_the_replay_exchange_says_where_it_listens_and_ends_when_told(tmp_path: Path) -> None:
    command = ("replay-exchange", "--simulate", "--port", "0", "--symbols", "BTCUSDT,ETHUSDT", "--json")
    with subprocess.Popen(
        [sys.executable, "-m", "dataflows", *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        where = json.loads(process.stdout.readline())
        info = httpx.get(f"{where['rest']}/api/v3/exchangeInfo", trust_env=False).json()
        port = where["rest"].rpartition(":")[2]
        again = subprocess.run(
            [sys.executable, "-m", "dataflows", *command[:2], "--port", port],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        process.send_signal(signal.SIGINT)

        assert process.wait(20) == 0
        assert process.stderr.read() == b""
    assert [row["symbol"] for row in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert where["stream"].startswith("ws://127.0.0.1:")
    assert again.returncode in (2, 3)
    assert f"cannot listen on 127.0.0.1:{port}" in again.stderr
    assert len(again.stderr.splitlines()) == 1


def test_ctrl_c_in_a_backtest_is_exit_130_without_a_word(folder: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT"):
        save(big, name, market(6_000, 1, interval="1h", start=instant("2024-01-01T00:00+00:00")))
    arguments = backtest(big, tmp_path / "s.parquet", "--from", "2024-01-03", "--to", "2024-09-01")
    with subprocess.Popen(
        [sys.executable, "-m", "dataflows", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        until(lambda: (tmp_path / "s.parquet.new").exists(), "the work to begin", 30)
        process.send_signal(signal.SIGINT)
        said, wrong = process.communicate(timeout=30)

    assert (process.returncode, said, wrong) == (130, b"", b"")
    assert not list(tmp_path.glob("s.parquet*"))


def test_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "dataflows", "doctor", "--config", "nowhere.yaml"],
        cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(write)

    assert done.stderr == b""
