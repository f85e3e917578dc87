import signal
import threading

import pytest

from cnnlab.training.interrupt import stop_on_signals

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_wish_and_a_second_one_is_not(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with stop_on_signals() as wish:
        assert wish.number == 0
        signal.raise_signal(number)
        assert wish.number == number
        assert [signal.getsignal(each) for each in SIGNALS] == before


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(each) for each in SIGNALS]

    def fail() -> None:
        with stop_on_signals():
            assert [signal.getsignal(each) for each in SIGNALS] != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_in_a_thread_there_is_never_a_wish() -> None:
    wishes = []

    def work() -> None:
        with stop_on_signals() as wish:
            wishes.append(wish.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert wishes == [0]
