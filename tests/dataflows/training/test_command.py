"""`signal-engine train`: what it prints, how it ends, and that nothing is left of one that was killed."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psutil
import pytest

from dataflows.cli import main
from dataflows.training.command import DAY, Wanted, progress
from engine.errors import SettingsError
from engine.models.shelf import Shelf
from engine.records import INTERVALS
from engine.research.rows import INPUTS_HASH
from tests.dataflows.runs import ROOT, until
from tests.dataflows.training.test_dataset import END, TREES, written

HOUR = INTERVALS["1h"]
SYMBOLS = {"majors": ("BTCUSDT",), "memes": ("DOGEUSDT",)}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two symbols, small trees, and no setting of the machine's own."""
    for name in [name for name in os.environ if name.startswith("SIGNAL_ENGINE_")]:
        monkeypatch.delenv(name)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


def environment(**trees: int) -> dict[str, str]:
    grown = {segment: {**TREES, **trees} for segment in SYMBOLS}
    return {
        "SIGNAL_ENGINE_SYMBOLS": orjson.dumps({name: list(of) for name, of in SYMBOLS.items()}).decode(),
        "SIGNAL_ENGINE_MODELS__BOOSTED__TREES": orjson.dumps(grown).decode(),
        "SIGNAL_ENGINE_DECIDE__INTERVAL": "1h",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("history"), SYMBOLS)


def iso(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat()


def command(folder: Path, shelf: Path, *more: str, at: int = END) -> list[str]:
    where = ("--data", str(folder), "--shelf", str(shelf))
    return ["train", *where, "--until", iso(at), "--workers", "1", *more]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    """Exit code, what was printed, and the lines of what went wrong."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out, printed.err.splitlines()


def test_people_read_what_each_segment_is_worth(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    code, said, wrong = run(capsys, *command(folder, tmp_path, "--interval", "1h"))
    head, *segments = said.splitlines()
    version = Shelf(tmp_path, "boosted").current()

    assert (code, wrong) == (0, [])
    assert re.fullmatch(rf"{version} promoted \(the first version\) in \d+\.\d s", head)
    assert [line.split()[0] for line in segments] == list(SYMBOLS)
    figure = r"[+-]?\d\.\d+"
    for line in segments:
        assert re.search(
            rf"(no )?skill +AUC {figure} \[{figure}, {figure}\]  Brier skill {figure}  ECE {figure}  "
            rf"p3 skill {figure} \(volatility {figure}\)  rounds \d+ \+ \d+, "
            r"(configured|regularised), \d+ rows$",
            line,
        )


def test_machines_read_progress_and_then_one_document(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    code, said, wrong = run(capsys, *command(folder, tmp_path, "--json"))
    *told, document = [json.loads(line) for line in said.splitlines()]

    assert (code, wrong) == (0, [])
    assert all(set(line) == {"stage", "progress"} for line in told)
    assert [line["stage"] for line in told if line["progress"] == 1] == ["features", "market", "trees"]
    assert set(document) == {"version", "promoted", "reason", "seconds", "metrics"}
    shelf = Shelf(tmp_path, "boosted")
    assert document["version"] == shelf.current()
    assert (document["promoted"], document["reason"]) == (True, "the first version")
    assert document["metrics"] == shelf.manifest(document["version"]).metrics
    assert document["seconds"] > 0


def test_a_series_tells_every_version(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    span = ("--from", iso(END - 6 * 86_400_000), "--every", "3")
    code, said, wrong = run(capsys, *command(folder, tmp_path, *span, "--json", "--full-rounds"))
    versions = [found["version"] for line in said.splitlines() if "version" in (found := json.loads(line))]
    shelf = Shelf(tmp_path, "boosted")

    assert (code, wrong) == (0, [])
    assert tuple(versions) == shelf.versions()
    assert [END - shelf.manifest(one).until for one in versions] == [6 * DAY, 3 * DAY, 0]
    assert not shelf.manifest(versions[0]).parameters["early_stopping"]


def test_a_series_of_one_is_trained_where_it_begins(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    begin = END - 2 * DAY
    code, _, _ = run(capsys, *command(folder, tmp_path, "--from", iso(begin), "--every", "30"))
    shelf = Shelf(tmp_path, "boosted")

    assert code == 0
    assert [shelf.manifest(one).until for one in shelf.versions()] == [begin]


@pytest.mark.parametrize(
    "span",
    [
        ("--from", "2024-01-01"),
        ("--every", "7"),
        ("--from", "2099-01-01", "--every", "7"),
        *(("--from", "2024-01-01", "--every", days) for days in ("0", "-1", "nan", "inf", "1e-12")),
    ],
)
def test_half_a_series_is_refused_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, span: tuple[str, ...]
) -> None:
    code, said, wrong = run(capsys, *command(tmp_path / "nowhere", tmp_path, *span))

    assert (code, said) == (2, "")
    assert wrong == ["signal-engine: train: a series needs --from, before --until, and --every DAYS above 0"]


def test_a_series_includes_both_its_ends() -> None:
    def untils(every: float, begin: int = 0, end: int = 3 * DAY) -> list[int]:
        return Wanted(Path("d"), Path("s"), end, begin, every).untils()

    assert untils(1.5) == [0, 3 * DAY // 2, 3 * DAY]
    assert untils(2) == [0, 2 * DAY]
    assert untils(1, 3 * DAY) == [3 * DAY]
    with pytest.raises(SettingsError):
        untils(1, 3 * DAY + 1)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--until", "yesterday"), 2, "'yesterday' is not an ISO-8601 time"),
        (("--interval", "7m"), 2, "models.boosted.interval"),
        (("--profile", "huge"), 2, "--profile"),
        (("--workers", "0"), 2, "--workers"),
        (("--data", "/nowhere"), 4, "/nowhere: no recorded candles here, /nowhere/klines/spot is missing"),
        (
            ("--until", "2023-12-01"),
            4,
            "nothing to train on: 500 candles a symbol are needed; found BTCUSDT ",
        ),
        (("--shelf", "/dev/null"), 4, "boosted"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    ended, said, wrong = run(capsys, *command(folder, tmp_path, *arguments))

    assert (ended, said, len(wrong)) == (code, "", 1)
    assert wrong[0].startswith("signal-engine: ")
    assert told in wrong[0]


class Terminal(io.StringIO):
    """Somewhere a person reads."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "shown"), [(Terminal, True), (io.StringIO, False)])
def test_progress_is_drawn_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], shown: bool
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    drawn = stream()
    monkeypatch.setattr(sys, "stderr", drawn)
    with progress(as_json=False) as told:
        for stage in ("features", "trees"):
            told(stage, 0.5)
            told(stage, 1.0)
        told("trees", 0.5)  # that of the next version

    assert bool(drawn.getvalue()) is shown
    for stage in ("features", "trees"):
        assert (stage in drawn.getvalue()) is shown


