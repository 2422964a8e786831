"""One event for every signal that means stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from dataflows.stopping import ENDINGS, stopping


@pytest.fixture(autouse=True)
def former() -> Iterator[None]:
    answers = {number: signal.getsignal(number) for number in ENDINGS}
    yield
    for number, answer in answers.items():
        signal.signal(number, answer)


@pytest.mark.parametrize("number", ENDINGS)
def test_each_signal_sets_the_event_and_interrupts_nothing(number: signal.Signals) -> None:
    with stopping() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)

        assert stop.wait(10)


def test_the_former_answers_come_back_whatever_happens() -> None:
    before = [signal.getsignal(number) for number in ENDINGS]
    with pytest.raises(RuntimeError), stopping():
        raise RuntimeError

    assert [signal.getsignal(number) for number in ENDINGS] == before


def test_nohup_is_respected() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopping() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)

        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert not stop.is_set()


def test_another_thread_is_never_told_and_takes_nothing_over() -> None:
    seen = []

    def work() -> None:
        before = signal.getsignal(signal.SIGTERM)
        with stopping() as stop:
            seen.append((stop.is_set(), signal.getsignal(signal.SIGTERM) == before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [(False, True)]
