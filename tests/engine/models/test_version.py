"""One version's folder: what may lie in it, what a full disk leaves, and every damage it is refused for."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from engine.errors import StorageError
from engine.models.shelf import POINTER, Shelf
from engine.models.version import MANIFEST
from tests.engine.models.shelves import (
    HOUR,
    MIDNIGHT,
    ROOT,
    SCHEMA,
    after,
    flip,
    hidden,
    text,
    three,
    two,
)


class TestAdd:
    def test_what_was_written_is_there_with_its_manifest(self, shelf: Shelf) -> None:
        made = shelf.add(two, after(0, metrics={"auc": 0.53}))
        folder = shelf.opened(made.version, SCHEMA)

        assert folder == shelf.folder / made.version
        assert made.version.startswith("20231115T0000Z-")
        assert {path.name for path in folder.iterdir()} == {"majors.side.json", "novelty.parquet", MANIFEST}
        assert json.loads((folder / "majors.side.json").read_text()) == {"trees": [1, 2, 3]}
        assert shelf.manifest(made.version) == made
        assert made.files == {
            name: sha256((folder / name).read_bytes()).hexdigest()
            for name in ("majors.side.json", "novelty.parquet")
        }
        assert (made.metrics, made.data_until) == ({"auc": 0.53}, MIDNIGHT)
        assert hidden(shelf) == set()

    def test_the_same_training_is_one_version(self, shelf: Shelf, tmp_path: Path) -> None:
        first = shelf.add(two, after(0))
        inode = (shelf.folder / first.version).stat().st_ino

        assert shelf.add(two, after(0)) == first
        assert Shelf(tmp_path / "elsewhere", "boosted").add(two, after(0)) == first
        assert shelf.versions() == (first.version,)
        assert (shelf.folder / first.version).stat().st_ino == inode
        assert hidden(shelf) == set()

    def test_other_files_or_facts_are_another_version(self, shelf: Shelf) -> None:
        made = {
            shelf.add(two, after(0)).version,
            shelf.add(two, after(0, seed=8)).version,
            shelf.add(text("[]"), after(0)).version,
            shelf.add(text("[ ]"), after(0)).version,
        }

        assert set(shelf.versions()) == made
        assert len(made) == 4

    def test_versions_stand_in_the_order_of_their_data(self, shelf: Shelf) -> None:
        made = {hours: shelf.add(two, after(hours)).version for hours in (48, 0, 2400, 24)}

        assert shelf.versions() == tuple(made[hours] for hours in (0, 24, 48, 2400))

    def test_adding_again_mends_a_damaged_version(self, shelf: Shelf) -> None:
        made = shelf.add(two, after(0))
        (shelf.folder / made.version / "majors.side.json").write_text("{}")

        assert shelf.add(two, after(0)) == made
        shelf.opened(made.version, SCHEMA)
        assert hidden(shelf) == set()

    @pytest.mark.parametrize(
        "name",
        [
            "m.pkl", "m.pickle", "m.joblib", "m.npy", "m.npz", "m.pt", "m.bin", "m.ubj", "m.json.pkl", "m",
            "m.JSON", ".m.json", "m m.json", "m\n.json", "-m.json", "m.json\n",
        ],
    )  # fmt: skip
    def test_a_file_that_could_be_a_pickle_or_a_trick_is_refused(self, shelf: Shelf, name: str) -> None:
        with pytest.raises(
            StorageError, match=r"boosted: .* may not lie in a version: only \.json, \.parquet, "
        ):
            shelf.add(text("{}", name), after(0))

        assert (shelf.versions(), hidden(shelf)) == ((), set())

    @pytest.mark.parametrize(
        ("write", "words"),
        [
            (lambda folder: None, "at least one file must be written"),
            (text("{}", MANIFEST), "and no manifest.json"),
            (lambda folder: (folder / "a.json").mkdir(), "a.json is a link or a folder"),
            (lambda folder: (folder / "a.json").symlink_to("/etc/hostname"), "a.json is a link or a folder"),
            (lambda folder: os.mkfifo(folder / "a.json"), "not a plain file"),
            (text('{"trees": [1, 2'), "a.json was not written whole"),
            (text(""), "a.json was not written whole"),
            (text("[" * 100_000), "a.json was not written whole"),
        ],
    )
    def test_what_is_no_version_is_refused(
        self, shelf: Shelf, write: Callable[[Path], Any], words: str
    ) -> None:
        with pytest.raises(StorageError, match=f"boosted: {words}|boosted: .*{words}"):
            shelf.add(write, after(0))

        assert (shelf.versions(), hidden(shelf)) == ((), set())

    def test_a_version_of_another_model_is_refused(self, shelf: Shelf) -> None:
        with pytest.raises(StorageError, match="a version of sizer cannot be added to those of boosted"):
            shelf.add(two, after(0, model="sizer"))

    @pytest.mark.parametrize(
        "name", ["", "..", "../boosted", "/etc", "Boosted", "a b", ".hidden", "boosted\n", "a" + "/b"]
    )
    def test_a_model_is_a_folder_of_the_shelf_and_no_path(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(StorageError, match="is not the name of a model"):
            Shelf(tmp_path, name)

    def test_a_fault_of_the_model_itself_comes_through_and_leaves_nothing(self, shelf: Shelf) -> None:
        def write(folder: Path) -> None:
            two(folder)
            raise KeyError("majors")

        with pytest.raises(KeyError):
            shelf.add(write, after(0))

        assert (shelf.versions(), hidden(shelf)) == ((), set())

    def test_everything_is_on_the_disk_before_it_can_be_seen(
        self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shelf.add(two, after(0))
        done: list[tuple[str, int]] = []
        fsync, swap = os.fsync, os.replace

        def synced(number: int) -> None:
            done.append(("fsync", os.fstat(number).st_ino))
            fsync(number)

        def replaced(old: Path, new: Path) -> None:
            done.append(("replace", os.stat(old).st_ino))
            swap(old, new)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "replace", replaced)
        folder = shelf.folder / shelf.add(two, after(24)).version
        seen = done.index(("replace", folder.stat().st_ino))

        inside = {("fsync", path.stat().st_ino) for path in (folder, *folder.iterdir())}
        assert len(inside) == 4
        assert inside <= set(done[:seen])
        assert ("fsync", shelf.folder.stat().st_ino) in done[seen:]

        done.clear()
        shelf.point(folder.name)
        pointer = (shelf.folder / POINTER).stat().st_ino
        assert done == [("fsync", pointer), ("replace", pointer), ("fsync", shelf.folder.stat().st_ino)]


class TestDiskFull:
    @pytest.mark.parametrize(
        "fault", [OSError(errno.ENOSPC, "No space left on device"), ValueError("Write incomplete\n[bt]")]
    )
    def test_a_model_that_cannot_write_leaves_nothing(self, shelf: Shelf, fault: Exception) -> None:
        kept = shelf.add(two, after(0)).version

        def write(folder: Path) -> None:
            two(folder)
            raise fault

        with pytest.raises(
            StorageError, match=r"boosted: cannot be written: .*(No space left|Write incomplete$)"
        ):
            shelf.add(write, after(24))

        assert (shelf.versions(), hidden(shelf)) == ((kept,), set())

    @pytest.mark.parametrize("nth", range(1, 7))
    def test_a_disk_that_is_full_at_any_fsync_shows_nothing_unfinished(
        self, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, nth: int
    ) -> None:
        kept = shelf.add(two, after(0)).version
        fsync, calls = os.fsync, []

        def full(number: int) -> None:
            calls.append(number)
            if len(calls) == nth:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(number)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"cannot be written: .*No space left"):
            shelf.add(two, after(24))
        monkeypatch.undo()

        # Only behind the last fsync, that of the shelf's own names, it was to be seen.
        assert len(shelf.versions()) == (2 if nth == 6 else 1)
        assert (shelf.versions()[0], shelf.faults(), hidden(shelf)) == (kept, {}, set())

    @pytest.mark.parametrize("missing", [1, 100, 100_000])
    def test_xgboost_on_a_full_disk_adds_no_broken_trees(self, tmp_path: Path, missing: int) -> None:
        done = subprocess.run(
            [sys.executable, "-c", XGBOOST, tmp_path, str(missing)],
            cwd=ROOT, capture_output=True, text=True, timeout=100, check=True,
        )  # fmt: skip

        assert done.stdout.startswith("boosted: ")
        assert "cannot be written" in done.stdout or "not written whole" in done.stdout
        assert Shelf(tmp_path, "boosted").versions() == ()
        assert hidden(Shelf(tmp_path, "boosted")) == set()


XGBOOST = """
import resource, sys
from pathlib import Path
import numpy as np, xgboost
from engine.errors import StorageError
from engine.models.manifest import Facts
from engine.models.shelf import Shelf

