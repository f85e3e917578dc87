"""SIGTERM and SIGINT as a wish to stop, granted between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 75
"""Exit status of a launcher that saved and left: EX_TEMPFAIL, "try again" (sysexits.h)."""


class Interrupted(Exception):
    """A run was asked to stop; it saved a checkpoint and goes on from there when started again."""


class Wish:
    """Which signal has asked the run to stop; 0 is none."""

    number: int = 0


@contextmanager
def stop_on_signals() -> Iterator[Wish]:
    """Turn the first SIGTERM or SIGINT into a wish; a second one ends the process as usual.

    Outside the main thread, where Python takes no signals, the wish is never set.
    """
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in signals}

    def note(number: int, frame: FrameType | None) -> None:
        wish.number = number
        _restore()

    def _restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in signals:
        signal.signal(number, note)
    try:
        yield wish
    finally:
        _restore()
