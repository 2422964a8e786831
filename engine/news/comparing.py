"""Numbers of a headline that are set against each other: "4.9 mn compared to 5.2 mn" is a decrease."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

NUMBER: Final = re.compile(r"[+\-−]?[$€£]?(\d[\d.,]*)([a-z%]*)$")
YEAR: Final = re.compile(r"(19|20)\d\d$")
NEAR: Final = 6
"""Words between a number and the comparison."""

UNITS: Final[Mapping[str, float]] = {
    "k": 1e3,
    "thousand": 1e3,
    "m": 1e6,
    "mn": 1e6,
    "mln": 1e6,
    "million": 1e6,
    "b": 1e9,
    "bn": 1e9,
    "billion": 1e9,
    "t": 1e12,
    "trillion": 1e12,
}


def compared(told: Sequence[str]) -> Iterator[str]:
    """Lower-case words with each comparison of two numbers as the word it comes to.

    >>> " ".join(compared("profit was 4.9 mn , compared to 5.2 mn a year ago".split()))
    'profit was 4.9 mn decreased 5.2 mn a year ago'
    >>> " ".join(compared("inflows of $640m versus $0.2bn".split()))
    'inflows of $640m increased $0.2bn'
    """
    at = 0
    while at < len(told):
        stop = comparison(told, at + (told[at] == ","))
        word = outcome(told, at, stop) if stop else ""
        yield word or told[at]
        at = stop if word else at + 1


def comparison(told: Sequence[str], at: int) -> int:
    """Where words that compare end, 0 = there are none here."""
    at += told[at : at + 1] == ["as"]
    if told[at : at + 1] in (["compared"], ["comparing"]) and told[at + 1 : at + 2] in (["to"], ["with"]):
        return at + 2
    return at + 1 if told[at : at + 1] in (["versus"], ["vs"]) else 0


def outcome(told: Sequence[str], begin: int, end: int) -> str:
    """What the last number before and the first one after come to, "" where they cannot be compared."""
    before, after = told[max(0, begin - 2 * NEAR) : begin], told[end : end + 3]
    if "loss" in before and "profit" in after:
        return "worsened"
    if "profit" in before and "loss" in after:
        return "improved"
    near = range(max(0, begin - NEAR), begin)
    left = next((value for at in reversed(near) if (value := amount(told, at)) is not None), None)
    right = next((value for at in range(end, end + NEAR) if (value := amount(told, at)) is not None), None)
    if left is None or right is None or left == right:
        return ""
    return "increased" if left > right else "decreased"


def amount(told: Sequence[str], at: int) -> float | None:
    """A number with its unit, None for a word.

    >>> amount(["$1.2", "billion"], 0), amount(["70,000"], 0), amount(["$70k"], 0)
    (1200000000.0, 70000.0, 70000.0)
    """
    found = NUMBER.match(told[at]) if at < len(told) else None
    if found is None:
        return None
    digits = found[1].replace(",", "").rstrip(".")
    after = told[at + 1] if at + 1 < len(told) else ""
    if digits.count(".") > 1 or (YEAR.match(told[at]) and after not in UNITS):
        return None
    return round(float(digits) * UNITS.get(found[2] or after, 1.0), 6)
