"""Bodies that no provider should send: a real answer with something in it broken, or no answer at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from math import inf, nan
from typing import Any, Final

from hypothesis import strategies as st

Where = tuple[str | int, ...]

JUNK: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    "",
    " ",
    "n/a",
    "nan",
    "-inf",
    "1e999",
    "<html><title>502 Bad Gateway</title></html>",
    "9999-12-31T23:59:59.999999999Z",
    "0000-00-00",
    "2026-02-30",
    0,
    -1,
    10**18,
    10**400,
    1e300,
    -0.0,
    nan,
    inf,
    -inf,
    [],
    {},
    [[]],
    [None],
    [{}],
    {"data": None},
    {"error": {"message": None}},
)
"""What stands where something else belongs; json.loads also makes nan, inf and endless integers."""

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
ANY_JSON: Final[st.SearchStrategy[Any]] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def spots(body: Any, where: Where = ()) -> Iterator[Where]:
    """The way to everything inside a body, the whole first.

    >>> list(spots({"a": [1, 2]}))
    [(), ('a',), ('a', 0), ('a', 1)]
    """
    yield where
    if isinstance(body, dict):
        for key, inner in body.items():
            yield from spots(inner, (*where, key))
    elif isinstance(body, list):
        for place, inner in enumerate(body):
            yield from spots(inner, (*where, place))


def replaced(body: Any, where: Where, junk: Any) -> Any:
    """A copy of `body` with `junk` at `where`.

    >>> replaced({"a": [1, 2]}, ("a", 1), None)
    {'a': [1, None]}
    """
    if not where:
        return deepcopy(junk)
    body = deepcopy(body)
    holder = body
    for step in where[:-1]:
        holder = holder[step]
    holder[where[-1]] = deepcopy(junk)
    return body


def dropped(body: Any, where: Where) -> Any:
    """A copy of `body` without what lies at `where`.

    >>> dropped({"a": [1, 2]}, ("a", 0))
    {'a': [2]}
    """
    if not where:
        return None
    body = deepcopy(body)
    holder = body
    for step in where[:-1]:
        holder = holder[step]
    del holder[where[-1]]
    return body


@st.composite
def broken(draw: st.DrawFn, bodies: list[Any]) -> Any:
    """One of `bodies` with up to three things in it replaced or gone."""
    body = draw(st.sampled_from(bodies))
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.sampled_from(list(spots(body))))
        if draw(st.booleans()):
            body = dropped(body, where)
        else:
            body = replaced(body, where, draw(st.sampled_from(JUNK) | SCALARS))
    return body


def everywhere(body: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of `body` with every list, object and leaf changed, the inmost first.

    >>> everywhere([{"a": 0.5}], lambda part: str(part) if isinstance(part, float) else part)
    [{'a': '0.5'}]
    """
    if isinstance(body, dict):
        body = {key: everywhere(inner, change) for key, inner in body.items()}
    elif isinstance(body, list):
        body = [everywhere(inner, change) for inner in body]
    return change(body)


def shortened(part: Any) -> Any:
    """The beginning of a long list: what breaks on many rows breaks on three."""
    return part[:3] if isinstance(part, list) else part


def newest_first(part: Any) -> Any:
    """Rows the other way round: lists of objects, not the columns of a row."""
    rows = isinstance(part, list) and all(isinstance(row, dict) for row in part)
    return part[::-1] if rows else part


def with_more_keys(part: Any) -> Any:
    """Every object with something in it that was not there when the plug was written."""
    return {**part, "x_new_in_v9": None} if isinstance(part, dict) else part


def as_text(part: Any) -> Any:
    """Numbers with a fraction as strings; whole ones may be times and ids, which have a type of their own."""
    return repr(part) if isinstance(part, float) else part
