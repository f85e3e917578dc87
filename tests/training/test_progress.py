import io

import pytest
from rich.console import Console

from cnnlab.training import progress
from cnnlab.training.progress import Display


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_the_rate_is_of_training_alone(clock: Clock) -> None:
    with Display(Console(file=io.StringIO()), "run", 100, 200, batch_size=32) as display:
        clock.now += 2
        assert display.advance(110, 1.0) == pytest.approx(10 * 32 / 2)
        clock.now += 60  # an evaluation
        display.resume()
        clock.now += 1
        assert display.advance(120, 1.0) == pytest.approx(20 * 32 / 3)


def test_plain_lines_now_and_then_where_there_is_no_terminal(clock: Clock) -> None:
    printed = io.StringIO()
    with Display(Console(file=printed), "three_3x3 seed 1", 0, 100, batch_size=10) as display:
        for step in range(1, 101):
            clock.now += 1
            display.advance(step, 1 / step)
    lines = printed.getvalue().splitlines()
    assert 1 < len(lines) < 20
    assert lines[-1] == "three_3x3 seed 1  step 100/100  loss 0.010  10 images/s  0 s left"
    assert "\x1b" not in printed.getvalue()


def test_a_bar_in_a_terminal_that_leaves_nothing_behind(clock: Clock) -> None:
    printed = io.StringIO()
    console = Console(file=printed, force_terminal=True, width=100)
    with Display(console, "three_3x3 seed 1", 40, 100, batch_size=10) as display:
        clock.now += 50
        display.advance(50, 0.5)
    shown = printed.getvalue()
    for part in ("three_3x3 seed 1", "50/100", "loss 0.500  2 images/s"):
        assert part in shown
    assert "step 50/100" not in shown
    assert shown.endswith("\x1b[1A\x1b[2K")  # the line is wiped
