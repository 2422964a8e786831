"""What the companion plays has the shape of what was recorded: a plug that reads one reads the other."""

import pytest

from dataflows.replay.companion import intotheblock, kaiko, lunarcrush, messari, token_terminal
from engine.providers.base import Provider
from engine.providers.intotheblock import IntoTheBlock
from engine.providers.kaiko import Kaiko
from engine.providers.lunarcrush import LunarCrush
from engine.providers.messari import Messari
from engine.providers.token_terminal import TokenTerminal
from tests.providers import Answers, exchange, key_paths, recorded

PLAYED: list[tuple[Provider, Answers, str, str]] = [
    (Kaiko(), kaiko.answer, "vwap_cbse", "vwap"),
    (Kaiko(), kaiko.answer, "book", "ob_aggregations_full"),
    (Messari(), messari.answer, "signal", "signal_time_series"),
    (Messari(), messari.answer, "events", "intel_events"),
    (Messari(), messari.answer, "profile", "assets_details"),
    (Messari(), messari.answer, "unlocks", "token_unlocks_events"),
    (Messari(), messari.answer, "revenue", "network_finances"),
    (LunarCrush(), lunarcrush.answer, "list", "coins_list_v2"),
    (LunarCrush(), lunarcrush.answer, "spam", "coin_time_series"),
    (LunarCrush(), lunarcrush.answer, "creators", "topic_creators"),
    (TokenTerminal(), token_terminal.answer, "revenue", "metric_by_projects"),
    (IntoTheBlock(), intotheblock.answer, "signals", "cc_tradingsignals_latest"),
]


def shape(body: object) -> set[tuple[str, str]]:
    """Key paths and types; null may stand for anything, and Kaiko repeats the query it was asked."""
    return {
        (path, kind) for path, kind in key_paths(body) if kind != "null" and not path.startswith(".query.")
    }


@pytest.mark.parametrize(("plug", "answer", "metric", "what"), PLAYED, ids=lambda one: str(one)[:24])
def test_an_answer_has_the_shape_of_its_recording(
    plug: Provider, answer: Answers, metric: str, what: str
) -> None:
    played = [body for request, body in exchange(plug, answer) if request.metric == metric]

    assert set().union(*map(shape, played)) == shape(recorded(plug.name, what).body)