rng = np.random.default_rng(7)
rows = xgboost.DMatrix(rng.normal(size=(2000, 20)), label=rng.integers(0, 2, 2000))
trees = xgboost.train({"objective": "binary:logistic", "nthread": 1}, rows, 40)
folder = Path(sys.argv[1])
trees.save_model(folder / "whole.json")
limit = (folder / "whole.json").stat().st_size - int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    Shelf(folder, "boosted").add(lambda draft: trees.save_model(draft / "side.json"), Facts.of())
except StorageError as error:
    print(error)
"""


def linked(path: Path) -> None:
    """The same content, behind a link."""
    path.rename(path.parents[2] / "moved")
    path.symlink_to(path.parents[2] / "moved")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


class TestOpened:
    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda v: flip(v / "majors.side.json"),
             r"majors\.side\.json is damaged: sha256 [0-9a-f]{8}\.\. was promised, [0-9a-f]{8}\.\. found"),
            (lambda v: os.truncate(v / "majors.side.json", 7), r"majors\.side\.json is damaged"),
            (lambda v: os.truncate(v / "novelty.parquet", 0), r"novelty\.parquet is damaged"),
            (lambda v: os.truncate(v / "novelty.parquet", 1000), r"novelty\.parquet is damaged"),
            (lambda v: (v / "majors.side.json").unlink(), r"majors\.side\.json is missing"),
            (lambda v: (v / "more.json").write_text("{}"), r"more\.json is not in the manifest"),
            (lambda v: (v / "more.pkl").write_text(""), r"more\.pkl may not lie in a version"),
            (lambda v: (v / ".more").write_text(""), r"\.more may not lie in a version"),
            (lambda v: (v / "more").mkdir(), "more is a link or a folder"),
            (lambda v: linked(v / "majors.side.json"), r"majors\.side\.json is a link"),
            (lambda v: piped(v / "majors.side.json"), r"majors\.side\.json is .*not a plain file"),
            (lambda v: linked(v / MANIFEST), r"manifest\.json is not a plain file"),
            (lambda v: piped(v / MANIFEST), r"manifest\.json is not a plain file"),
            (lambda v: (v / MANIFEST).unlink(), r"cannot be read: .*No such file"),
            (lambda v: os.truncate(v / MANIFEST, 300), "the manifest is not readable JSON"),
            (lambda v: os.truncate(v / MANIFEST, 0), "the manifest is not readable JSON"),
            (lambda v: linked(v), "it is a link or a file"),
            (lambda v: (v.rename(v.parent / "moved"), v.write_text("{}")), "it is a link or a file"),
            (lambda v: shutil.rmtree(v), "there is no such version in "),
        ],
        ids=[
            "a bit", "cut", "emptied", "longer", "a file less", "a file more", "a pickle", "a hidden file",
            "a folder", "a link", "a pipe", "a linked manifest", "a piped manifest", "no manifest",
            "half a manifest", "an empty manifest", "a linked version", "a file", "nothing",
        ],
    )  # fmt: skip
    def test_a_damaged_version_is_refused_with_its_reason(
        self, shelf: Shelf, damage: Callable[[Path], Any], words: str
    ) -> None:
        good = shelf.add(two, after(0)).version
        version = shelf.add(two, after(24)).version
        damage(shelf.folder / version)

        with pytest.raises(StorageError, match=rf"^boosted {version}: {words}"):
            shelf.opened(version, SCHEMA)
        with pytest.raises(StorageError, match=rf"^boosted {version}: {words}"):
            shelf.point(version)
        serving = shelf.serving(1 << 60)
        assert serving is not None
        assert serving.version == good
        assert shelf.faults().keys() == {version} & set(shelf.versions())

    def test_no_byte_of_a_manifest_can_change_unseen(self, shelf: Shelf) -> None:
        made = shelf.add(two, after(0, metrics={"auc": 0.53}))
        path = shelf.folder / made.version / MANIFEST
        content = path.read_bytes()

        spoilt = [content[:end] for end in range(len(content))]
        for place in range(len(content)):
            spoilt += [
                content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :] for bit in (1, 4, 128)
            ]
        for one in spoilt:
            path.write_bytes(one)
            try:
                found = shelf.manifest(made.version)
            except StorageError:
                continue
            assert found == made, one

    def test_other_features_are_refused(self, shelf: Shelf) -> None:
        version = shelf.add(two, after(0)).version

        with pytest.raises(StorageError, match=f"{version}: its features are of schema {SCHEMA}, not ffff"):
            shelf.opened(version, "ffff")

    def test_a_version_of_another_model_is_refused(self, shelf: Shelf, tmp_path: Path) -> None:
        other = Shelf(tmp_path / "shelf", "sizer")
        version = other.add(two, after(0, model="sizer")).version
        shelf.add(two, after(0))
        shutil.copytree(other.folder / version, shelf.folder / version)

        with pytest.raises(
            StorageError, match=f"boosted {version}: it is a version of sizer, not of boosted"
        ):
            shelf.opened(version, SCHEMA)

    def test_a_version_under_another_name_is_refused(self, shelf: Shelf) -> None:
        version = shelf.add(two, after(0)).version
        planted = "20301231T0000Z" + version[14:]
        shutil.copytree(shelf.folder / version, shelf.folder / planted)

        with pytest.raises(
            StorageError, match=f"boosted {planted}: the manifest was changed: .* {version} now"
        ):
            shelf.opened(planted, SCHEMA)

    @pytest.mark.parametrize(
        "change", [{"data_until": MIDNIGHT - HOUR}, {"promoted": False}, {"schema": "ffff"}]
    )
    def test_a_manifest_that_was_written_anew_is_refused(
        self, shelf: Shelf, change: Mapping[str, Any]
    ) -> None:
        made = shelf.add(two, after(0))
        (shelf.folder / made.version / MANIFEST).write_bytes(replace(made, **change).text())

        with pytest.raises(StorageError, match="the manifest was changed"):
            shelf.manifest(made.version)

    @pytest.mark.parametrize(
        "name",
        [
            "", ".", "..", "../boosted", "/etc", "/etc/passwd", "current", ".lock", ".new-version", "boosted",
            "20231115T0000Z-0000000", "20231115T0000Z-0000000G", "20231115T0000Z-00000000\n",
            "20231115T0000Z-00000000/../..", "../../boosted/20231115T0000Z-00000000",
            "20231115T0000Z-00000000\0", "٢٠231115T0000Z-00000000",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("act", ["opened", "manifest", "point"])
    def test_a_name_leads_nowhere_else(self, shelf: Shelf, name: str, act: str) -> None:
        three(shelf)
        arguments = (name, SCHEMA) if act == "opened" else (name,)

        with pytest.raises(StorageError, match=r"^boosted: .* is not the name of a version$"):
            getattr(shelf, act)(*arguments)

    def test_names_that_are_no_version_are_not_seen(self, shelf: Shelf) -> None:
        names = three(shelf)
        for name in ("notes", "20231115T0000Z-0000000", ".gone-20231115T0000Z-00000000", "x.json"):
            (shelf.folder / name).mkdir()

        assert shelf.versions() == tuple(names)
        assert shelf.faults() == {}

    def test_a_shelf_that_is_no_folder_says_so(self, shelf: Shelf) -> None:
        shelf.folder.parent.mkdir()
        shelf.folder.write_text("")

        for act in (shelf.versions, shelf.current, shelf.rollback, lambda: shelf.add(two, after(0))):
            with pytest.raises(StorageError, match="boosted"):
                act()
