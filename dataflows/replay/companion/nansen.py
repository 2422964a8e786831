"""Nansen's side: two questions by POST, answered with what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion.numbers import Numbers
from engine.providers.nansen import CHAINS, CREDITS, FLOW, GROUPS, TOKENS

OTHERS: Final = 4
"""Tokens of each chain that are not ours."""

CAPS: Final[Mapping[str, float]] = {"ETH": 8e9, "SOL": 9e9, "PEPE": 4e9, "BONK": 1.8e9, "WIF": 9e8}

LEFT: Final = 9_200


def answer(request: Request, now: int, numbers: Numbers) -> Answer:
    """What the real one answers to `request` at `now`, with simulated values."""
    if not request.headers.get("apikey"):
        return wrong(401, "Unauthorized", "Invalid or missing API key")
    if request.path not in CREDITS:
        return wrong(404, "Not Found", "There is no such route")
    asked = question(request.body)
    if request.path == FLOW:
        chains = [chain for chain in asked.get("chains", ()) if chain in CHAINS]
        if not chains:
            return missing("chains")
        page = {"page": 1, "per_page": 10, **asked.get("pagination", {})}
        found = [row for chain in chains for row in tokens(chain, now, numbers)]
        found = sorted(found, key=lambda row: -row["market_cap_usd"])[: page["per_page"]]
        return said(FLOW, {"data": found, "pagination": {**page, "is_last_page": True}})
    place = (asked.get("chain"), asked.get("token_address"))
    asset = next((name for name, where in TOKENS.items() if where == place), None)
    if asset is None:
        return missing("token_address")
    return said(request.path, {"data": [groups(asset, now, numbers)], "warnings": []})


def question(body: bytes) -> dict[str, Any]:
    """The object in a body, an empty one where there is none."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def tokens(chain: str, now: int, numbers: Numbers) -> list[dict[str, Any]]:
    """The rows of one chain: ours that live there, and others."""
    ours = {address: asset for asset, (where, address) in TOKENS.items() if where == chain}
    others = {f"{chain}-token-{place}": f"T{place}" for place in range(OTHERS)}
    return [row(chain, address, name, now, numbers) for address, name in {**ours, **others}.items()]


def row(chain: str, address: str, name: str, now: int, numbers: Numbers) -> dict[str, Any]:
    cap = CAPS.get(name, 9e8)
    flows = {
        f"net_flow_{span}_usd": round(numbers.level(f"flow {span}", address, now, 0.0, cap * share), 2)
        for span, share in (("1h", 2e-5), ("24h", 1e-4), ("7d", 4e-4), ("30d", 1e-3))
    }
    told = {"token_sectors": ["Memecoins"], "trader_count": 31, "token_age_days": 950}
    return {
        "chain": chain,
        "token_address": address,
        "token_symbol": name,
        **flows,
        **told,
        "market_cap_usd": cap,
    }


def groups(asset: str, now: int, numbers: Numbers) -> dict[str, Any]:
    """What each group moved of one token."""
    told: dict[str, Any] = {}
    for place, group in enumerate(GROUPS, start=2):
        flow = round(numbers.level(f"{group} flow", asset, now, 0.0, CAPS[asset] * 2e-4), 2)
        told[f"{group}_net_flow_usd"] = flow
        told[f"{group}_avg_flow_usd"] = round(flow / place, 2)
        told[f"{group}_wallet_count"] = place
    return told


def said(path: str, body: Any) -> Answer:
    """An answer with its bill."""
    cost = int(CREDITS[path])
    bill = {"cost": cost, "used": 10_000 - LEFT, "remaining": LEFT}
    told = Answer.of(body)
    return Answer(200, told.body, tuple((f"x-nansen-credits-{name}", str(n)) for name, n in bill.items()))


def missing(field: str) -> Answer:
    """A question that lacks something."""
    told = {"error": "Unprocessable Entity", "message": "Missing required field", "code": "missing_field"}
    return Answer.of({**told, "param": field}, 422)


def wrong(status: int, error: str, text: str) -> Answer:
    return Answer.of({"error": error, "message": text}, status)
