"""Recovery is always on, once, whole; and the flow ends as it is told to."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import FixedPartitionedSink

from dataflows.recovery import PARTITIONS, initialise, is_given, is_primary, part, variables
from dataflows.world import live
from engine.errors import StorageError
from engine.settings import Settings, load
from tests.dataflows.runs import ROOT, until

FLOW = """
import os, sys, time
from pathlib import Path
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.connectors.stdio import StdOutSink
from dataflows.connectors.ingest import STOP
from dataflows.recovery import is_primary, prepare
from engine.settings import load

class Part(StatefulSourcePartition):
    def __init__(self, count):
        self.count = count or 0
    def next_batch(self):
        if STOP.is_set():
            raise StopIteration
        time.sleep(0.01)
        self.count += 1
        return [f"counted {self.count}"]
    def snapshot(self):
        return self.count

class Source(FixedPartitionedSource):
    def list_parts(self):
        return ["only"] if is_primary(sys.argv[1:], os.environ) else []
    def build_part(self, step_id, for_part, resume):
        print("begins at", resume, flush=True)
        return Part(resume)

def flow():
    print("asked", os.environ.get("BYTEWAX_RECOVERY_DIRECTORY"), flush=True)
    prepare(load("config.yaml"))
    made = Dataflow("small")
    op.output("out", op.input("in", made, Source()), StdOutSink())
    return made
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load("config.yaml", {"SIGNAL_ENGINE_STORAGE__FOLDER": str(tmp_path)})


class Run:
    """A small flow that prepares itself as the real one does."""

    def __init__(self, folder: Path, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None):
        self.folder = folder
        (folder / "small_flow.py").write_text(FLOW)
        self.log = folder / f"{len(list(folder.glob('*.out')))}.out"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BYTEWAX_")}
        own = {
            "SIGNAL_ENGINE_STORAGE__FOLDER": str(folder),
            "SIGNAL_ENGINE_STORAGE__SNAPSHOT_EVERY": "1",
            "PYTHONPATH": str(ROOT),
        }
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", f"{folder / 'small_flow.py'}", *arguments],
                cwd=ROOT, env={**clean, **own, **(environ or {})}, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.log.read_text()

    def until(self, words: str) -> None:
        until(lambda: words in self.said or self.process.poll() is not None, f"{words!r}; {self.said}", 30)
        assert words in self.said, self.said

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[Run]]:
    made: list[Run] = []
    yield made
    for run in made:
        if run.process.poll() is None:
            run.process.kill()
        run.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_bare_run_starts_again_once_with_recovery_and_goes_on_where_it_was_stopped(
    tmp_path: Path, runs: list[Run], number: int
) -> None:
    runs.append(first := Run(tmp_path))
    first.until("counted 20\n")

    assert first.end(number) == 0
    assert first.said.count("asked") == 2
    assert first.said.startswith(f"asked None\nasked {tmp_path / 'recovery'}\nbegins at None\ncounted 1\n")
    last = int(first.said.split()[-1])

    runs.append(second := Run(tmp_path))
    second.until(f"counted {last + 1}\n")

    assert second.end(signal.SIGTERM) == 0
    assert f"begins at {last}\n" in second.said


def test_a_folder_of_the_users_own_is_left_to_the_user(tmp_path: Path, runs: list[Run]) -> None:
    initialise(tmp_path / "mine")
    runs.append(run := Run(tmp_path, ("-r", str(tmp_path / "mine"), "-s", "1", "-b", "0")))
    run.until("counted 1\n")

    assert run.end(signal.SIGTERM) == 0
    assert run.said.startswith("asked None\nbegins at None\n")
    assert not (tmp_path / "recovery").exists()


