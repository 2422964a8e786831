"""Answers of providers: our own recordings, and the fixtures beside the project where they are there.

A recording is `tests/recorded/<provider>/<what>.json`:

    {"request": {"path": "/...", "params": {...}, "metric": "...", "asset": "..."},
     "status": 200, "headers": {...}, "body": ...}

with the fields of `engine.providers.Request` under `request`, as many as are needed, and header names in
lower case. A file with `error` in its name is an answer that must not become numbers, whatever its status.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from engine.providers.base import Request
from engine.settings.sources import Polled, Providers

RECORDED: Final = Path(__file__).parent / "recorded"
FIXTURES: Final = Path(
    os.environ.get("PROVIDER_FIXTURES", Path(__file__).parents[2] / "shared" / "providers" / "fixtures")
)
FOLDERS: Final = {"token_terminal": "tokenterminal"}
"""Where the folder of a provider's fixtures is not called what the provider is."""

NOW: Final = 1_790_000_000_000 + 7 * 60_000
"""2026-09-21 13:20:20 UTC: in the middle of an hour and of a day."""


@dataclass(frozen=True)
class Recording:
    """One answer as it came, and what it answers."""

    what: str
    request: Request
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def wrong(self) -> bool:
        """Whether it must not become numbers."""
        return "error" in self.what or self.status >= 300


def recorded(provider: str, what: str) -> Recording:
    """One of our own recordings."""
    told = json.loads((RECORDED / provider / f"{what}.json").read_text())
    return Recording(what, Request(**told["request"]), told["status"], told["headers"], told["body"])


def recordings(provider: str) -> list[Recording]:
    """All of our own recordings of a provider, by name."""
    return [recorded(provider, path.stem) for path in sorted((RECORDED / provider).glob("*.json"))]


def fixture_folder(provider: str) -> Path:
    """Where the fixtures of a provider lie; skips the test, saying so, where they are absent."""
    folder = FIXTURES / FOLDERS.get(provider, provider)
    if not folder.is_dir():
        pytest.skip(f"provider fixtures are not here: {folder} (set PROVIDER_FIXTURES)")
    return folder


def fixture(provider: str, what: str) -> Recording:
    """One fixture; its request has path, parameters and body only. Skips where the fixtures are absent."""
    told = json.loads((fixture_folder(provider) / f"{what}.json").read_text())
    asked, answer = told["request"], told["response"]
    params = asked.get("params", {})
    plain = {key: str(value) for key, value in (params.items() if isinstance(params, dict) else params)}
    request = Request(path_of(provider, asked["url"]), plain, body=asked.get("json"), at=NOW)
    return Recording(what, request, answer["status"], answer["headers"], answer["body"])


def fixtures(provider: str) -> list[Recording]:
    """All fixtures of a provider, by name. Skips the test, saying so, where they are absent."""
    return [fixture(provider, path.stem) for path in sorted(fixture_folder(provider).glob("*.json"))]


def path_of(provider: str, url: str) -> str:
    """The path of an address below any base URL of the provider."""
    known = block_of(provider)
    for base in (known.base_url, known.keyless, *known.hosts.values()):
        if base and url.startswith(base):
            return url[len(base) :].partition("?")[0]
    return urlsplit(url).path


def block_of(provider: str) -> Polled:
    block = getattr(Providers(), provider)
    assert isinstance(block, Polled)
    return block


def json_type(value: Any) -> str:
    """The JSON type of a decoded value: 1 and 1.0 are both numbers."""
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def key_paths(body: Any, path: str = "") -> set[tuple[str, str]]:
    """Every key path of a body with its JSON type; all elements of a list share one path.

    >>> sorted(key_paths({"data": [{"t": 1, "v": 0.5}, {"t": 2, "v": None}]}))
    [('', 'object'), ('.data', 'array'), ('.data[]', 'object'), ('.data[].t', 'number'), \
('.data[].v', 'null'), ('.data[].v', 'number')]
    """
    found = {(path, json_type(body))}
    if isinstance(body, dict):
        for key, inner in body.items():
            found |= key_paths(inner, f"{path}.{key}")
    elif isinstance(body, list):
        for inner in body:
            found |= key_paths(inner, f"{path}[]")
    return found
