"""What is not one plain CSV in a whole zip is refused, whatever the zip claims."""

from __future__ import annotations

import struct
import zipfile
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.backfill.zips import unpacked
from engine.errors import SourceError

TEXT = b"1,2,3\n" * 1000


def zipped(*names: str, text: bytes = TEXT, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name in names:
            file.writestr(name, text)
    return out.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_one_csv_comes_out(method: int) -> None:
    assert unpacked(zipped("a.csv", method=method), "a.zip") == TEXT


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), "found 0"),
        (("a.csv", "b.csv"), "found 2"),
        (("../../etc/passwd.csv",), "plain CSV"),
        (("/etc/a.csv",), "plain CSV"),
        (("folder\\a.csv",), "plain CSV"),
        (("C:a.csv",), "plain CSV"),
        (("a.exe",), "plain CSV"),
        (("folder/",), "plain CSV"),
    ],
)
def test_anything_but_one_plain_csv_is_refused(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(SourceError, match=said):
        unpacked(zipped(*names), "a.zip")


def test_another_method_is_refused() -> None:
    with pytest.raises(SourceError, match="plain CSV"):
        unpacked(zipped("a.csv", method=zipfile.ZIP_LZMA), "a.zip")


def test_an_encrypted_member_is_refused() -> None:
    body = bytearray(zipped("a.csv"))
    at = body.rindex(b"PK\x01\x02")
    body[at + 8] |= 1

    with pytest.raises(SourceError, match="plain CSV"):
        unpacked(bytes(body), "a.zip")


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zipped("a.csv", text=b"0" * 1_000_000)

    with pytest.raises(SourceError, match="unpacks to 1000000 bytes"):
        unpacked(bomb, "a.zip", largest=999_999)
    assert len(unpacked(bomb, "a.zip", largest=1_000_000)) == 1_000_000


def test_a_bomb_that_lies_about_its_size_is_not_unpacked_either() -> None:
    body = bytearray(zipped("a.csv", text=b"0" * 1_000_000))
    at = body.rindex(b"PK\x01\x02")
    body[at + 24 : at + 28] = struct.pack("<I", 10)

    with pytest.raises(SourceError, match=r"a\.zip: "):
        unpacked(bytes(body), "a.zip", largest=1_000)


@given(st.integers(0, len(zipped("a.csv")) - 1))
def test_a_zip_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(SourceError, match=r"a\.zip: "):
        unpacked(zipped("a.csv")[:cut], "a.zip")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_zip_are_refused(body: bytes) -> None:
    with pytest.raises(SourceError, match=r"a\.zip: "):
        unpacked(body, "a.zip")
