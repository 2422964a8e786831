"""Headlines of our own with what an informed reader says of them. They were written before the tagger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Labelled:
    title: str
    assets: frozenset[str]
    sentiment: int


def labelled() -> list[Labelled]:
    lines = Path(__file__).with_name("labelled.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Labelled(row["title"], frozenset(row["assets"]), row["sentiment"]) for row in rows]
