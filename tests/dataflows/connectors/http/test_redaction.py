"""A canary key, sent to a server that says it again in every way, is found nowhere."""

from __future__ import annotations

import asyncio
import logging
import traceback
from html import escape
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors.http.client import Call, Client
from dataflows.connectors.http.redaction import LOGGERS, MASK, Secrets
from engine.errors import SourceError
from tests.dataflows.connectors.http.server import Asked, hostile, raw

CANARY = "CaNary/0123+456&789=\"abc'<d>"
ENDS = (CANARY[:14], CANARY[-14:], quote(CANARY, safe="")[:16])


def seen(text: str) -> bool:
    """Whether any long part of the canary stands in a text, in any letters."""
    return any(part.lower() in text.lower() for part in ENDS)


@given(before=st.text(), after=st.text(), cut=st.integers(12, len(CANARY)))
def test_a_key_is_masked_wherever_and_however_it_stands(before: str, after: str, cut: int) -> None:
    secrets = Secrets([CANARY])
    forms = [CANARY[:cut], CANARY[-cut:], quote(CANARY), quote_plus(CANARY).lower(), escape(CANARY)]
    forms += [orjson.dumps(CANARY).decode(), repr(CANARY), repr(CANARY.encode())]
    for form in forms:
        shown = secrets.scrub(before + form + after)
        assert MASK in shown
        assert not seen(shown)


@given(st.text(alphabet="abcdefgh {}:,12345"))
def test_a_text_without_a_key_is_left_as_it_is(text: str) -> None:
    assert Secrets(["0123456789-key"]).scrub(text) == text


def test_short_keys_are_masked_in_words_and_never_in_data() -> None:
    secrets = Secrets(["1"])

    assert secrets.scrub("401: 1") == "40***: ***"
    assert secrets.clean(b'{"a": 11}') == b'{"a": 11}'


def test_a_key_that_a_body_repeats_is_gone_from_it() -> None:
    secrets = Secrets([CANARY])

    assert secrets.clean(orjson.dumps({"no such key": CANARY})) == b'{"no such key":"***"}'


async def mirror(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A refusal that repeats all of the request: in its headers, its body and where it leads."""
    key = asked.headers["x-api-key"]
    body = orjson.dumps({"error": key, "target": asked.target, "headers": dict(asked.headers)})
    headers = {"x-key": key, "set-cookie": f"key={key}", "www-authenticate": f"Bearer {asked.target}"}
    if asked.path == "/lead":
        writer.write(raw(302, body, {**headers, "location": f"http://other.example/{asked.target}"}))
    elif asked.path == "/garble":
        writer.write(b"HTTP/1.1 200 " + key.encode() + b"\r\nbad header " + key.encode() + b"\r\n\r\n")
    else:
        writer.write(raw(403, body, headers))


@pytest.mark.parametrize("path", ["/refuse", "/lead", "/garble"])
async def test_the_canary_is_in_no_log_no_exception_and_no_answer(path: str, tmp_path: Path) -> None:
    file = logging.FileHandler(tmp_path / "log")
    root = logging.getLogger()
    before, names = root.level, ("", *LOGGERS, "httpcore", "asyncio")
    levels = {name: logging.getLogger(name).level for name in names}
    root.addHandler(file)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    found = ""
    try:
        async with hostile(mirror) as server, Client(Secrets([CANARY])) as client:
            call = Call(
                httpx.URL(server.url + path),
                f"x: {path}",
                keyed_headers={"x-api-key": CANARY},
                keyed_query={"api_key": CANARY},
            )
            found += repr(call) + repr(client) + repr(client.secrets)
            told = (await asyncio.gather(client.fetch(call), return_exceptions=True))[0]
            if isinstance(told, BaseException):
                found += "".join(traceback.format_exception(told)) + repr(told.args)
            else:
                found += repr(told) + told.body.decode() + str(told.headers)
            assert server.asked[0].query["api_key"] == CANARY
    finally:
        root.removeHandler(file)
        file.close()
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        assert root.level == before
    logged = (tmp_path / "log").read_text()

    assert isinstance(told, SourceError) == (path != "/refuse")
    if isinstance(told, SourceError):
        assert (told.__context__, told.__cause__) == (None, None)
    assert "GET" in logged, "the log says what was asked"
    assert "api_key=***" in logged or path == "/garble"
    assert not seen(found + logged)


async def test_a_key_no_header_can_carry_is_not_shown_by_the_error() -> None:
    odd = "canary\n0123456789 canary"
    async with hostile() as server, Client(Secrets([odd])) as client:
        with pytest.raises(SourceError) as caught:
            await client.fetch(Call(httpx.URL(server.url), "x", keyed_headers={"key": odd}))

    assert "0123456789" not in str(caught.value)
