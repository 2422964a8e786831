"""Processes that belong together: started again when they die, ended in order, none left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dataflows import supervise
from dataflows.supervise import Crew, Member, rest
from engine.errors import SourceError, StorageError
from tests.dataflows.runs import ROOT, until


def python(text: str) -> tuple[str, ...]:
    """A small program as a command."""
    return (sys.executable, "-S", "-c", textwrap.dedent(text))


ASLEEP = python("print('up', flush=True); import time; time.sleep(60)")


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    made = Crew(tmp_path / "logs")
    yield made
    for member in made.members:
        member.stop(0.1)


def pid(member: Member) -> int:
    assert member.process is not None
    return member.process.pid


def said(member: Member) -> str:
    return member.log.read_text() if member.log.exists() else ""


def speaks(member: Member, words: str = "up") -> None:
    until(lambda: words in said(member), f"{member.name} to say {words!r}; it said {said(member)!r}", 20)


def test_a_process_that_dies_is_started_again_and_both_are_told(crew: Crew) -> None:
    member = crew.start("flow", ASLEEP, {})
    speaks(member)
    first = pid(member)
    os.kill(first, signal.SIGKILL)
    told: list[str] = []

    def again() -> bool:
        told.extend(crew.watch())
        return member.process is not None and pid(member) != first

    until(again, "a new start", 20)

    assert told == ["flow was killed by SIGKILL; next start in 1 s", "flow started again"]


def test_the_pause_doubles_up_to_a_minute_and_shrinks_after_a_steady_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    member = Member("flow", lambda: ASLEEP, {}, tmp_path / "log", started=now)
    pauses = []
    for _ in range(2_000):
        rest(member)
        pauses.append(member.due - now)
    now += supervise.STEADY + 1

    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert set(pauses[8:]) == {60}
    assert rest(member) == "next start in 1 s"


def test_a_process_that_cannot_be_started_again_is_tried_once_more_later(crew: Crew) -> None:
    member = crew.start("flow", python("raise SystemExit(7)"), {})
    until(lambda: member.process is not None and member.process.poll() is not None, "its end", 20)
    crew.watch()
    member.log.unlink()
    member.log.mkdir()
    member.due = 0.0
    (told,) = crew.watch()

    assert "flow.log: cannot be written" in told
    assert told.endswith("next start in 2 s")
    assert member.process is None


def test_the_last_started_is_ended_first_and_all_are_waited_for(crew: Crew, tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    for name in ("exchange", "api", "flow"):
        speaks(crew.start(name, python(f"""
            import signal, sys, time
            def end(*_):
                with open({str(ends)!r}, "a") as file:
                    print({name!r}, file=file)
                sys.exit(0)
            signal.signal(signal.SIGTERM, end)
            print("up", flush=True)
            while True:
                time.sleep(0.01)
        """), {}))  # fmt: skip
    crew.stop()

    assert ends.read_text().split() == ["flow", "api", "exchange"]
    assert [member.process.returncode for member in crew.members if member.process] == [0, 0, 0]
    assert not any(psutil.pid_exists(pid(member)) for member in crew.members)


def test_who_does_not_listen_is_killed_in_bounded_time(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "GRACE", 0.3)
    monkeypatch.setattr(supervise, "LEAST_GRACE", 0.1)
    deaf = python("""
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("up", flush=True)
        time.sleep(60)
    """)
    for name in ("a", "b", "c"):
        speaks(crew.start(name, deaf, {}))
    began = time.monotonic()
    crew.stop()

    assert time.monotonic() - began < 20
    assert [member.process.returncode for member in crew.members if member.process] == [-signal.SIGKILL] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its starter")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_starter_however_it_dies(tmp_path: Path, number: signal.Signals) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(f"""
            import time
            from pathlib import Path
            from dataflows.supervise import Crew
            crew = Crew(Path({str(tmp_path)!r}))
            member = crew.start("flow", {ASLEEP!r}, {{}})
            print(member.process.pid, flush=True)
            time.sleep(60)
        """)],
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert starter.stdout is not None
    child = int(starter.stdout.readline())
    until(lambda: "up" in (tmp_path / "flow.log").read_text(), "the child to be up", 20)
    starter.send_signal(number)
    starter.wait()
    starter.stdout.close()

    until(lambda: not psutil.pid_exists(child), "the child to end with its starter", 20)


def test_each_process_has_a_session_of_its_own(crew: Crew) -> None:
    member = crew.start("flow", ASLEEP, {})
    speaks(member)

    assert os.getsid(pid(member)) == pid(member) != os.getsid(0)


def test_the_environment_and_the_command_are_asked_at_every_start(crew: Crew) -> None:
    starts = iter("12")
    member = crew.start(
        "exchange",
        lambda: python(f"import os; print({next(starts)}, os.environ['SECRET'], flush=True)"),
        {"SECRET": "here"},
    )
    speaks(member, "1 here")
    until(lambda: member.process is not None and member.process.poll() is not None, "its end", 20)
    member.start()

    speaks(member, "2 here")


def test_last_words_are_those_of_this_start(crew: Crew) -> None:
    member = crew.start("api", python("print('an old worry')"), {})
    until(lambda: member.process is not None and member.process.poll() is not None, "its end", 20)

    assert member.fate() == "ended with 0: an old worry"

    member.command = lambda: python("raise SystemExit(3)")
    member.start()
    until(lambda: member.process is not None and member.process.poll() is not None, "its end", 20)

    assert member.fate() == "ended with 3: it said nothing"
    with pytest.raises(SourceError, match="api did not start, it ended with 3: it said nothing"):
        crew.require(member)


def test_a_log_begins_anew_when_it_is_long(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "LARGEST_LOG", 1_000)
    member = crew.start("flow", python("""
        import time
        print("early " * 500, flush=True)
        while True:
            print("late", flush=True)
            time.sleep(0.01)
    """), {})  # fmt: skip
    speaks(member, "late")
    crew.watch()

    assert "early" in member.log.with_suffix(".log.1").read_text()
    until(lambda: "late" in said(member), "more words", 20)
    assert "early" not in said(member)


def test_a_folder_that_cannot_hold_logs_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")

    with pytest.raises(StorageError, match=r"flow\.log: cannot be written"):
        Crew(tmp_path / "logs").start("flow", ASLEEP, {})
