"""How often the tone of a text is the one people gave it, beside plain VADER.

`python -m tests.benchmarks.sentiment [--quick]`. Accuracy in three classes, and of the texts with a sign the
share whose sign came out wrong. Each way is shown with VADER's usual band of +-0.05 that counts as neutral,
and with ours. The PhraseBank (human labels, long sentences of company news) is split by hash: words and
phrases were chosen on one half, the other was only measured. The crypto headlines carry a machine's labels,
made of other words than the title's. Our own headlines were labelled before there was a lexicon, by the
same hand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Final

import polars as pl
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from engine.news.sentiment import sentiment
from engine.news.tagging import assets_of
from tests.benchmarks.machine import machine, quick_or_not
from tests.engine.news.labelled import labelled

BAND: Final = 0.25
"""Tones nearer to zero than this count as neutral."""

USUAL: Final = 0.05
SIGNS: Final = {"positive": 1, "neutral": 0, "negative": -1}

Rows = Sequence[tuple[str, int]]
Tone = Callable[[str], float]


@dataclass(frozen=True)
class Score:
    """How many texts, the share in the right class, and of those with a sign the share with the wrong one."""

    count: int
    accuracy: float
    wrong_sign: float


def scored(tone: Tone, rows: Rows, band: float = BAND) -> Score:
    """Shares over rows of (text, -1 | 0 | 1)."""
    found = [(side(tone(text), band), wanted) for text, wanted in rows]
    signed = sum(wanted != 0 for _, wanted in found)
    right = sum(told == wanted for told, wanted in found)
    wrong = sum(told * wanted < 0 for told, wanted in found)
    return Score(len(found), right / len(found), wrong / max(1, signed))


def side(tone: float, band: float) -> int:
    return (tone >= band) - (tone <= -band)


def texts(limit: int | None) -> Iterator[tuple[str, Rows]]:
    """Each collection by name; those of MARKET_DATA only where it is."""
    folder = Path(os.environ.get("MARKET_DATA", "../shared/market")) / "news"
    if folder.is_dir():
        bank = read(folder / "financial_phrasebank_half.parquet", "text")
        for half, name in enumerate(("PhraseBank, developed on", "PhraseBank, held out")):
            yield name, [row for row in bank if sha256(row[0].encode()).digest()[0] & 1 == half][:limit]
        yield (
            "crypto headlines, machine labels",
            read(folder / "cryptonews_machine_labels.parquet", "title")[:limit],
        )
    yield "our headlines", [(row.title, row.sentiment) for row in labelled()]


def read(path: Path, text: str) -> Rows:
    rows = pl.read_parquet(path).select(text, "label").unique(maintain_order=True).iter_rows()
    return [(told, SIGNS[label]) for told, label in rows]


def tagging() -> str:
    """Precision and recall of the assets of our headlines, in one line."""
    rows = [(set(assets_of(row.title)), row.assets) for row in labelled()]
    right = sum(len(told & wanted) for told, wanted in rows)
    precision, recall = (right / sum(len(row[side]) for row in rows) for side in (0, 1))
    whole = sum(told == wanted for told, wanted in rows) / len(rows)
    told = f"precision {precision:.3f}, recall {recall:.3f}, all right {whole:.3f}"
    return f"assets of {len(rows)} headlines: {told}"


def main() -> None:
    limit = 300 if quick_or_not(__doc__) else None
    print(machine())
    vader = SentimentIntensityAnalyzer()
    ways: dict[str, Tone] = {
        "plain VADER": lambda text: float(vader.polarity_scores(text)["compound"]),
        "ours": sentiment,
    }
    sentiment("warm")
    print(f"{'':34} {'':12} {'band':>5} {'texts':>6} {'accuracy':>9} {'wrong sign':>11} {'us each':>8}")
    for name, rows in texts(limit):
        for way, tone in ways.items():
            for band in (USUAL, BAND):
                begin = perf_counter()
                score = scored(tone, rows, band)
                each = (perf_counter() - begin) / score.count * 1e6
                print(
                    f"{name:34} {way:12} {band:5.2f} {score.count:6} {score.accuracy:9.3f} "
                    f"{score.wrong_sign:11.3f} {each:8.0f}"
                )
    print(tagging())
    print(machine())


if __name__ == "__main__":
    main()