def test_recovery_can_be_switched_off(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(run := Run(tmp_path, environ={"SIGNAL_ENGINE_STORAGE__RECOVERY": "false"}))
    run.until("counted 1\n")

    assert run.end(signal.SIGINT) == 0
    assert run.said.count("asked") == 1
    assert not (tmp_path / "recovery").exists()


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        (["f", "-r", "db"], {}, True),
        (["f", "--recovery-directory=db"], {}, True),
        (["f", "--recov", "db"], {}, True),
        (["f", "-a=-r"], {}, False),
        (["f", "-w", "2"], {}, False),
        ([], {"BYTEWAX_RECOVERY_DIRECTORY": "db"}, True),
    ],
)
def test_a_given_folder_is_seen_however_it_is_written(
    arguments: list[str], environ: dict[str, str], expected: bool
) -> None:
    assert is_given(arguments, environ) is expected


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        (["f"], {}, True),
        (["f", "-i", "0"], {}, True),
        (["f", "-i1"], {}, False),
        (["f", "--process-id=2"], {"BYTEWAX_PROCESS_ID": "0"}, False),
        (["f", "--proc", "1"], {}, False),
        ([], {"BYTEWAX_PROCESS_ID": "1"}, False),
        ([], {"BYTEWAX_POD_NAME": "engine-flow-1", "BYTEWAX_STATEFULSET_NAME": "engine-flow"}, False),
        ([], {"BYTEWAX_POD_NAME": "engine-flow-0", "BYTEWAX_STATEFULSET_NAME": "engine-flow"}, True),
        ([], {"BYTEWAX_POD_NAME": "engine-flow-1"}, True),
    ],
)
def test_process_0_is_the_primary_however_that_is_written(
    arguments: list[str], environ: dict[str, str], expected: bool
) -> None:
    assert is_primary(arguments, environ) is expected


@pytest.mark.parametrize(("process", "parts"), [("0", 1), ("1", 0)])
def test_only_process_0_reads_feeds_and_writes_the_record(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, process: str, parts: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["bytewax.run", "dataflows.signals", "-i", process, "-a", "h1:1;h2:2"])
    world = live(settings)

    assert isinstance(world.ingest, FixedPartitionedSource)
    assert isinstance(world.record, FixedPartitionedSink)
    assert len(world.ingest.list_parts()) == len(world.record.list_parts()) == parts
    assert not (settings.storage.folder / "journal.db").exists()


def test_an_interrupted_initialisation_is_made_whole(tmp_path: Path) -> None:
    initialise(tmp_path)
    whole = part(tmp_path, 0).read_bytes()
    for number in range(1, PARTITIONS):
        part(tmp_path, number).unlink()
    part(tmp_path, 0).write_bytes(b"half")
    (tmp_path / "draft").mkdir()
    (tmp_path / "draft" / "part-0.sqlite3").write_bytes(b"")
    initialise(tmp_path)

    assert len(part(tmp_path, 0).read_bytes()) == len(whole)
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == [
        f"part-{number}.sqlite3" for number in range(PARTITIONS)
    ]


def test_what_is_there_is_never_made_again(tmp_path: Path) -> None:
    initialise(tmp_path)
    part(tmp_path, 1).write_bytes(b"state")
    initialise(tmp_path)

    assert part(tmp_path, 1).read_bytes() == b"state"


def test_processes_that_come_together_make_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "recovery"
    text = (
        "from pathlib import Path; from dataflows.recovery import initialise;"
        f" initialise(Path({str(folder)!r}))"
    )
    together = [subprocess.Popen([sys.executable, "-c", text], cwd=ROOT) for _ in range(3)]

    assert [process.wait(60) for process in together] == [0, 0, 0]
    assert sorted(path.name for path in folder.glob("[!.]*")) == [
        f"part-{number}.sqlite3" for number in range(PARTITIONS)
    ]
    assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="file/recovery: cannot make the recovery folder"):
        initialise(tmp_path / "file" / "recovery")


def test_a_full_disk_is_an_error_and_no_panic(tmp_path: Path) -> None:
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot make the recovery folder"):
            initialise(tmp_path / "recovery")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)
    initialise(tmp_path / "recovery")

    assert part(tmp_path / "recovery", PARTITIONS - 1).exists()


def test_the_snapshot_interval_is_the_configured_one(settings: Settings, tmp_path: Path) -> None:
    assert variables(settings) == {
        "BYTEWAX_RECOVERY_DIRECTORY": str(tmp_path / "recovery"),
        "BYTEWAX_SNAPSHOT_INTERVAL": str(settings.storage.snapshot_every),
        "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0",
    }


def test_a_bare_run_with_a_wrong_setting_ends_with_one_line(tmp_path: Path) -> None:
    wrong = {**os.environ, "SIGNAL_ENGINE_DECIDE__INTERVALL": "5m"}
    found = subprocess.run(
        [sys.executable, "-m", "bytewax.run", "dataflows.signals"],
        env=wrong, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert found.returncode == 1
    assert found.stderr.startswith("signal-engine: config.yaml: SIGNAL_ENGINE_DECIDE__INTERVALL: no setting")
    assert found.stderr.count("\n") == 1
