"""What training remembers survives a restart, and a damaged memory is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.training.diary import FILE, Attempt, Diary, load, save
from engine.errors import StorageError

attempts = st.builds(
    Attempt,
    at=st.integers(0, 1 << 50),
    ended=st.integers(0, 1 << 50),
    result=st.sampled_from(["running", "trained", "failed"]),
    seconds=st.floats(0, 1e6),
    reason=st.text(max_size=40),
    version=st.none() | st.text(max_size=20),
    promoted=st.booleans(),
)


@given(st.builds(Diary, st.none() | attempts, st.integers(0, 99), st.from_regex(r"\d+-\d+", fullmatch=True)))
def test_a_diary_is_read_back_as_it_was(diary: Diary) -> None:
    assert Diary.read(diary.text()) == diary


def test_a_folder_keeps_the_last_one_whole(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    assert load(folder) == Diary()

    save(folder, Diary(failures=1))
    save(folder, Diary(failures=2))

    assert load(folder) == Diary(failures=2)
    assert [path.name for path in folder.iterdir()] == [FILE]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"attempt": 3, "failures": 0, "handled": "0"}'])
def test_a_damaged_one_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE).write_bytes(text)

    with pytest.raises(StorageError, match=r"training\.json: cannot be read"):
        load(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("no folder")

    with pytest.raises(StorageError, match=r"training\.json: cannot be written"):
        save(tmp_path / "data", Diary())
