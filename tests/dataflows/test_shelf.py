"""The two commands at the shelf: what people and machines read, and where the pointer is afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from dataflows import cli
from dataflows import shelf as commands
from engine.errors import StorageError
from engine.models import Kind
from engine.models.manifest import Facts
from engine.models.shelf import POINTER, Shelf
from engine.settings import load
from tests.dataflows.runs import ROOT

DAY = 86_400_000


def write(folder: Path) -> None:
    (folder / "side.json").write_text("[1, 2, 3]")


def unread(*_: Any) -> Any:
    raise AssertionError("nobody loads a model to look at the shelf")


def put(shelf: Shelf, day: int, **changes: Any) -> str:
    return shelf.add(write, Facts.of(Facts.of().data_until + day * DAY, **changes)).version


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two commands alone, no setting of the machine's own, a model that reads the example's features."""
    for name in [name for name in os.environ if name.startswith("SIGNAL_ENGINE_")]:
        monkeypatch.delenv(name)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("shelf")(commands.shelf)
    app.command("rollback")(commands.rollback)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(commands, "MODELS", {"boosted": Kind(unread, Facts.of().schema)})


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf", "boosted")


@pytest.fixture
def names(shelf: Shelf) -> list[str]:
    """Three versions: two promoted ones, of which the second is current, and one that was not."""
    reasons = ("the first", "better than the first", "worse than the second")
    names = [put(shelf, day, promoted=day < 2, reason=reason) for day, reason in enumerate(reasons)]
    shelf.point(names[1])
    return names


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    """Exit code, what was printed, and the lines of what went wrong."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out, printed.err.splitlines()


def at(shelf: Shelf) -> Sequence[str]:
    return ("--shelf", str(shelf.folder.parent))


class TestListing:
    def test_people_read_a_line_for_each_version(
        self, capsys: pytest.CaptureFixture[str], shelf: Shelf, names: list[str]
    ) -> None:
        code, said, wrong = run(capsys, "shelf", *at(shelf))

        assert (code, wrong) == (0, [])
        assert said.splitlines() == [
            str(shelf.folder),
            "   version                  data until        serves from       promoted  reason",
            f"   {names[0]}  2023-11-15 00:00  2023-11-15 13:00  yes       the first",
            f"*  {names[1]}  2023-11-16 00:00  2023-11-16 13:00  yes       better than the first",
            f"   {names[2]}  2023-11-17 00:00  2023-11-17 13:00  no        worse than the second",
        ]

    def test_machines_read_one_document(
        self, capsys: pytest.CaptureFixture[str], shelf: Shelf, names: list[str]
    ) -> None:
        (shelf.folder / names[0] / "manifest.json").write_text("")
        code, said, wrong = run(capsys, "shelf", *at(shelf), "--json")
        document = json.loads(said)
        begin = Facts.of().data_until

        assert (code, wrong) == (0, [])
        assert (document["model"], document["current"], document["fault"]) == ("boosted", names[1], "")
        assert document["folder"] == str(shelf.folder)
        assert document["versions"][1] == {
            "version": names[1], "current": True, "data_until": begin + DAY,
            "serves_from": begin + DAY + 13 * 3_600_000, "promoted": True, "reason": "better than the first",
            "fault": "",
        }  # fmt: skip
        assert document["versions"][0] | {"fault": ""} == {
            "version": names[0], "current": False, "data_until": None, "serves_from": None, "promoted": None,
            "reason": "", "fault": "",
        }  # fmt: skip
        assert "not readable JSON" in document["versions"][0]["fault"]

    def test_what_cannot_be_used_says_why(self, shelf: Shelf, names: list[str]) -> None:
        (shelf.folder / names[0] / "side.json").write_text("[1, 2, 4]")
        (shelf.folder / names[1] / "manifest.json").unlink()
        foreign = put(shelf, 9, schema="ffff")
        said = commands.listing(shelf).splitlines()

        assert [line[3:26] for line in said[2:]] == [*names, foreign]
        assert "cannot be used: side.json is damaged: sha256 " in said[2]
        assert said[3].startswith(f"*  {names[1]}  ")
        assert "cannot be used: cannot be read: [Errno 2]" in said[3]
        assert said[5].endswith(f"cannot be used: its features are of schema ffff, not {Facts.of().schema}")

    def test_a_pointer_that_names_nothing_is_told(self, shelf: Shelf, names: list[str]) -> None:
        (shelf.folder / POINTER).write_text("../../etc\n")
        assert (
            commands.listing(shelf).splitlines()[-1].startswith("no version is current: current is damaged: ")
        )
        assert commands.document(shelf)["fault"].startswith("current is damaged: ")

        (shelf.folder / POINTER).unlink()
        assert commands.listing(shelf).splitlines()[-1] == "no version is current: the pointer was never set"
        assert "*" not in commands.listing(shelf)

    def test_a_manifest_moves_no_cursor(self, shelf: Shelf) -> None:
        put(shelf, 0, reason="\x1b[2Jgood\nbetter")

        said = commands.listing(shelf)
        assert "?[2Jgood?better" in said
        assert all(line.isprintable() for line in said.splitlines())

    def test_without_a_folder_the_configured_one_is_read(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        shelf: Shelf,
        names: list[str],
    ) -> None:
        monkeypatch.setenv("SIGNAL_ENGINE_MODELS__SHELF", str(shelf.folder.parent))
        config = ("--config", str(ROOT / "config.yaml"))

        assert str(shelf.folder) in run(capsys, "shelf", *config)[1]
        assert run(capsys, "rollback", *config)[0] == 0
        assert shelf.current() == names[0]


class TestRollback:
    def test_the_version_before_is_current_again(
        self, capsys: pytest.CaptureFixture[str], shelf: Shelf, names: list[str]
    ) -> None:
        code, said, wrong = run(capsys, "rollback", *at(shelf))

        assert (code, wrong) == (0, [])
        assert said == f"boosted: {names[0]} is current now, before it was {names[1]}\n"
        assert shelf.current() == names[0]

    def test_one_may_be_named_even_if_the_pointer_is_damaged(
        self, capsys: pytest.CaptureFixture[str], shelf: Shelf, names: list[str]
    ) -> None:
        (shelf.folder / POINTER).write_text("")
        code, said, wrong = run(capsys, "rollback", *at(shelf), "--to", names[0], "--json")

        assert (code, wrong) == (0, [])
        assert json.loads(said) == {"model": "boosted", "before": None, "current": names[0]}
        assert shelf.current() == names[0]

    def test_settings_know_the_folder(
        self, monkeypatch: pytest.MonkeyPatch, shelf: Shelf, names: list[str]
    ) -> None:
        monkeypatch.setenv("SIGNAL_ENGINE_MODELS__SHELF", str(shelf.folder.parent))

        change = commands.rolled_back(load(ROOT / "config.yaml"), "boosted")
        assert change == commands.Change("boosted", names[1], names[0])

    def test_it_passes_over_what_this_engine_cannot_read(self, shelf: Shelf, names: list[str]) -> None:
        put(shelf, 3, schema="ffff")
        shelf.point(put(shelf, 4))

        assert commands.rolled_back(shelf.folder.parent, "boosted").current == names[1]

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (
                ("--to", "20231115T0000Z-00000000"),
                "boosted 20231115T0000Z-00000000: there is no such version in",
            ),
            (("--to", "../sizer"), "boosted: ../sizer is not the name of a version"),
            (("--to", ""), "boosted: '' is not the name of a version"),
            (("--model", "sizer"), "no version of sizer was ever put here"),
            (("--model", "../boosted"), "../boosted is not the name of a model"),
            (("--shelf", "/nowhere"), "/nowhere/boosted: no version of boosted was ever put here"),
        ],
    )
    def test_what_cannot_be_done_is_one_line_and_exit_4(
        self,
        capsys: pytest.CaptureFixture[str],
        shelf: Shelf,
        names: list[str],
        more: Sequence[str],
        words: str,
    ) -> None:
        code, said, wrong = run(capsys, "rollback", *at(shelf), *more)

        assert (code, said, len(wrong)) == (4, "", 1)
        assert wrong[0].startswith("signal-engine: ")
        assert words in wrong[0]
        assert shelf.current() == names[1]
        assert os.listdir(shelf.folder.parent) == ["boosted"]

    def test_neither_the_unpromoted_nor_the_foreign_nor_the_damaged_become_current(
        self, shelf: Shelf, names: list[str]
    ) -> None:
        foreign = put(shelf, 9, schema="ffff")
        (shelf.folder / names[0] / "side.json").write_text("")

        for name, words in ((names[2], "not promoted"), (foreign, "schema ffff"), (names[0], "is damaged")):
            with pytest.raises(StorageError, match=words):
                commands.rolled_back(shelf.folder.parent, "boosted", name)
        with pytest.raises(StorageError, match="there is no promoted version that can be opened"):
            commands.rolled_back(shelf.folder.parent, "boosted")
        assert shelf.current() == names[1]
