import pytest

from dataflows.replay.companion import intotheblock as companion
from engine.errors import NotServed, RateLimited, Refused, SourceError, Unreadable
from engine.providers.intotheblock import IntoTheBlock
from tests.providers import (
    Recording,
    check_fixtures,
    check_provider,
    check_recording,
    recorded,
    recordings,
)

UNUSED = {"legacy_overview": "the interface of IntoTheBlock itself was sunset and is never asked"}


def test_it_keeps_the_provider_contract() -> None:
    check_provider(IntoTheBlock(), companion.answer)


@pytest.mark.parametrize("recording", recordings("intotheblock"), ids=lambda one: one.what)
def test_recordings_are_read(recording: Recording) -> None:
    check_recording(IntoTheBlock(), recording)


def test_fixtures_are_read_and_recorded_in_their_shape() -> None:
    check_fixtures(IntoTheBlock(), UNUSED)


def test_each_signal_is_told_with_its_score_at_the_time_it_was_made() -> None:
    one = recorded("intotheblock", "cc_tradingsignals_latest")

    metrics = {metric.name: metric for metric in IntoTheBlock().parse(one.request, one.body)}

    assert metrics["intotheblock.in_out_of_money"].value == 0.0114
    assert metrics["intotheblock.in_out_of_money_score"].value == 0.81
    assert metrics["intotheblock.large_transactions"].value == -0.087
    assert {metric.time for metric in metrics.values()} == {1_789_948_800_000}


def test_signals_that_were_not_made_are_left_out() -> None:
    one = recorded("intotheblock", "one_signal_only")

    names = {metric.name for metric in IntoTheBlock().parse(one.request, one.body)}

    assert names == {"intotheblock.in_out_of_money", "intotheblock.in_out_of_money_score"}


@pytest.mark.parametrize(
    ("what", "kind"),
    [("cc_error", Refused), ("error_over_limit", RateLimited), ("error_no_such_asset", NotServed)],
)
def test_an_error_in_a_200_is_the_error_it_is(what: str, kind: type[SourceError]) -> None:
    one = recorded("intotheblock", what)

    with pytest.raises(kind) as caught:
        IntoTheBlock().parse(one.request, one.body)
    assert type(caught.value) is kind


def test_signals_of_another_asset_than_asked_are_not_believed() -> None:
    one = recorded("intotheblock", "cc_tradingsignals_latest")
    body = {**one.body, "Data": {**one.body["Data"], "symbol": "BCH"}}

    with pytest.raises(Unreadable, match="tell of 'BCH'"):
        IntoTheBlock().parse(one.request, body)


def test_what_was_sunset_says_what_takes_its_place() -> None:
    gone = {name: promise.gone for name, promise in IntoTheBlock.metrics.items() if promise.gone}

    assert list(gone) == ["bid_ask_imbalance"]
    assert "kaiko.book_imbalance" in gone["bid_ask_imbalance"]
