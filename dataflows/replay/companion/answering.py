"""Who answers for each provider: a line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from dataflows.replay.answers import Answer, Request
from dataflows.replay.companion import (
    alternative_me,
    artemis,
    coingecko,
    coinmetrics,
    cryptoquant,
    defillama,
    glassnode,
    intotheblock,
    kaiko,
    lunarcrush,
    messari,
    nansen,
    santiment,
    thetie,
    token_terminal,
)
from dataflows.replay.companion.numbers import Numbers

Answering = Callable[[Request, int, Numbers], Answer]
"""A request whose path lies below the provider's base URL, the stream time in ms, simulated numbers."""

ANSWERS: Final[Mapping[str, Answering]] = MappingProxyType(
    {
        "glassnode": glassnode.answer,
        "santiment": santiment.answer,
        "cryptoquant": cryptoquant.answer,
        "nansen": nansen.answer,
        "kaiko": kaiko.answer,
        "coinmetrics": coinmetrics.answer,
        "messari": messari.answer,
        "lunarcrush": lunarcrush.answer,
        "token_terminal": token_terminal.answer,
        "intotheblock": intotheblock.answer,
        "artemis": artemis.answer,
        "thetie": thetie.answer,
        "defillama": defillama.answer,
        "alternative_me": alternative_me.answer,
        "coingecko": coingecko.answer,
    }
)