def test_machines_get_no_bar_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = Terminal()
    monkeypatch.setattr(sys, "stderr", drawn)
    with progress(as_json=True) as told:
        told("trees", 1 / 3)

    assert drawn.getvalue() == ""
    assert capsys.readouterr().out == '{"stage": "trees", "progress": 0.3333}\n'


@contextmanager
def training(folder: Path, shelf: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command with two processes of its own, busy for minutes; none of them is left afterwards."""
    busy = environment(n_estimators=5_000, max_depth=8)
    arguments = [*command(folder, shelf, "--json", "--full-rounds"), "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dataflows", *arguments],
        cwd=ROOT,
        env={**os.environ, **busy},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def reached(process: subprocess.Popen[bytes], stage: str) -> list[psutil.Process]:
    """Wait until it tells of a stage; the processes that it has then."""
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["stage"] == stage:
            return [one for one in psutil.Process(process.pid).children(recursive=True) if worker(one)]
    raise AssertionError(f"it ended before {stage}: {process.communicate()[1].decode()}")


def worker(process: psutil.Process) -> bool:
    return "spawn_main" in " ".join(process.cmdline())


def alive(process: psutil.Process) -> bool:
    """Whether it may still do something: one that nobody has buried yet may not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("number", "stage", "code"),
    [
        (signal.SIGTERM, "features", -signal.SIGTERM),
        (signal.SIGKILL, "market", -signal.SIGKILL),
        (signal.SIGINT, "market", 130),
    ],
)
def test_ended_in_the_middle_it_leaves_the_shelf_as_it_was_and_no_process(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    tmp_path: Path,
    number: signal.Signals,
    stage: str,
    code: int,
) -> None:
    run(capsys, *command(folder, tmp_path, at=END - 10 * DAY))
    shelf = Shelf(tmp_path, "boosted")
    before = (shelf.versions(), shelf.current())
    with training(folder, tmp_path) as process:
        workers = reached(process, stage)
        assert len(workers) == 2
        process.send_signal(number)
        _, wrong = process.communicate(timeout=60)
        until(lambda: not any(alive(one) for one in workers), "the end of its processes", 20)

    assert process.returncode == code
    assert b"Traceback" not in wrong
    assert (shelf.versions(), shelf.current()) == before
    assert not shelf.faults(INPUTS_HASH)
    assert run(capsys, *command(folder, tmp_path))[0] == 0
    assert len(shelf.versions()) == 2
